"""Runs a published tracker over detections in files: `python tracker_peers.py PEER FOLDER`.

Stands alone, on NumPy and the peer only, because the peers' dependencies exclude each other and ours: it runs in
whatever environment has the peer. Each `FOLDER/NAME.npz` holds `boxes_R4` (left, top, right, bottom), `scores_R`
and `starts_F` (the first row of each frame, and the number of rows at the end); `FOLDER/PEER/NAME.npz` gets
`frames_R` (from 1), `ids_R`, `boxes_R4` and `seconds_F`, the time of each frame's update.

Settings are the authors' defaults; norfair, which has none for overlap, gets those that its authors use on
MOTChallenge. Converting input and output is not timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Seen(NamedTuple):
    """Holds a frame's detections."""

    boxes_N4: NDArray[np.float64]
    scores_N: NDArray[np.float64]


class Tracked(NamedTuple):
    """Holds a frame's tracks, and the seconds that they took."""

    ids_N: NDArray[np.int64]
    boxes_N4: NDArray[np.float64]
    seconds: float


Peer = Callable[[Seen], Tracked]


def supervision_bytetrack() -> Peer:
    """Build supervision's ByteTrack."""
    import supervision as sv

    return _of_supervision(sv.ByteTrack().update_with_detections)


def trackers_bytetrack() -> Peer:
    """Build the ByteTrack of roboflow's trackers."""
    import trackers

    return _of_supervision(trackers.ByteTrackTracker().update)


def trackers_ocsort() -> Peer:
    """Build the OC-SORT of roboflow's trackers."""
    import trackers

    return _of_supervision(trackers.OCSORTTracker().update)


def trackers_sort() -> Peer:
    """Build the SORT of roboflow's trackers."""
    import trackers

    return _of_supervision(trackers.SORTTracker().update)


def ioutrack_sort() -> Peer:
    """Build ioutrack's SORT."""
    import ioutrack

    return _of_ioutrack(ioutrack.Sort())


def ioutrack_bytetrack() -> Peer:
    """Build ioutrack's ByteTrack."""
    import ioutrack

    return _of_ioutrack(ioutrack.ByteTrack())


def norfair_mot() -> Peer:
    """Build norfair's tracker with the settings of its own MOTChallenge demonstration; it has no defaults."""
    from norfair import Detection, Tracker

    tracker = Tracker(
        distance_function="iou",
        distance_threshold=0.9,
        detection_threshold=0.01,
        pointwise_hit_counter_max=3,
        hit_counter_max=2,
    )

    def track(seen: Seen) -> Tracked:
        detections = [
            Detection(points=box_4.reshape(2, 2), scores=np.full(2, score))
            for box_4, score in zip(seen.boxes_N4, seen.scores_N, strict=True)
        ]
        start = time.perf_counter()
        found = tracker.update(detections=detections)
        seconds = time.perf_counter() - start
        ids_N = np.array([one.id for one in found], np.int64)
        boxes_N4 = np.array([one.estimate.ravel() for one in found], np.float64).reshape(-1, 4)
        return Tracked(ids_N, boxes_N4, seconds)

    return track


PEERS: dict[str, Callable[[], Peer]] = {
    "supervision-bytetrack": supervision_bytetrack,
    "trackers-bytetrack": trackers_bytetrack,
    "trackers-ocsort": trackers_ocsort,
    "trackers-sort": trackers_sort,
    "ioutrack-sort": ioutrack_sort,
    "ioutrack-bytetrack": ioutrack_bytetrack,
    "norfair-mot": norfair_mot,
}


def _of_supervision(update: Callable) -> Peer:
    import supervision as sv

    def track(seen: Seen) -> Tracked:
        labels_N = np.zeros(len(seen.boxes_N4), int)
        detections = sv.Detections(
            xyxy=seen.boxes_N4.astype(np.float32),
            confidence=seen.scores_N.astype(np.float32),
            class_id=labels_N,
        )
        start = time.perf_counter()
        found = update(detections)
        seconds = time.perf_counter() - start
        ids_N = np.zeros(0, np.int64) if found.tracker_id is None else np.asarray(found.tracker_id, np.int64)
        known_N = ids_N >= 0
        return Tracked(ids_N[known_N], found.xyxy[: len(ids_N)][known_N], seconds)

    return track


def _of_ioutrack(tracker) -> Peer:
    def track(seen: Seen) -> Tracked:
        rows_N5 = np.column_stack((seen.boxes_N4, seen.scores_N)).astype(np.float32)
        start = time.perf_counter()
        found_N5 = tracker.update(rows_N5, return_all=False)
        seconds = time.perf_counter() - start
        return Tracked(found_N5[:, 4].astype(np.int64), found_N5[:, :4].astype(np.float64), seconds)

    return track


def run(peer: Peer, source: Path, target: Path) -> None:
    """Track one sequence."""
    data = np.load(source)
    starts_F = data["starts_F"].tolist()
    tracked = [
        peer(Seen(data_boxes_N4, data_scores_N))
        for data_boxes_N4, data_scores_N in zip(
            np.split(data["boxes_R4"], starts_F[1:-1]),
            np.split(data["scores_R"], starts_F[1:-1]),
            strict=True,
        )
    ]
    target.parent.mkdir(exist_ok=True)
    np.savez(
        target,
        frames_R=np.concatenate([np.full(len(one.ids_N), k) for k, one in enumerate(tracked, start=1)]),
        ids_R=np.concatenate([one.ids_N for one in tracked]),
        boxes_R4=np.concatenate([one.boxes_N4 for one in tracked]),
        seconds_F=np.array([one.seconds for one in tracked]),
    )


def main() -> None:
    """Track every sequence in a folder, each with a tracker of its own."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    for source in sorted(folder.glob("*.npz")):
        run(PEERS[name](), source, folder / name / source.name)


if __name__ == "__main__":
    main()
