"""Gathers the appearance of a camera's tracks, and says when the gallery must hear of one.

Samples are taken rarely (a new track a few in quick succession, a known one now and then) and only from
boxes that show one object well. What is sampled and told depends on frames alone, never on how they were
batched, so that a replay tells the same story.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.detections import Box, Detections, lies_inside
from pipeline.looks import Looks
from pipeline.perception import Seen
from pipeline.records import PathPoint, TrackletEvent, TrackletPhase
from pipeline.taught import TaughtBelief
from pipeline.tracker import TrackerUpdate

NS = 1_000_000_000
MIN_SHARPNESS = 0.05
"""What a sample weighs by at least, however blurred: it may be the only one."""
MAX_PATH_POINTS = 64
"""Points kept of a path that nobody has been told yet: a track without an appearance stays untold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackletConfig:
    """Says how often a track is looked at, and when it is known well enough."""

    min_samples: int = 4
    """Samples that a track needs before the gallery is asked who it is."""
    max_wait_s: float = 2.0
    """Seconds after which the gallery is asked with fewer samples, if there is one."""
    sample_interval_s: float = 0.25
    """Seconds between samples until there are `min_samples`."""
    refresh_interval_s: float = 0.5
    """Seconds between samples afterwards."""
    update_similarity: float = 0.995
    """The gallery is told again when the mean appearance has moved below this cosine similarity."""
    max_overlap: float = 0.35
    """A box covered by another one by more than this share of its area is not sampled."""
    min_height: float = 40.0
    """Pixels of the source frame below which a box shows too little to be sampled."""
    path_interval_s: float = 0.5
    """Seconds of the camera's clock between two points of a path."""
    report_interval_s: float = 2.0
    """Seconds after which the gallery hears again where a track is."""


class SampleRequest(NamedTuple):
    """Asks for the embedding of one detection of the frame."""

    detection: int
    track: str
    weight: float


@dataclass(slots=True)
class _Tracklet:
    start_ns: int
    label: str
    box: Box
    seen_ns: int = 0
    told_ns: int = 0
    path_step: int = -1
    path: list[PathPoint] = field(default_factory=list)
    confirmed_ns: int = -1
    last_request_ns: int = -1
    num_requests: int = 0
    num_samples: int = 0
    weighted_sum: NDArray[np.float32] | None = None
    told: NDArray[np.float32] | None = None
    beside: set[str] = field(default_factory=set)
    told_beside: set[str] = field(default_factory=set)
    taught: TaughtBelief = field(default_factory=TaughtBelief)
    sum_of_scores: float = 0.0
    num_sightings: int = 0


class _Sighting(NamedTuple):
    at_ns: int
    tracklet: _Tracklet
    box: Box
    score: float
    size: tuple[int, int]
    present: set[str]


