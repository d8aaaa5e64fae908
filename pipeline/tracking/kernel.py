"""Takes one frame of one camera in one compiled call: predict, give out detections, correct, begin and end tracks.

All compiled code stands in this file, because what is kept on disk is renewed when the file of the called function
changes, and only then. tests/pipeline/tracking/reference_tracker.py says the same slowly, and is held against it.

Association is ByteTrack's (Zhang et al., ECCV 2022), the filter an integrated Ornstein-Uhlenbeck process (Singer, IEEE
TAES 1970), the assignment by shortest augmenting paths (Jonker and Volgenant, Computing 38, 1987) on lists of allowed
pairs: a path never leaves its row's connected component, so objects far apart cost nothing to each other.

Legend of shape suffixes: T tracks, N detections of the frame, 4 = left, top, right, bottom in pixels;
54 = rows of a filter (position, velocity, variance of position, covariance, variance of velocity) x
centre x, centre y, width, height; R rows and C columns of an assignment, E its allowed pairs, row by row.
"""

from __future__ import annotations

from math import acos, exp, pi, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.compiling import compiled, inlined
from pipeline.tracking.config import Settings

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]
Float32s = NDArray[np.float32]
Corners = Floats | Float32s

NOBODY: Final = -1
ALIVE: Final = 0
ENDED: Final = 1
ABANDONED: Final = 2
CONFIRMED: Final = 3

STRONG: Final = 0
WEAK: Final = 1
TENTATIVE: Final = 2

ALONE_MARGIN: Final = 1e-4
"""Staying alone costs this much more than the dearest pair that is allowed, as in ByteTrack."""
TIE: Final = 1e-13
"""Far below what overlaps differ by, far above rounding: equal costs are decided, and always alike."""
TIE_SPAN: Final = 1024
MIN_SIZE: Final = 1e-3
"""Pixels; a box that shrinks in prediction never turns inside out."""
SQUARE_ROOT_CUBED: Final = 1.5
MIN_STEP: Final = 0.02
"""Heights; a shorter step says nothing of its direction."""
TINY: Final = float(np.finfo(np.float64).tiny)


class TrackState(NamedTuple):
    """Holds what is known of each track; arrays may be longer than there are tracks."""

    filters_T54: Floats  # as of the last sighting
    labels_T: Indices
    hits_T: Indices
    confirmed_T: Indices  # 0 or 1
    seen_ns_T: Indices  # of the tracker's own clock
    fates_T: Indices  # what the frame did: ALIVE, ENDED, ABANDONED or CONFIRMED (from now on)


class Sightings(NamedTuple):
    """Holds the detections of a frame; arrays may be longer than there are detections."""

    boxes_N4: Float32s
    scores_N: Float32s
    labels_N: Indices
    owners_N: Indices  # the row of the track that each belongs to, or -1; rows as they were before any ended
    sure_N: Flags  # whether that track is confirmed


NUM_TRACK_ROWS: Final = 5
"""Rows of `tracks_5T`: the whole numbers of TrackState, in its order."""


@inlined
def settings_from(settings_S: Floats) -> Settings:
    """Name the numbers again."""
    return Settings(
        settings_S[0], settings_S[1], settings_S[2], settings_S[3], settings_S[4], settings_S[5], settings_S[6],
        settings_S[7], settings_S[8], settings_S[9], settings_S[10], settings_S[11], settings_S[12], settings_S[13],
        settings_S[14], settings_S[15], settings_S[16], settings_S[17], settings_S[18], settings_S[19], settings_S[20],
    )  # fmt: skip


