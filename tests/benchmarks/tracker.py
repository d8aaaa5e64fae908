"""Measures the tracker against published ones: time a frame, and accuracy on public detections.

Peers run in environments of their own (tests/benchmarks/tracker_peers.py), on the same detections, with their authors'
default settings. Accuracy compares ours with the best peer in each score by itself, each peer being given raw and
rescaled confidences, so that ours is held to a peer that does not exist as a whole.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.detections import Detections
from pipeline.evaluation.mot import MotRows, MotSequence, read_sequences
from pipeline.evaluation.public_tracking import track_public_detections, unit_scores
from pipeline.evaluation.tracking import TrackingPair, TrackingScores, rows_by_frame, score_tracking_pooled
from pipeline.records import FrameRef
from pipeline.tracker import CameraTracker, TrackerConfig, warm_up
from tests.benchmarks.bench_lines import write_line

PEER_SCRIPT = Path(__file__).with_name("tracker_peers.py")
SEQUENCES = "mot15-four-sequences.zip"
PACKAGES = {
    "supervision-bytetrack": (),
    "trackers-bytetrack": ("trackers==2.6.1",),
    "trackers-ocsort": ("trackers==2.6.1",),
    "trackers-sort": ("trackers==2.6.1",),
    "ioutrack-sort": ("ioutrack==0.3.0", "numpy>=2"),
    "ioutrack-bytetrack": ("ioutrack==0.3.0", "numpy>=2"),
    "norfair-mot": ("norfair==2.1.1",),
}
"""What each peer needs beyond this environment; they exclude one another, and the supervision that has a ByteTrack."""
SPEED_GOALS = {"supervision-bytetrack": 20.0, "ioutrack-sort": 5.0, "ioutrack-bytetrack": 5.0}
NUM_FRAMES = 200
WARM_FRAMES = 20
ROUNDS = 3
FRAME_RATE = 30.0


class Crowd(NamedTuple):
    """Holds a stream of detections."""

    boxes_R4: NDArray[np.float64]
    scores_R: NDArray[np.float64]
    starts_F: NDArray[np.int64]  # the first row of each frame, and the number of rows


def bench_tracker() -> None:
    """Compare the time of a frame at 20 and at 100 objects."""
    warm_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for num_objects in (20, 100):
            crowd = walking_crowd(num_objects, NUM_FRAMES)
            np.savez(folder / f"crowd-{num_objects}.npz", **crowd._asdict())
            ours: dict[str, list[float]] = {peer: [] for peer in SPEED_GOALS}
            theirs: dict[str, list[float]] = {peer: [] for peer in SPEED_GOALS}
            for _ in range(ROUNDS):
                for (
                    peer
                ) in SPEED_GOALS:  # side by side: a shared machine changes its speed from minute to minute
                    before = our_seconds(crowd)
                    run_peer(peer, folder)
                    ours[peer].append((before + our_seconds(crowd)) / 2.0)
                    seconds_F = np.load(folder / peer / f"crowd-{num_objects}.npz")["seconds_F"]
                    theirs[peer].append(float(np.median(seconds_F[WARM_FRAMES:])))
            (folder / f"crowd-{num_objects}.npz").unlink()
            for peer, goal in SPEED_GOALS.items():
                ratio = statistics.median(b / a for a, b in zip(ours[peer], theirs[peer], strict=True))
                write_line(
                    f"tracker, {num_objects} objects / {peer}", 1e6 * statistics.median(ours[peer]),
                    1e6 * statistics.median(theirs[peer]), ratio, goal, "us/frame",
                )  # fmt: skip


def bench_tracker_accuracy() -> None:
    """Compare scores on MOT15's four sequences, pooled; needs the data (CAMWEAVE_DATA)."""
    source = Path(os.environ.get("CAMWEAVE_DATA", "")) / SEQUENCES
    if not source.is_file():
        sys.stdout.write(f"tracker accuracy: skipped, no {SEQUENCES} in CAMWEAVE_DATA\n")
        return
    sequences = read_sequences(source)
    ours = score_tracking_pooled(
        [TrackingPair(one.truth, track_public_detections(one, TrackerConfig())) for one in sequences]
    )
    peers = peer_scores(sequences)
    for metric in ("mota", "idf1", "hota"):
        best = max(peers, key=lambda peer: float(getattr(peers[peer], metric)))
        mine, theirs = float(getattr(ours, metric)), float(getattr(peers[best], metric))
        write_line(f"MOT15 {metric.upper()} / {best}", mine, theirs, mine / theirs, 1.0, "ratio")
    for peer, scores in peers.items():
        sys.stdout.write(
            f"  {peer:<28} MOTA {scores.mota:.3f}  IDF1 {scores.idf1:.3f}  HOTA {scores.hota:.3f}\n"
        )