@dataclass(slots=True)
class CameraTracklets:
    """Holds the tracklets of one camera."""

    config: TrackletConfig
    embedder: str
    _open: dict[str, _Tracklet] = field(default_factory=dict)
    _unread: deque[_Sighting] = field(default_factory=deque)

    def observe(
        self, update: TrackerUpdate, seen: Seen, at_ns: int, size: tuple[int, int]
    ) -> list[SampleRequest]:
        """Note the frame's tracks and return the detections worth embedding; `size` is (width, height)."""
        detections = seen.detections
        covered = covered_share(detections.boxes_N4)
        present = {track for track in update.track_ids if track is not None}
        requests = []
        for index, (track, confirmed) in enumerate(zip(update.track_ids, update.confirmed, strict=True)):
            if track is None:
                continue
            tracklet = self._note(track, index, seen, at_ns)
            score = float(detections.scores_N[index])
            self._unread.append(_Sighting(at_ns, tracklet, _box(detections, index), score, size, present))
            if not confirmed:
                continue
            if tracklet.confirmed_ns < 0:
                tracklet.confirmed_ns = at_ns
            if self._is_due(tracklet, at_ns) and self._shows_well(
                detections.boxes_N4[index], covered[index], size
            ):
                tracklet.last_request_ns = at_ns
                tracklet.num_requests += 1
                height = float(detections.boxes_N4[index, 3] - detections.boxes_N4[index, 1])
                weight = float(detections.scores_N[index]) * (1.0 - float(covered[index])) * height
                requests.append(SampleRequest(index, track, weight))
        return requests

    def add_samples(self, requests: Sequence[SampleRequest], looks: Looks) -> None:
        """Fold the looks asked for by `observe` into their tracklets' weighted means.

        A sample weighs by how sure and how large its box is, how little of it is covered, and how sharp it is.
        """
        rows = zip(requests, looks.embeddings_ND, looks.sharpness_N, strict=True)
        for row, (request, embedding_D, sharpness) in enumerate(rows):
            tracklet = self._open.get(request.track)
            if tracklet is None or not np.isfinite(embedding_D).all():
                continue
            weight = request.weight * max(float(sharpness), MIN_SHARPNESS)
            weighted = embedding_D * np.float32(weight)
            if looks.taught is not None:
                tracklet.taught.add(looks.taught, row, weight)
            tracklet.weighted_sum = (
                weighted if tracklet.weighted_sum is None else tracklet.weighted_sum + weighted
            )
            tracklet.num_samples += 1

    def taught(self, track: str | None) -> dict[str, float]:
        """Return the probability of each taught class that a track seems to be of."""
        tracklet = None if track is None else self._open.get(track)
        return {} if tracklet is None else tracklet.taught.probable()

    def news(self, ended: Sequence[str], at_ns: int) -> tuple[TrackletEvent, ...]:
        """Return what the gallery must hear after this frame, and forget the tracks that have ended."""
        # Later frames of a batch have been observed already, and must not be told of yet.
        while self._unread and self._unread[0].at_ns <= at_ns:
            self._read(self._unread.popleft())
        events = []
        for track, tracklet in self._open.items():
            if track not in ended and (phase := self._phase(tracklet, at_ns)) is not None:
                events.append(self._event(track, tracklet, phase, at_ns))
        for track in ended:
            last = self._open.pop(track, None)
            if last is None:
                continue
            if last.told is None and last.num_samples:
                events.append(self._event(track, last, TrackletPhase.CONFIRMED, at_ns))
            if last.told is not None:
                events.append(self._event(track, last, TrackletPhase.ENDED, at_ns))
        return tuple(events)

    def _note(self, track: str, index: int, seen: Seen, at_ns: int) -> _Tracklet:
        tracklet = self._open.get(track)
        if tracklet is None:
            label = seen.models.class_names[int(seen.detections.labels_N[index])]
            tracklet = self._open[track] = _Tracklet(at_ns, label, _box(seen.detections, index))
        return tracklet

    def _read(self, sighting: _Sighting) -> None:
        tracklet = sighting.tracklet
        tracklet.box, tracklet.seen_ns = sighting.box, sighting.at_ns
        tracklet.sum_of_scores += sighting.score
        tracklet.num_sightings += 1
        tracklet.beside |= sighting.present
        self._follow(tracklet, sighting.at_ns, sighting.size)

    def _follow(self, tracklet: _Tracklet, at_ns: int, size: tuple[int, int]) -> None:
        """Note where the object stands, once an interval; where a border cuts off its feet or a side, it is unknown."""
        step = at_ns // round(self.config.path_interval_s * NS)
        left, top, right, bottom = tracklet.box
        width, height = size
        if step == tracklet.path_step or left <= 1 or right >= width - 1 or bottom >= height - 1:
            return
        tracklet.path_step = step
        x, y = (left + right) / 2 / width, bottom / height
        tracklet.path.append(PathPoint(at_ns, round(x, 4), round(y, 4), round((bottom - top) / height, 4)))
        del tracklet.path[:-MAX_PATH_POINTS]

    def _is_due(self, tracklet: _Tracklet, at_ns: int) -> bool:
        if tracklet.last_request_ns < 0:
            return True
        young = tracklet.num_requests < self.config.min_samples
        interval_s = self.config.sample_interval_s if young else self.config.refresh_interval_s
        return at_ns - tracklet.last_request_ns >= interval_s * NS

    def _shows_well(self, box_4: NDArray[np.float32], covered: float, size: tuple[int, int]) -> bool:
        left, top, right, bottom = (float(v) for v in box_4)
        inside = lies_inside((left, top, right, bottom), size)
        return inside and covered <= self.config.max_overlap and bottom - top >= self.config.min_height

    def _phase(self, tracklet: _Tracklet, at_ns: int) -> TrackletPhase | None:
        if tracklet.weighted_sum is None:
            return None
        if tracklet.told is None:
            waited_s = (at_ns - tracklet.confirmed_ns) / NS
            ready = tracklet.num_samples >= self.config.min_samples or waited_s >= self.config.max_wait_s
            return TrackletPhase.CONFIRMED if ready else None
        moved = float(_unit(tracklet.weighted_sum) @ tracklet.told) < self.config.update_similarity
        if moved:
            return TrackletPhase.UPDATED
        silent_s = (at_ns - tracklet.told_ns) / NS
        # An object out of sight has no news: what is told of a path is what was seen.
        due = silent_s >= self.config.report_interval_s and tracklet.seen_ns > tracklet.told_ns
        return TrackletPhase.MOVED if due else None

    def _event(self, track: str, tracklet: _Tracklet, phase: TrackletPhase, at_ns: int) -> TrackletEvent:
        assert tracklet.weighted_sum is not None, "the gallery hears only of tracks with an appearance"
        look = _unit(tracklet.weighted_sum)
        moved_only = phase is TrackletPhase.MOVED
        event = TrackletEvent(
            track=track, phase=phase, at_ns=at_ns, start_ns=tracklet.start_ns, label=tracklet.label,
            box=tracklet.box, num_samples=tracklet.num_samples,
            seen_ns=tracklet.seen_ns, path=tuple(tracklet.path),
            beside=tuple(sorted(tracklet.beside - tracklet.told_beside - {track})),
            embedding=b"" if moved_only else look.astype("<f4").tobytes(),
            embedder="" if moved_only else self.embedder,
            taught=tracklet.taught.probable(),
            score=round(min(tracklet.sum_of_scores / max(tracklet.num_sightings, 1), 1.0), 4),
        )  # fmt: skip
        tracklet.told = tracklet.told if moved_only else look
        # What stands beside it for long is told once; what left is forgotten, so that the sets stay small.
        tracklet.told_beside, tracklet.beside = tracklet.beside, set()
        tracklet.told_ns = at_ns
        tracklet.path = []
        return event


def _box(detections: Detections, index: int) -> Box:
    left, top, right, bottom = (float(v) for v in detections.boxes_N4[index])
    return left, top, right, bottom


def covered_share(boxes_N4: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each box the largest share of its area that another box covers; shape N.

    Only a box that stands nearer to the camera (its lower edge is lower in the picture) can cover one.
    """
    if len(boxes_N4) < 2:
        return np.zeros(len(boxes_N4), np.float32)
    left_top = np.maximum(boxes_N4[:, None, :2], boxes_N4[None, :, :2])
    right_bottom = np.minimum(boxes_N4[:, None, 2:], boxes_N4[None, :, 2:])
    shared_NN = np.clip(right_bottom - left_top, 0, None).prod(axis=2)
    area_N = np.maximum((boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1), 1e-6)
    share_NN = shared_NN / area_N[:, None]
    share_NN[boxes_N4[None, :, 3] <= boxes_N4[:, 3, None]] = 0.0
    return np.asarray(share_NN.max(axis=1), np.float32)


def _unit(vector_D: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector_D / max(float(np.linalg.norm(vector_D)), 1e-12), np.float32)