@compiled
def take_frame(
    filters_T54: Floats, tracks_5T: Indices, boxes_N4: Float32s, scores_N: Float32s, labels_N: Indices,
    owners_N: Indices, sure_N: Flags, likeness_TN: Floats, settings_S: Floats,
    num_tracks: int, before_ns: int, now_ns: int,
) -> tuple[int, int]:  # fmt: skip
    """Take a frame in; returns how many tracks began and how many fates changed.

    `likeness_TN` holds the cosine similarity of each track and detection, NaN where it is not known, or nothing.
    Few plain arrays, because each argument of a compiled call costs time, and a tuple of arrays ten times more.
    """
    state = TrackState(filters_T54, tracks_5T[0], tracks_5T[1], tracks_5T[2], tracks_5T[3], tracks_5T[4])
    num_seen = len(scores_N)
    seen = Sightings(boxes_N4, scores_N, labels_N, owners_N, sure_N)
    settings = settings_from(settings_S)
    # Step 1: a track that was out of sight for too long is over before it can claim anything.
    for t in range(num_tracks):
        over = now_ns - state.seen_ns_T[t] > settings.lost_ns
        state.fates_T[t] = ALIVE if not over else ENDED if state.confirmed_T[t] else ABANDONED
    # Step 2: give detections to tracks, each foreseen from its last sighting.
    foreseen_T54 = np.empty((num_tracks, 5, 4))
    _predict(state, 0, num_tracks, now_ns, settings, foreseen_T54)
    seen.owners_N[:num_seen] = NOBODY
    if num_tracks and num_seen:
        _associate(state, foreseen_T54, seen, likeness_TN, before_ns, settings)
    # Step 3: correct the tracks that were seen.
    for n in range(num_seen):
        t = seen.owners_N[n]
        if t != NOBODY:
            if 0.0 < settings.reupdate_step_ns < before_ns - state.seen_ns_T[t]:
                _retrace(state, foreseen_T54, t, seen.boxes_N4, n, now_ns, settings)
            _correct(state.filters_T54, foreseen_T54, t, seen.boxes_N4, n, settings)
            state.hits_T[t] += 1
            state.seen_ns_T[t] = now_ns
            if not state.confirmed_T[t] and state.hits_T[t] >= settings.confirm_hits:
                state.confirmed_T[t] = 1
                state.fates_T[t] = CONFIRMED
    # Step 4: drop tracks that were missed before they were confirmed, and begin new ones.
    for t in range(num_tracks):
        if state.fates_T[t] == ALIVE and not state.confirmed_T[t] and state.seen_ns_T[t] != now_ns:
            state.fates_T[t] = ABANDONED
    num_rows = _found(state, seen, num_tracks, now_ns, settings)
    for n in range(num_seen):
        seen.sure_N[n] = seen.owners_N[n] != NOBODY and state.confirmed_T[seen.owners_N[n]] == 1
    num_changed = 0
    for t in range(num_rows):
        num_changed += state.fates_T[t] != ALIVE
    if num_changed:
        _close_ranks(state, num_rows)
    return num_rows - num_tracks, num_changed


@inlined
def _predict(
    state: TrackState, first: int, stop: int, now_ns: int, settings: Settings, out_T54: Floats
) -> None:
    """Move each filter ahead from its last sighting, in one step whatever lies between."""
    square_drift = settings.drift_std * settings.drift_std
    elapsed = -1.0
    memory = kept = reach = settled = long_run = 0.0
    for t in range(first, stop):
        if 1e-9 * (now_ns - state.seen_ns_T[t]) != elapsed:  # most tracks were seen in the same frame
            elapsed = 1e-9 * (now_ns - state.seen_ns_T[t])
            kept_move = exp(-elapsed / settings.velocity_memory_s)
            kept_size = exp(-elapsed / settings.size_memory_s)
        height = state.filters_T54[t, 0, 3]
        square = height * height
        for k in range(4):
            if k == 0:
                memory, kept = settings.velocity_memory_s, kept_move
                long_run = settings.velocity_std * settings.velocity_std * square
            elif k == 2:
                memory, kept = settings.size_memory_s, kept_size
                long_run = settings.size_velocity_std * settings.size_velocity_std * square
            reach = memory * (1.0 - kept)  # seconds of travel at the present velocity
            position, velocity = state.filters_T54[t, 0, k], state.filters_T54[t, 1, k]
            var_p, cov, var_v = (
                state.filters_T54[t, 2, k],
                state.filters_T54[t, 3, k],
                state.filters_T54[t, 4, k],
            )
            settled = 2.0 * memory * (elapsed - reach) - reach * reach
            out_T54[t, 0, k] = position + reach * velocity
            out_T54[t, 1, k] = kept * velocity
            out_T54[t, 2, k] = (
                var_p
                + reach * (2.0 * cov + reach * var_v)
                + long_run * settled
                + square_drift * square * elapsed
            )
            out_T54[t, 3, k] = kept * (cov + reach * var_v) + long_run * reach * (1.0 - kept)
            out_T54[t, 4, k] = kept * kept * (var_v - long_run) + long_run
        out_T54[t, 0, 2] = max(out_T54[t, 0, 2], MIN_SIZE)
        out_T54[t, 0, 3] = max(out_T54[t, 0, 3], MIN_SIZE)


