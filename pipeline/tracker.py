"""Follows the objects of one camera from frame to frame.

ByteTrack (Zhang et al., "ByteTrack: Multi-object tracking by associating every detection box", ECCV 2022): strong
detections are given to tracks first, then weak ones to the tracks that are left, so that an object does not end
when it is half hidden. Time is the camera's own clock, not a count of frames: a dropped frame only widens the
prediction, and how long an object may stay hidden is stated in seconds.

Legend of shape suffixes: T tracks, N detections of the frame, 54 = filter rows x box coordinates (pipeline.kalman).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from pipeline import kalman
from pipeline.association import buffered_iou, cheapest_pairs, height_overlap
from pipeline.detections import Detections
from pipeline.errors import BadInput
from pipeline.records import FrameRef
from pipeline.tracks import Flags, Floats, Integers, TrackerSnapshot, Tracks

Indices = NDArray[np.intp]

_MIN_STEP_NS: Final = 1_000_000
"""What a frame adds to the tracker's time when the camera's clock stands still or runs backwards: 1 ms."""
_UNCLAIMED: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerConfig:
    """Says when a detection continues a track, and when a track begins, counts, and ends.

    Raises:
        BadInput: when a value is out of its range.
    """

    high_score: float = 0.35
    """Detections of at least this score are given out first, to any track."""
    low_score: float = 0.2
    """Detections below this score are not looked at; those between the two continue tracks seen a moment ago."""
    new_score: float = 0.6
    """A detection that no track claims begins one if its score is at least this."""
    max_cost_first: float = 0.9
    """Greatest cost, 1 - overlap x score, of a strong detection for a confirmed track."""
    max_cost_second: float = 0.4
    """Greatest cost, 1 - overlap, of a weak detection."""
    max_cost_tentative: float = 0.6
    """Greatest cost, 1 - overlap x score, of a strong detection for a track that is not confirmed yet."""
    tentative_buffer: float = 0.3
    """How much boxes grow when tracks of unknown velocity are matched, as a share of width and height a side."""
    height_power: float = 1.5
    """Overlap is multiplied by this power of the overlap in height: people side by side differ in height."""
    lost_s: float = 2.5
    """Seconds without a sighting after which a track is over."""
    confirm_hits: int = 3
    """Sightings that a track needs to be confirmed; it dies at the first frame that misses it before that."""
    motion: kalman.MotionModel = field(default_factory=kalman.MotionModel)
    """How objects move and how well they are measured."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.low_score <= self.high_score <= self.new_score <= 1.0:
            raise BadInput(
                f"got low_score {self.low_score}, high_score {self.high_score}, new_score {self.new_score}; "
                "expected 0 <= low_score <= high_score <= new_score <= 1"
            )
        if self.lost_s <= 0 or self.confirm_hits < 1:
            raise BadInput(
                f"got lost_s {self.lost_s} and confirm_hits {self.confirm_hits}; expected > 0 and at least 1"
            )


@dataclass(frozen=True, slots=True)
class TrackerUpdate:
    """Says what one frame did to a camera's tracks."""

    track_ids: tuple[str | None, ...]
    """The track of each detection, None where no track claims it."""
    confirmed: tuple[bool, ...]
    """Whether that track is confirmed."""
    newly_confirmed: tuple[str, ...]
    ended: tuple[str, ...]
    """Confirmed tracks that are over."""
    abandoned: tuple[str, ...]
    """Tracks that are over and were never confirmed."""