def walking_crowd(num_objects: int, num_frames: int) -> Crowd:
    """Draw people who cross a picture of 1920 x 1080 and turn at its edges; one in ten is missed, one in ten weak."""
    rng = np.random.default_rng(0)
    edge_2 = np.array((1800.0, 800.0))
    corner_P2, speed_P2 = rng.uniform(0.0, edge_2, (num_objects, 2)), rng.normal(0.0, 3.0, (num_objects, 2))
    height_P = rng.uniform(80.0, 240.0, num_objects)
    boxes, scores = [], []
    for _ in range(num_frames):
        corner_P2 += speed_P2
        speed_P2 = np.where((corner_P2 < 0.0) | (corner_P2 > edge_2), -speed_P2, speed_P2)
        seen = np.flatnonzero(rng.random(num_objects) > 0.1)
        corner_N2 = corner_P2[seen] + rng.normal(0.0, 1.5, (len(seen), 2))
        boxes.append(
            np.hstack((corner_N2, corner_N2 + np.stack((0.4 * height_P[seen], height_P[seen]), axis=1)))
        )
        weak_N = rng.random(len(seen)) < 0.1
        scores.append(np.where(weak_N, rng.uniform(0.2, 0.5, len(seen)), rng.uniform(0.6, 0.99, len(seen))))
    return Crowd(np.concatenate(boxes), np.concatenate(scores), _starts(scores))


def our_seconds(crowd: Crowd) -> float:
    """Return the median time of an update."""
    cuts = crowd.starts_F[1:-1].tolist()
    frames = [
        Detections(
            boxes_N4.astype(np.float32), scores_N.astype(np.float32), np.zeros(len(scores_N), np.int64)
        )
        for boxes_N4, scores_N in zip(
            np.split(crowd.boxes_R4, cuts), np.split(crowd.scores_R, cuts), strict=True
        )
    ]
    tracker, seconds = CameraTracker("crowd", TrackerConfig()), []
    for index, detections in enumerate(frames):
        captured_ns, ref = (
            round(index / FRAME_RATE * 1e9),
            FrameRef(topic="frames", partition=0, offset=index),
        )
        start = time.perf_counter()
        tracker.update(detections, captured_ns, ref)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_FRAMES:])


def peer_scores(sequences: Sequence[MotSequence]) -> dict[str, TrackingScores]:
    """Score every peer on raw and on rescaled confidences."""
    scores: dict[str, TrackingScores] = {}
    with tempfile.TemporaryDirectory() as name:
        for scale in ("raw", "rescaled"):
            folder = Path(name) / scale
            folder.mkdir()
            for sequence in sequences:
                _save_detections(sequence, folder, rescaled=scale == "rescaled")
            for peer in PACKAGES:
                run_peer(peer, folder)
                pairs = [
                    TrackingPair(one.truth, _load_tracks(folder / peer / f"{one.name}.npz"))
                    for one in sequences
                ]
                scores[f"{peer}, {scale}"] = score_tracking_pooled(pairs)
    return scores


def run_peer(peer: str, folder: Path) -> None:
    """Let a peer track every sequence in `folder`, in this environment or in one that uv keeps for the others."""
    python = [sys.executable]
    if PACKAGES[peer]:
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if uv is None:
            raise FileNotFoundError("the peers' environment needs uv: run `make setup`")
        python = [uv, "run", "--quiet", "--no-project", "--python", sys.executable]
        python += [part for package in PACKAGES[peer] for part in ("--with", package)] + ["python"]
    # One thread each: the trackers are compared, not the BLAS libraries under them.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([*python, str(PEER_SCRIPT), peer, str(folder)], check=True, env=environment)


def _save_detections(sequence: MotSequence, folder: Path, *, rescaled: bool) -> None:
    found = sequence.detections
    rows = rows_by_frame(found.frames_R, sequence.num_frames)
    order = np.concatenate(rows)
    scores_R = unit_scores(found.confidences_R) if rescaled else found.confidences_R
    np.savez(
        folder / f"{sequence.name}.npz",
        boxes_R4=found.boxes_R4[order], scores_R=scores_R[order], starts_F=_starts(rows),
    )  # fmt: skip


def _load_tracks(path: Path) -> MotRows:
    data = np.load(path)
    return MotRows(
        data["frames_R"].astype(np.int64), data["ids_R"].astype(np.int64), data["boxes_R4"].astype(np.float64),
        np.ones(len(data["ids_R"])),
    )  # fmt: skip


def _starts(frames: Iterable[NDArray[np.generic]]) -> NDArray[np.int64]:
    return np.cumsum([0, *(len(frame) for frame in frames)])