@inlined
def _corners(boxes_N4: Corners, n: int) -> tuple[float, float, float, float]:
    return (
        np.float64(boxes_N4[n, 0]),
        np.float64(boxes_N4[n, 1]),
        np.float64(boxes_N4[n, 2]),
        np.float64(boxes_N4[n, 3]),
    )


@inlined
def _centred(boxes_N4: Corners, n: int) -> tuple[float, float, float, float]:
    """Return centre x, centre y, width and height of a box."""
    left, top, right, bottom = _corners(boxes_N4, n)
    width, height = right - left, bottom - top
    return left + 0.5 * width, top + 0.5 * height, max(width, MIN_SIZE), max(height, MIN_SIZE)


@inlined
def _correct(
    filters_T54: Floats, foreseen_T54: Floats, t: int, boxes_N4: Corners, n: int, settings: Settings
) -> None:
    """Correct a foreseen filter by the box measured for it, and keep it."""
    measured_4 = _centred(boxes_N4, n)
    noise = settings.measurement_std * measured_4[3]
    noise *= noise
    for k in range(4):
        var_p, cov = foreseen_T54[t, 2, k], foreseen_T54[t, 3, k]
        trust = 1.0 / (var_p + noise)
        gain_p, gain_v = var_p * trust, cov * trust
        surprise = measured_4[k] - foreseen_T54[t, 0, k]
        filters_T54[t, 0, k] = foreseen_T54[t, 0, k] + gain_p * surprise
        filters_T54[t, 1, k] = foreseen_T54[t, 1, k] + gain_v * surprise
        filters_T54[t, 2, k] = gain_p * noise
        filters_T54[t, 3, k] = gain_v * noise
        filters_T54[t, 4, k] = foreseen_T54[t, 4, k] - gain_v * cov


