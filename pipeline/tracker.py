"""Follows the objects of one camera from frame to frame.

ByteTrack (Zhang et al., "ByteTrack: Multi-object tracking by associating every detection box", ECCV 2022): strong
detections are given to tracks first, then weak ones to the tracks that are left, so that an object does not end
when it is half hidden. Time is the camera's own clock, not a count of frames: a dropped frame only widens the
prediction, and how long an object may stay hidden is stated in seconds.

The arithmetic of a frame is one compiled call (pipeline.tracking.kernel); here are clocks, names and snapshots.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.detections import Detections
from pipeline.records import FrameRef
from pipeline.tracking.appearance import UNKNOWN_TN, TrackLooks, to_units
from pipeline.tracking.config import MotionModel, TrackerConfig, settings_of
from pipeline.tracking.kernel import ABANDONED, ALIVE, CONFIRMED, ENDED, take_frame
from pipeline.tracks import TrackerSnapshot, packed, room_for_tracks, unpacked

__all__ = ["CameraTracker", "MotionModel", "TrackerConfig", "TrackerUpdate", "warm_up"]

_MIN_STEP_NS: Final = 1_000_000
"""What a frame adds to the tracker's time when the camera's clock stands still or runs backwards: 1 ms."""
_FIRST_ROOM: Final = 64
"""Detections and tracks that fit before arrays grow."""
_FLOAT32: Final = np.dtype(np.float32)
_INT64: Final = np.dtype(np.int64)
_CONFIRMED: Final = 2
_FATE: Final = 4
"""Rows of `tracks_5T`."""


class TrackerUpdate(NamedTuple):
    """Says what one frame did to a camera's tracks."""

    track_ids: tuple[str | None, ...]
    """The track of each detection, None where no track claims it."""
    confirmed: tuple[bool, ...]
    """Whether that track is confirmed."""
    newly_confirmed: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    """Confirmed tracks that are over."""
    abandoned: tuple[str, ...] = ()
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
        settings = settings_of(config)
        self._settings_S = np.array(settings)
        self._lost_ns = int(settings.lost_ns)
        self._captured_ns: int | None = None
        self._clock_ns = 0
        self._ids: list[str] = []
        self._looks = TrackLooks(config.appearance_memory)
        self._room = _FIRST_ROOM
        self._rows = room_for_tracks(_FIRST_ROOM)
        self._owners_N = np.zeros(_FIRST_ROOM, np.int64)
        self._sure_N = np.zeros(_FIRST_ROOM, np.bool_)

    def update(
        self,
        detections: Detections,
        captured_ns: int,
        frame: FrameRef,
        embeddings_ND: NDArray[np.floating] | None = None,
    ) -> TrackerUpdate:
        """Take the detections of the next frame, captured at `captured_ns` on the camera's clock.

        `embeddings_ND` says what each detection looks like, NaN or zero where that is not known; it counts as far as
        `appearance_weight` in the config says.

        Raises:
            BadInput: when there is not one embedding for each detection.
        """
        units_ND = None if embeddings_ND is None else to_units(embeddings_ND, len(detections))
        before_ns = self._clock_ns
        self._advance(captured_ns)
        boxes_N4, scores_N, labels_N = detections.boxes_N4, detections.scores_N, detections.labels_N
        if not (
            _is_plain(boxes_N4, _FLOAT32) and _is_plain(scores_N, _FLOAT32) and _is_plain(labels_N, _INT64)
        ):
            boxes_N4, scores_N, labels_N = _plain(detections)
        ids = self._ids
        num_before, num_seen = len(ids), len(scores_N)
        if num_before + num_seen > self._room:
            self._make_room(num_before + num_seen)
        filters_T54, tracks_5T = self._rows
        likeness_TN = UNKNOWN_TN if units_ND is None else self._looks.likeness(ids, units_ND)
        num_founded, num_changed = take_frame(
            filters_T54, tracks_5T, boxes_N4, scores_N, labels_N, self._owners_N, self._sure_N, likeness_TN,
            self._settings_S, num_before, before_ns, self._clock_ns,
        )  # fmt: skip
        owners = self._owners_N[:num_seen].tolist()
        if num_founded:
            # Frame and index name a track, so a replay names it alike.
            stem = f"{self.camera}:{frame.partition}-{frame.offset}-"
            ids += [f"{stem}{index}" for index, owner in enumerate(owners) if owner >= num_before]
        track_ids = tuple(map((*ids, None).__getitem__, owners))  # -1 is the last of them: nobody
        confirmed = tuple(self._sure_N[:num_seen].tolist())
        if units_ND is not None:
            self._looks.learn(track_ids, units_ND)
        if not num_changed:
            return TrackerUpdate(track_ids, confirmed)
        fates = tracks_5T[_FATE, : len(ids)].tolist()
        self._ids = [track for track, fate in zip(ids, fates, strict=True) if fate in (ALIVE, CONFIRMED)]
        ended, abandoned = _named(ids, fates, ENDED), _named(ids, fates, ABANDONED)
        self._looks.forget(ended + abandoned)
        return TrackerUpdate(track_ids, confirmed, _named(ids, fates, CONFIRMED), ended, abandoned)

    def steadied(self, detections: Detections, update: TrackerUpdate) -> NDArray[np.float32]:
        """Return the boxes of the frame just taken in, those of tracks steadied by what their filters hold; N x 4.

        A detector's box trembles; each coordinate moves by `smoothing` of the way to the filter's.
        """
        rows = {track: row for row, track in enumerate(self._ids)}
        boxes_N4 = detections.boxes_N4.copy()
        for index, track in enumerate(update.track_ids):
            if track is not None and track in rows:
                x, y, width, height = self._rows.filters_T54[rows[track], 0]
                held_4 = np.array((x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height))
                boxes_N4[index] += self.config.smoothing * (held_4 - boxes_N4[index])
        return boxes_N4

    def finish(self) -> tuple[str, ...]:
        """End all tracks, because the stream is over; returns the confirmed ones."""
        ids, self._ids = self._ids, []
        confirmed = self._rows.tracks_5T[_CONFIRMED].tolist()
        return tuple([track for track, sure in zip(ids, confirmed, strict=False) if sure])

    def snapshot(self) -> TrackerSnapshot:
        """Return all that this tracker knows, as a plain value."""
        return TrackerSnapshot(
            camera=self.camera,
            captured_ns=self._captured_ns,
            clock_ns=self._clock_ns,
            num_clock_steps_back=self.num_clock_steps_back,
            tracks=packed(self._ids, self._rows, self._looks),
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
        tracker._ids = [track.id for track in snapshot.tracks]
        tracker._rows = unpacked(snapshot.tracks)
        tracker._make_room(len(tracker._ids))
        tracker._looks = TrackLooks(
            config.appearance_memory, {track.id: track.look for track in snapshot.tracks if track.look}
        )
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

    def _make_room(self, num_rows: int) -> None:
        """Let arrays grow to twice what is needed, so that they seldom do."""
        self._room = 2 * num_rows
        self._rows = room_for_tracks(self._room, self._rows)
        self._owners_N = np.zeros(self._room, np.int64)
        self._sure_N = np.zeros(self._room, np.bool_)


def warm_up() -> None:
    """Load the compiled core, or compile it the first time on a machine, so that the first frame need not wait."""
    CameraTracker("warm-up", TrackerConfig()).update(
        Detections.empty(), 0, FrameRef(topic="warm-up", partition=0, offset=0)
    )


def _is_plain(array: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Say whether an array is of the one kind that the core is compiled for: another would compile it again."""
    return array.dtype is dtype and array.flags.carray


def _plain(detections: Detections) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Copy arrays of another kind, such as read-only ones from another process."""
    return (
        np.array(detections.boxes_N4, _FLOAT32, order="C"),
        np.array(detections.scores_N, _FLOAT32, order="C"),
        np.array(detections.labels_N, _INT64, order="C"),
    )


def _named(ids: list[str], fates: list[int], fate: int) -> tuple[str, ...]:
    return tuple([track for track, its_fate in zip(ids, fates, strict=True) if its_fate == fate])