class CameraTracker:
    """Follows the objects of one camera; give it each frame once, in order.

    Attributes:
        num_clock_steps_back: frames whose capture time was not after that of the frame before.
    """

    def __init__(self, camera: str, config: TrackerConfig) -> None:
        self.camera = camera
        self.config = config
        self.num_clock_steps_back = 0
        self._lost_ns = round(config.lost_s * 1e9)
        self._captured_ns: int | None = None
        self._clock_ns = 0
        self._tracks = Tracks.unpacked()

    def update(self, detections: Detections, captured_ns: int, frame: FrameRef) -> TrackerUpdate:
        """Take the detections of the next frame, captured at `captured_ns` on the camera's clock."""
        self._advance(captured_ns)
        config, now_ns = self.config, self._clock_ns
        # Step 1: a track that was out of sight for too long is over before it can claim anything.
        over_T = now_ns - self._tracks.seen_ns_T > self._lost_ns
        timed_out = self._tracks.named(over_T & self._tracks.confirmed_T)
        abandoned = self._tracks.named(over_T & ~self._tracks.confirmed_T)
        tracks = self._tracks.kept(~over_T)
        # Step 2: give detections to tracks.
        elapsed_T = 1e-9 * (now_ns - tracks.seen_ns_T).astype(np.float64)
        predicted_T54 = kalman.predict(tracks.filters_T54, elapsed_T, config.motion)
        boxes_N4 = detections.boxes_N4.astype(np.float64)
        owners_N = _associate(tracks, predicted_T54, boxes_N4, detections, config)
        # Step 3: correct the tracks that were seen.
        before_T = tracks.confirmed_T
        tracks = _sighted(tracks, predicted_T54, boxes_N4, owners_N, now_ns, config)
        newly_confirmed = tracks.named(tracks.confirmed_T & ~before_T)
        # Step 4: begin tracks, and drop those that were missed before they were confirmed.
        founding_N = (owners_N == _UNCLAIMED) & (detections.scores_N >= config.new_score)
        founded = self._founded(detections, boxes_N4, np.flatnonzero(founding_N), frame)
        alive_T = tracks.confirmed_T | tracks.visible_T
        abandoned += tracks.named(~alive_T)
        owners_N[founding_N] = np.arange(len(tracks), len(tracks) + len(founded))
        everyone = tracks.joined(founded)
        self._tracks = everyone.kept(np.concatenate((alive_T, np.ones(len(founded), np.bool_))))
        return TrackerUpdate(
            track_ids=tuple([None if owner < 0 else everyone.ids[owner] for owner in owners_N.tolist()]),
            confirmed=tuple(((owners_N >= 0) & np.append(everyone.confirmed_T, False)[owners_N]).tolist()),
            newly_confirmed=newly_confirmed + founded.named(founded.confirmed_T),
            ended=timed_out,
            abandoned=abandoned,
        )

    def finish(self) -> tuple[str, ...]:
        """End all tracks, because the stream is over; returns the confirmed ones."""
        alive = self._tracks.named(self._tracks.confirmed_T)
        self._tracks = Tracks.unpacked()
        return alive

    def snapshot(self) -> TrackerSnapshot:
        """Return all that this tracker knows, as a plain value."""
        return TrackerSnapshot(
            camera=self.camera,
            captured_ns=self._captured_ns,
            clock_ns=self._clock_ns,
            num_clock_steps_back=self.num_clock_steps_back,
            tracks=self._tracks.packed(),
        )

    @classmethod
    def resume(cls, snapshot: TrackerSnapshot, config: TrackerConfig) -> Self:
        """Continue where `snapshot` was taken: with the same config, what follows is the same to the bit.

        Raises:
            BadInput: when a filter in the snapshot does not hold 20 numbers.
        """
        tracker = cls(snapshot.camera, config)
        tracker.num_clock_steps_back = snapshot.num_clock_steps_back
        tracker._captured_ns = snapshot.captured_ns
        tracker._clock_ns = snapshot.clock_ns
        tracker._tracks = Tracks.unpacked(snapshot.tracks)
        return tracker

    def _advance(self, captured_ns: int) -> None:
        """Move the tracker's clock, which never stands still, by what the camera's clock moved."""
        step_ns = _MIN_STEP_NS if self._captured_ns is None else captured_ns - self._captured_ns
        if step_ns <= 0:
            self.num_clock_steps_back += 1
            step_ns = _MIN_STEP_NS
        # A longer step ends every track just as well, and no camera's clock can overflow the tracker's.
        self._clock_ns += min(step_ns, self._lost_ns + 1)
        self._captured_ns = captured_ns

    def _founded(
        self, detections: Detections, boxes_N4: Floats, founders: Indices, frame: FrameRef
    ) -> Tracks:
        """Begin a track at each founding detection; frame and index name it, so a replay names it alike."""
        n = len(founders)
        return Tracks(
            ids=tuple([f"{self.camera}:{frame.partition}-{frame.offset}-{i}" for i in founders.tolist()]),
            filters_T54=kalman.initiate(kalman.to_centre_form(boxes_N4[founders]), self.config.motion),
            labels_T=detections.labels_N[founders],
            hits_T=np.ones(n, np.int64),
            confirmed_T=np.full(n, self.config.confirm_hits == 1),
            visible_T=np.ones(n, np.bool_),
            seen_ns_T=np.full(n, self._clock_ns, np.int64),
        )