@inlined
def _retrace(
    state: TrackState,
    foreseen_T54: Floats,
    t: int,
    boxes_N4: Corners,
    n: int,
    now_ns: int,
    settings: Settings,
) -> None:
    """Foresee anew, as if the track had been seen all along on the straight way to where it turned up again.

    Observation-centric re-update (Cao et al., CVPR 2023), by time: made-up sightings stand `reupdate_step_s` apart.
    """
    start_ns, gap_ns = state.seen_ns_T[t], now_ns - state.seen_ns_T[t]
    way_24, made_up_14 = np.empty((2, 4)), np.empty((1, 4))
    for k in range(4):
        sign = -0.5 if k < 2 else 0.5
        way_24[0, k] = state.filters_T54[t, 0, k % 2] + sign * state.filters_T54[t, 0, 2 + k % 2]
        way_24[1, k] = boxes_N4[n, k]
    num_steps = int(gap_ns // settings.reupdate_step_ns)
    for step in range(1, num_steps + 1):
        at_ns = start_ns + step * gap_ns // (num_steps + 1)
        share = (at_ns - start_ns) / gap_ns
        for k in range(4):
            made_up_14[0, k] = way_24[0, k] + share * (way_24[1, k] - way_24[0, k])
        _predict(state, t, t + 1, at_ns, settings, foreseen_T54)
        _correct(state.filters_T54, foreseen_T54, t, made_up_14, 0, settings)
        state.seen_ns_T[t] = at_ns
    _predict(state, t, t + 1, now_ns, settings, foreseen_T54)


@inlined
def _found(state: TrackState, seen: Sightings, num_tracks: int, now_ns: int, settings: Settings) -> int:
    """Begin a track at each strong detection that nobody claims; returns how many rows there are then."""
    row = num_tracks
    for n in range(len(seen.boxes_N4)):
        if seen.owners_N[n] != NOBODY or seen.scores_N[n] < settings.new_score:
            continue
        measured_4 = _centred(seen.boxes_N4, n)
        height = measured_4[3]
        for k in range(4):
            spread = settings.initial_velocity_std if k < 2 else settings.size_velocity_std
            state.filters_T54[row, 0, k] = measured_4[k]
            state.filters_T54[row, 1, k] = 0.0
            state.filters_T54[row, 2, k] = (settings.measurement_std * height) ** 2
            state.filters_T54[row, 3, k] = 0.0
            state.filters_T54[row, 4, k] = (spread * height) ** 2
        state.labels_T[row] = seen.labels_N[n]
        state.hits_T[row] = 1
        state.confirmed_T[row] = settings.confirm_hits == 1
        state.seen_ns_T[row] = now_ns
        state.fates_T[row] = CONFIRMED if settings.confirm_hits == 1 else ALIVE
        seen.owners_N[n] = row
        row += 1
    return row


@inlined
def _close_ranks(state: TrackState, num_rows: int) -> None:
    """Move the tracks that live on to the front, in their order; fates stay where they are."""
    left = 0
    for t in range(num_rows):
        if state.fates_T[t] == ENDED or state.fates_T[t] == ABANDONED:
            continue
        if left != t:
            state.filters_T54[left] = state.filters_T54[t]
            state.labels_T[left] = state.labels_T[t]
            state.hits_T[left] = state.hits_T[t]
            state.confirmed_T[left] = state.confirmed_T[t]
            state.seen_ns_T[left] = state.seen_ns_T[t]
        left += 1


# association


@inlined
def _associate(
    state: TrackState,
    foreseen_T54: Floats,
    seen: Sightings,
    likeness_TN: Floats,
    before_ns: int,
    settings: Settings,
) -> None:
    """Give detections to tracks in ByteTrack's order: strong, weak, then what is left to tentative tracks."""
    num_tracks, num_seen = len(foreseen_T54), len(seen.boxes_N4)
    free_T = np.empty(num_tracks, np.bool_)
    for t in range(num_tracks):
        free_T[t] = state.fates_T[t] == ALIVE
    rows_R, columns_C = np.empty(num_tracks, np.int64), np.empty(num_seen, np.int64)
    for stage in range(3):
        num_rows = num_columns = 0
        for t in range(num_tracks):
            due = (state.confirmed_T[t] == 0) == (stage == TENTATIVE)
            if free_T[t] and due and (stage != WEAK or state.seen_ns_T[t] == before_ns):
                rows_R[num_rows] = t
                num_rows += 1
        for n in range(num_seen):
            score = seen.scores_N[n]
            due = score >= settings.low_score and (score < settings.high_score) == (stage == WEAK)
            if due and seen.owners_N[n] == NOBODY:
                columns_C[num_columns] = n
                num_columns += 1
        if num_rows and num_columns:
            _claim(
                stage, rows_R[:num_rows], columns_C[:num_columns], state, foreseen_T54, seen, likeness_TN, free_T, settings
            )  # fmt: skip


@inlined
def _claim(
    stage: int, rows_R: Indices, columns_C: Indices, state: TrackState, foreseen_T54: Floats, seen: Sightings,
    likeness_TN: Floats, free_T: Flags, settings: Settings,
) -> None:  # fmt: skip
    """Give the detections `columns_C` to the tracks `rows_R`, one to one and at least cost."""
    max_cost = (settings.max_cost_first, settings.max_cost_second, settings.max_cost_tentative)[stage]
    buffer = settings.tentative_buffer if stage == TENTATIVE else 0.0
    boxes_C = _spread(seen.boxes_N4, columns_C, buffer)
    num_columns = len(columns_C)
    starts_R = np.empty(len(rows_R) + 1, np.int64)
    columns_E = np.empty(len(rows_R) * num_columns, np.int64)
    costs_E = np.empty(len(rows_R) * num_columns)
    meets_C = np.empty(num_columns, np.bool_)
    num_pairs = 0
    for r in range(len(rows_R)):
        t = rows_R[r]
        starts_R[r] = num_pairs
        box = _foreseen_box(foreseen_T54, t, buffer)
        for c in range(num_columns):  # no branches: the compiler takes several columns at a time
            meets_C[c] = (
                (box.left < boxes_C.right[c]) & (boxes_C.left[c] < box.right)
                & (box.top < boxes_C.bottom[c]) & (boxes_C.top[c] < box.bottom)
            )  # fmt: skip
        for c in range(num_columns):
            if not meets_C[c] or state.labels_T[t] != seen.labels_N[columns_C[c]]:
                continue
            weight = 1.0 if stage == WEAK else seen.scores_N[columns_C[c]]
            overlap = _overlap(box, boxes_C, c)
            if 1.0 - overlap * weight > max_cost:  # as most do; the overlap in height only makes it dearer
                continue
            cost = 1.0 - overlap * _height_overlap(box, boxes_C, c, settings.height_power) * weight
            if cost > max_cost:
                continue
            if stage == STRONG:
                cost += weight * _detour(state.filters_T54, t, seen.boxes_N4, columns_C[c], settings)
                if len(likeness_TN) and not np.isnan(likeness_TN[t, columns_C[c]]):
                    cost += settings.appearance_weight * (1.0 - likeness_TN[t, columns_C[c]] - cost)
            if cost <= max_cost:
                columns_E[num_pairs] = c
                costs_E[num_pairs] = cost + TIE * (TIE_SPAN * (r + c) - r * c)
                num_pairs += 1
    starts_R[len(rows_R)] = num_pairs
    column_of_R = assign(starts_R, columns_E, costs_E, num_columns, max_cost + ALONE_MARGIN)
    for r in range(len(rows_R)):
        if column_of_R[r] != NOBODY:
            seen.owners_N[columns_C[column_of_R[r]]] = rows_R[r]
            free_T[rows_R[r]] = False


class Box(NamedTuple):
    """Holds a box; `left` ... `bottom` have grown by the buffer, `high` and `low` are top and bottom as they were."""

    left: float
    top: float
    right: float
    bottom: float
    high: float
    low: float
    area: float


class Boxes(NamedTuple):
    """Holds boxes side by side, one array for each number of `Box`."""

    left: Floats
    top: Floats
    right: Floats
    bottom: Floats
    high: Floats
    low: Floats
    area: Floats


@inlined
def _grown(left: float, top: float, right: float, bottom: float, buffer: float) -> Box:
    wide, tall = buffer * (right - left), buffer * (bottom - top)
    area = max(right - left + 2.0 * wide, 0.0) * max(bottom - top + 2.0 * tall, 0.0)
    return Box(left - wide, top - tall, right + wide, bottom + tall, top, bottom, area)


@inlined
def _foreseen_box(foreseen_T54: Floats, t: int, buffer: float) -> Box:
    x, y, half_width, half_height = (
        foreseen_T54[t, 0, 0], foreseen_T54[t, 0, 1], 0.5 * foreseen_T54[t, 0, 2], 0.5 * foreseen_T54[t, 0, 3]
    )  # fmt: skip
    return _grown(x - half_width, y - half_height, x + half_width, y + half_height, buffer)


@inlined
def _spread(boxes_N4: Corners, columns_C: Indices, buffer: float) -> Boxes:
    """Lay the boxes out side by side, one array a coordinate."""
    out_7C = np.empty((7, len(columns_C)))
    for c in range(len(columns_C)):
        n = columns_C[c]
        left, top, right, bottom = _corners(boxes_N4, n)
        box = _grown(left, top, right, bottom, buffer)
        for k in range(7):
            out_7C[k, c] = box[k]
    return Boxes(out_7C[0], out_7C[1], out_7C[2], out_7C[3], out_7C[4], out_7C[5], out_7C[6])


@inlined
def _overlap(box: Box, boxes_C: Boxes, c: int) -> float:
    """Measure the buffered overlap of two boxes that meet."""
    shared = (min(box.right, boxes_C.right[c]) - max(box.left, boxes_C.left[c])) * (
        min(box.bottom, boxes_C.bottom[c]) - max(box.top, boxes_C.top[c])
    )
    overlap: float = shared / max(box.area + boxes_C.area[c] - shared, TINY)
    return overlap


@inlined
def _height_overlap(box: Box, boxes_C: Boxes, c: int, height_power: float) -> float:
    """Measure a power of the overlap in height, of the boxes as they were."""
    tall = min(box.low, boxes_C.low[c]) - max(box.high, boxes_C.high[c])
    span = max(box.low, boxes_C.low[c]) - min(box.high, boxes_C.high[c])
    alike: float = max(tall, 0.0) / max(span, TINY)
    # A square root is five times as fast as a power, and the default.
    power: float = alike * sqrt(alike) if height_power == SQUARE_ROOT_CUBED else alike**height_power
    return power


@inlined
def _detour(filters_T54: Floats, t: int, boxes_N4: Corners, n: int, settings: Settings) -> float:
    """Price the angle between where a track was heading and where a detection lies, negative up to a right angle.

    Observation-centric momentum (Cao et al., "Observation-centric SORT", CVPR 2023): seen from the last sighting, since
    a prediction has lost its way when an occlusion ends. Slow tracks and small steps have no direction.
    """
    height = filters_T54[t, 0, 3]
    speed_x, speed_y = filters_T54[t, 1, 0], filters_T54[t, 1, 1]
    measured_4 = _centred(boxes_N4, n)
    step_x, step_y = measured_4[0] - filters_T54[t, 0, 0], measured_4[1] - filters_T54[t, 0, 1]
    speed, step = sqrt(speed_x * speed_x + speed_y * speed_y), sqrt(step_x * step_x + step_y * step_y)
    if (
        settings.direction_weight == 0.0
        or speed <= settings.direction_min_speed * height
        or step <= MIN_STEP * height
    ):
        return 0.0
    cosine = (step_x * speed_x + step_y * speed_y) / (step * speed)
    return settings.direction_weight * (acos(min(max(cosine, -1.0), 1.0)) / pi - 0.5)


# assignment


@compiled
def assign(starts_R: Indices, columns_E: Indices, costs_E: Floats, num_columns: int, alone: float) -> Indices:
    """Return the column of each row, or -1: pairs cost `costs_E`, a row without a column costs `alone`.

    `starts_R` holds R + 1 numbers: where each row's pairs start in `columns_E` and `costs_E`, and where the last
    row's end.
    """
    num_rows = len(starts_R) - 1
    column_of_R = np.full(num_rows, NOBODY, np.int64)
    row_of_C = np.full(num_columns, NOBODY, np.int64)
    price_R = np.zeros(num_rows)
    price_C = np.zeros(num_columns)
    distance_C = np.full(num_columns, np.inf)
    origin_C = np.empty(num_columns, np.int64)
    reached_C = np.empty(num_columns, np.int64)  # a list: settled columns first, then those in sight
    settled_C = np.zeros(num_columns, np.bool_)
    for row in range(num_rows):
        # The cheapest offer is the row's price, so that no reduced cost is negative and the best pair is at 0.
        price, best = alone, NOBODY
        for edge in range(starts_R[row], starts_R[row + 1]):
            offer = costs_E[edge] - price_C[columns_E[edge]]
            if offer < price:
                price, best = offer, columns_E[edge]
        price_R[row] = price
        if best == NOBODY:
            continue
        if row_of_C[best] == NOBODY:
            column_of_R[row], row_of_C[best] = best, row
            continue
        _augment(
            row, starts_R, columns_E, costs_E, alone,
            column_of_R, row_of_C, price_R, price_C, distance_C, origin_C, reached_C, settled_C,
        )  # fmt: skip
    return column_of_R


@inlined
def _augment(
    start: int, starts_R: Indices, columns_E: Indices, costs_E: Floats, alone: float,
    column_of_R: Indices, row_of_C: Indices, price_R: Floats, price_C: Floats,
    distance_C: Floats, origin_C: Indices, reached_C: Indices, settled_C: Flags,
) -> None:  # fmt: skip
    """Find the cheapest way to seat row `start`, others moving over or standing up, and follow it."""
    row, travelled = start, 0.0
    num_settled = num_reached = 0
    cheapest_end, end_row, end_column = np.inf, start, NOBODY
    while True:
        # Whoever is on the way may stand up instead of moving over.
        if travelled + alone - price_R[row] < cheapest_end:
            cheapest_end, end_row = travelled + alone - price_R[row], row
        for edge in range(starts_R[row], starts_R[row + 1]):
            column = columns_E[edge]
            distance = travelled + costs_E[edge] - price_R[row] - price_C[column]
            if (
                distance < distance_C[column] and not settled_C[column]
            ):  # rounding must not undo what is settled
                if distance_C[column] == np.inf:
                    reached_C[num_reached] = column
                    num_reached += 1
                distance_C[column], origin_C[column] = distance, row
        nearest, least = NOBODY, np.inf
        for k in range(num_settled, num_reached):
            if distance_C[reached_C[k]] < least:
                nearest, least = k, distance_C[reached_C[k]]
        if cheapest_end <= least:
            travelled = cheapest_end
            break
        column = reached_C[nearest]
        reached_C[nearest], reached_C[num_settled] = reached_C[num_settled], column
        num_settled += 1
        settled_C[column] = True
        travelled = least
        if row_of_C[column] == NOBODY:
            end_column = column
            break
        row = row_of_C[column]
    # Prices move so that the new seating is again the cheapest at these prices.
    price_R[start] += travelled
    for k in range(num_settled):
        column = reached_C[k]
        if row_of_C[column] != NOBODY:
            price_R[row_of_C[column]] += travelled - distance_C[column]
        price_C[column] -= travelled - distance_C[column]
        settled_C[column] = False
    for k in range(num_reached):
        distance_C[reached_C[k]] = np.inf
    if end_column == NOBODY:
        end_column = column_of_R[end_row]
        column_of_R[end_row] = NOBODY
    while end_column != NOBODY:
        row = origin_C[end_column]
        row_of_C[end_column] = row
        end_column, column_of_R[row] = column_of_R[row], end_column
