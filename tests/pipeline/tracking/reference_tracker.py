"""Is the tracker said slowly: plain NumPy and SciPy, one stage after the other, for the compiled core to be held to.

Legend of shape suffixes: T tracks, N detections of the frame, 54 = filter rows x box coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.association import buffered_iou
from pipeline.tracker import TrackerConfig, TrackerUpdate
from pipeline.tracking.appearance import TrackLooks, to_units
from tests.pipeline.tracking import reference_kalman as kalman


@dataclass(frozen=True)
class ReferenceTrack:
    """Holds one track, as of its last sighting."""

    id: str
    label: int
    filter_54: np.ndarray
    hits: int
    confirmed: bool
    seen_ns: int


class ReferenceTracker:
    """Does what CameraTracker does, a list of tracks at a time."""

    def __init__(self, camera: str, config: TrackerConfig) -> None:
        self.camera, self.config = camera, config
        self.tracks: list[ReferenceTrack] = []
        self.clock_ns, self.captured_ns = 0, None
        self.looks, self.units_ND = TrackLooks(config.appearance_memory), None

    def update(self, detections, captured_ns, frame, embeddings_ND=None) -> TrackerUpdate:
        config, before_ns = self.config, self.clock_ns
        self.advance(captured_ns)
        over = [track for track in self.tracks if self.clock_ns - track.seen_ns > round(config.lost_s * 1e9)]
        tracks = [track for track in self.tracks if track not in over]
        boxes_N4 = detections.boxes_N4.astype(np.float64)
        foreseen_T54 = self.foreseen(tracks)
        self.units_ND = None if embeddings_ND is None else to_units(embeddings_ND, len(detections))
        owners_N = self.owners(tracks, foreseen_T54, boxes_N4, detections, before_ns)
        foreseen_T54 = self.retraced(tracks, foreseen_T54, boxes_N4, owners_N, before_ns)
        seen = [self.sighted(t, track, foreseen_T54, boxes_N4, owners_N) for t, track in enumerate(tracks)]
        missed = [track for track in seen if not track.confirmed and track.seen_ns != self.clock_ns]
        founders = np.flatnonzero(
            (owners_N < 0) & (detections.scores_N.astype(np.float64) >= config.new_score)
        )
        founded = [self.founded(boxes_N4, detections.labels_N, n, frame) for n in founders]
        owners_N[founders] = np.arange(len(seen), len(seen) + len(founded))
        everyone = seen + founded
        fresh = [new for new, old in zip(seen, tracks, strict=True) if new.confirmed and not old.confirmed]
        self.tracks = [track for track in everyone if track not in missed]
        update = TrackerUpdate(
            track_ids=tuple(None if owner < 0 else everyone[owner].id for owner in owners_N),
            confirmed=tuple(bool(owner >= 0 and everyone[owner].confirmed) for owner in owners_N),
            newly_confirmed=tuple(track.id for track in fresh + [one for one in founded if one.confirmed]),
            ended=tuple(track.id for track in over if track.confirmed),
            abandoned=tuple(track.id for track in over + missed if not track.confirmed),
        )
        if self.units_ND is not None:
            self.looks.learn(update.track_ids, self.units_ND)
            self.looks.forget(update.ended + update.abandoned)
        return update

    def advance(self, captured_ns):
        step_ns = 10**6 if self.captured_ns is None else captured_ns - self.captured_ns
        step_ns = step_ns if step_ns > 0 else 10**6
        self.clock_ns += min(step_ns, round(self.config.lost_s * 1e9) + 1)
        self.captured_ns = captured_ns

    def foreseen(self, tracks):
        filters_T54 = np.array([track.filter_54 for track in tracks]).reshape(-1, 5, 4)
        elapsed_T = 1e-9 * np.array([self.clock_ns - track.seen_ns for track in tracks], np.float64)
        return kalman.predict(filters_T54, elapsed_T, self.config.motion)

    def owners(self, tracks, foreseen_T54, boxes_N4, detections, before_ns):
        config, scores_N = self.config, detections.scores_N.astype(np.float64)
        tracked_T4 = kalman.to_corner_form(foreseen_T54[:, kalman.POSITION])
        labels_T = np.array([track.label for track in tracks], np.int64)
        alike_TN = height_overlap(tracked_T4, boxes_N4) ** config.height_power
        alike_TN *= labels_T[:, None] == detections.labels_N
        overlap_TN = buffered_iou(tracked_T4, boxes_N4) * alike_TN
        near_TN = buffered_iou(tracked_T4, boxes_N4, config.tentative_buffer) * alike_TN
        sure_T = np.array([track.confirmed for track in tracks], np.bool_)
        recent_T = np.array([track.seen_ns == before_ns for track in tracks], np.bool_)
        strong_N = scores_N >= config.high_score
        weak_N = (scores_N >= config.low_score) & ~strong_N
        owners_N = np.full(len(boxes_N4), -1)
        detour_TN = self.detours(tracks, boxes_N4) * scores_N
        first_TN = (
            self.with_looks(tracks, 1.0 - overlap_TN * scores_N + detour_TN) - 1.0 + overlap_TN * scores_N
        )
        for cost_TN, extra_TN, max_cost, rows_T, columns_N in (
            (1.0 - overlap_TN * scores_N, first_TN, config.max_cost_first, sure_T, strong_N),
            (1.0 - overlap_TN, 0.0 * detour_TN, config.max_cost_second, sure_T & recent_T, weak_N),
            (1.0 - near_TN * scores_N, 0.0 * detour_TN, config.max_cost_tentative, ~sure_T, strong_N),
        ):
            fused_TN = np.where((near_TN > 0) & (cost_TN <= max_cost), cost_TN + extra_TN, np.inf)
            free_T = ~np.isin(np.arange(len(tracks)), owners_N)
            rows, columns = np.flatnonzero(rows_T & free_T), np.flatnonzero(columns_N & (owners_N < 0))
            for r, c in cheapest(fused_TN[rows][:, columns], max_cost):
                owners_N[columns[c]] = rows[r]
        return owners_N

    def with_looks(self, tracks, cost_TN):
        """Mix in 1 - cosine where both looks are known."""
        if self.units_ND is None:
            return cost_TN
        likeness_TN = self.looks.likeness([track.id for track in tracks], self.units_ND)
        weight = self.config.appearance_weight
        return np.where(np.isnan(likeness_TN), cost_TN, (1 - weight) * cost_TN + weight * (1.0 - likeness_TN))

    def detours(self, tracks, boxes_N4):
        """Measure by how much each detection lies off each track's way, from -w/2 to w/2."""
        config, measured_N4 = self.config, kalman.to_centre_form(boxes_N4)
        out_TN = np.zeros((len(tracks), len(boxes_N4)))
        for t, track in enumerate(tracks):
            velocity_2, height = track.filter_54[kalman.VELOCITY, :2], track.filter_54[kalman.POSITION, 3]
            for n, step_2 in enumerate(measured_N4[:, :2] - track.filter_54[kalman.POSITION, :2]):
                speed, step = np.hypot(*velocity_2), np.hypot(*step_2)
                if speed > config.direction_min_speed * height and step > 0.02 * height:
                    angle = np.arccos(np.clip(velocity_2 @ step_2 / (speed * step), -1.0, 1.0))
                    out_TN[t, n] = config.direction_weight * (angle / np.pi - 0.5)
        return out_TN

    def retraced(self, tracks, foreseen_T54, boxes_N4, owners_N, before_ns):
        """Foresee those that were out of sight again, along made-up sightings."""
        out_T54, step_ns = foreseen_T54.copy(), round(self.config.reupdate_step_s * 1e9)
        for n, t in enumerate(owners_N):
            if t < 0 or not 0 < step_ns < before_ns - tracks[t].seen_ns:
                continue
            track, gap_ns = tracks[t], self.clock_ns - tracks[t].seen_ns
            start_4 = kalman.to_corner_form(track.filter_54[None, kalman.POSITION])[0]
            filters_154, seen_ns, num_steps = track.filter_54[None], track.seen_ns, gap_ns // step_ns
            for step in range(1, num_steps + 1):
                at_ns = track.seen_ns + step * gap_ns // (num_steps + 1)
                made_up_4 = start_4 + (at_ns - track.seen_ns) / gap_ns * (boxes_N4[n] - start_4)
                ahead_154 = kalman.predict(
                    filters_154, np.array([1e-9 * (at_ns - seen_ns)]), self.config.motion
                )
                filters_154 = kalman.correct(
                    ahead_154, kalman.to_centre_form(made_up_4[None]), self.config.motion
                )
                seen_ns = at_ns
            elapsed_1 = np.array([1e-9 * (self.clock_ns - seen_ns)])
            out_T54[t] = kalman.predict(filters_154, elapsed_1, self.config.motion)[0]
        return out_T54

    def sighted(self, t, track, foreseen_T54, boxes_N4, owners_N):
        claimed = np.flatnonzero(owners_N == t)
        if not len(claimed):
            return track
        corrected_54 = kalman.correct(
            foreseen_T54[t : t + 1], kalman.to_centre_form(boxes_N4[claimed]), self.config.motion
        )[0]
        hits = track.hits + 1
        confirmed = track.confirmed or hits >= self.config.confirm_hits
        return replace(track, filter_54=corrected_54, hits=hits, confirmed=confirmed, seen_ns=self.clock_ns)

    def founded(self, boxes_N4, labels_N, n, frame):
        return ReferenceTrack(
            id=f"{self.camera}:{frame.partition}-{frame.offset}-{n}",
            label=int(labels_N[n]),
            filter_54=kalman.initiate(kalman.to_centre_form(boxes_N4[n : n + 1]), self.config.motion)[0],
            hits=1,
            confirmed=self.config.confirm_hits == 1,
            seen_ns=self.clock_ns,
        )


def height_overlap(tracks_T4, boxes_N4):
    """Measure how far the vertical spans of every track and every box agree; returns T x N."""
    top, bottom = tracks_T4[:, None, 1], tracks_T4[:, None, 3]
    shared_TN = np.minimum(bottom, boxes_N4[:, 3]) - np.maximum(top, boxes_N4[:, 1])
    spanned_TN = np.maximum(bottom, boxes_N4[:, 3]) - np.minimum(top, boxes_N4[:, 1])
    return np.maximum(shared_TN, 0.0) / np.maximum(spanned_TN, np.finfo(np.float64).tiny)


def cheapest(cost_RC, max_cost):
    """Return the pairs of least total cost; of equally cheap ones those of earlier rows and columns."""
    rows_R1, columns_C = np.arange(cost_RC.shape[0])[:, None], np.arange(cost_RC.shape[1])
    tie_RC = 1e-13 * (1024 * (rows_R1 + columns_C) - rows_R1 * columns_C)
    allowed_RC = cost_RC <= max_cost
    rows, columns = linear_sum_assignment(np.where(allowed_RC, cost_RC + tie_RC, max_cost + 1e-4))
    return [(r, c) for r, c in zip(rows, columns, strict=True) if allowed_RC[r, c]]