def _associate(
    tracks: Tracks, predicted_T54: Floats, boxes_N4: Floats, detections: Detections, config: TrackerConfig
) -> Indices:
    """Return the index of the track that claims each detection, or -1."""
    owners_N = np.full(len(boxes_N4), _UNCLAIMED, np.intp)
    offered = np.flatnonzero(detections.scores_N >= config.low_score)
    if not len(tracks) or not len(offered):
        return owners_N
    owners_N[offered] = _claims(
        tracks,
        kalman.to_corner_form(predicted_T54[:, kalman.POSITION]),
        boxes_N4[offered],
        detections.scores_N[offered].astype(np.float64),
        detections.labels_N[offered],
        config,
    )
    return owners_N


def _claims(
    tracks: Tracks,
    tracked_T4: Floats,
    boxes_N4: Floats,
    scores_N: Floats,
    labels_N: Integers,
    config: TrackerConfig,
) -> Indices:
    """Give boxes to tracks in ByteTrack's order: strong, weak, then what is left to tentative tracks."""
    alike_TN = height_overlap(tracked_T4, boxes_N4) ** config.height_power
    alike_TN *= tracks.labels_T[:, None] == labels_N
    overlap_TN = buffered_iou(tracked_T4, boxes_N4) * alike_TN
    owners_N = np.full(len(boxes_N4), _UNCLAIMED, np.intp)
    free_T = np.ones(len(tracks), np.bool_)

    def claim(candidates_T: Flags, offered_N: Flags, cost_TN: Floats, max_cost: float) -> None:
        rows, columns = np.flatnonzero(candidates_T), np.flatnonzero(offered_N)
        if len(rows) and len(columns):
            pairs = cheapest_pairs(cost_TN[rows[:, None], columns], max_cost)
            owners_N[columns[pairs.columns_P]] = rows[pairs.rows_P]
            free_T[rows[pairs.rows_P]] = False

    strong_N = scores_N >= config.high_score
    claim(tracks.confirmed_T, strong_N, 1.0 - overlap_TN * scores_N, config.max_cost_first)
    recent_T = tracks.confirmed_T & tracks.visible_T & free_T
    claim(recent_T, ~strong_N, 1.0 - overlap_TN, config.max_cost_second)
    if not tracks.confirmed_T.all():
        near_TN = buffered_iou(tracked_T4, boxes_N4, config.tentative_buffer) * alike_TN
        left_N = strong_N & (owners_N == _UNCLAIMED)
        claim(~tracks.confirmed_T, left_N, 1.0 - near_TN * scores_N, config.max_cost_tentative)
    return owners_N


def _sighted(
    tracks: Tracks,
    predicted_T54: Floats,
    boxes_N4: Floats,
    owners_N: Indices,
    now_ns: int,
    config: TrackerConfig,
) -> Tracks:
    """Return the tracks after each has seen the detection that it claims."""
    claimed = np.flatnonzero(owners_N >= 0)
    owners = owners_N[claimed]
    visible_T = np.zeros(len(tracks), np.bool_)
    visible_T[owners] = True
    filters_T54 = tracks.filters_T54.copy()
    measured_N4 = kalman.to_centre_form(boxes_N4[claimed])
    filters_T54[owners] = kalman.correct(predicted_T54[owners], measured_N4, config.motion)
    hits_T = tracks.hits_T + visible_T
    return Tracks(
        ids=tracks.ids,
        filters_T54=filters_T54,
        labels_T=tracks.labels_T,
        hits_T=hits_T,
        confirmed_T=tracks.confirmed_T | (hits_T >= config.confirm_hits),
        visible_T=visible_T,
        seen_ns_T=np.where(visible_T, now_ns, tracks.seen_ns_T),
    )
