"""Measures identities over several virtual sites made of one video: other cuts, overlaps, mirrored, other light and clocks.

Usage: python -m tests.benchmarks sites, or python -m tests.benchmarks.sites --vary (both need CAMWEAVE_DATA)

One site says little of settings: a single person found or lost moves its score by several points. Each site is scored
with all evidence, with looks alone, and with each track given the person that it shows most of, which no decision
can beat. `--vary` moves each setting by a fifth, to see how much hangs on it. No log, no Ray: the same code that a
shard and the gallery run, frame by frame.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cluster.sample_video import SAMPLE_SEQUENCE, SAMPLE_VIDEO
from models.detectors import DetectorConfig, build_detector
from models.embedders import EmbedderConfig, build_embedder
from pipeline.association import buffered_iou
from pipeline.camera import Camera
from pipeline.evaluation.mot import MotRows, read_rows, read_sequences
from pipeline.evaluation.site import score_site
from pipeline.frames import FrameHeader
from pipeline.identity import IdentityBook, IdentityConfig
from pipeline.looks import NO_LOOKS
from pipeline.ordering import EventOrder
from pipeline.perception import CropRequest, EncodedFrame, Perception, PerceptionConfig, Seen
from pipeline.records import (
    DecisionKind,
    FrameRef,
    FrameResult,
    IdentityDecision,
    TrackletBatch,
    TrackletEvent,
    encode,
)
from pipeline.run_folder import IDENTITIES_FILE, TRACKS_FILE
from pipeline.tracker import TrackerConfig
from pipeline.tracklets import TrackletConfig
from pipeline.virtual_cameras import VirtualCamera, four_quadrants, render, write_truth
from tests.benchmarks.bench_lines import write_header, write_line

WIDTH, HEIGHT = 768, 576  # of the sample video
FPS = 10.0
BASE_NS = 1_700_000_000 * 10**9
GOAL = 0.70
SAME_IOU = 0.5
STEP = 1.2
VARIED = (
    "match_score", "merge_score", "sure_score", "sure_margin", "split_score", "known_share", "min_crowd",
    "appearance_limit", "decide_within_s", "relink_s",
)  # fmt: skip


class Layout(NamedTuple):
    """Is a virtual site."""

    cameras: tuple[VirtualCamera, ...]
    mirrored: bool = False  # left and right of the source exchanged


class Story(NamedTuple):
    """Is what the cameras of a site told."""

    results: list[FrameResult]
    batches: list[TrackletBatch]


def _camera(
    name: str, place: tuple[int, int, int, int], scale: float, gain: float, white: tuple[float, float, float],
    quality: int, clock_s: float,
) -> VirtualCamera:  # fmt: skip
    left, top, width, height = place
    return VirtualCamera(
        camera=name, left=left, top=top, crop_width=width, crop_height=height, width=int(width * scale),
        height=int(height * scale), gain=gain, white_balance=white, jpeg_quality=quality, clock_offset_s=clock_s,
    )  # fmt: skip


LAYOUTS = {
    "quadrants": Layout(four_quadrants(WIDTH, HEIGHT)),  # that of the demo
    "strips": Layout((
        _camera("a", (0, 0, 320, 576), 1.4, 1.1, (1.0, 0.95, 1.05), 85, 0.3),
        _camera("b", (224, 0, 320, 576), 1.4, 0.85, (1.1, 1.0, 0.9), 75, -0.1),
        _camera("c", (448, 0, 320, 576), 1.4, 1.0, (0.9, 1.0, 1.1), 90, 0.05),
    )),
    "disjoint": Layout((
        _camera("a", (0, 0, 384, 288), 1.6, 1.0, (1.0, 1.0, 1.0), 90, 0.0),
        _camera("b", (384, 0, 384, 288), 1.6, 0.8, (0.88, 1.0, 1.12), 80, 0.12),
        _camera("c", (0, 288, 384, 288), 1.6, 1.2, (1.12, 1.0, 0.9), 70, -0.21),
        _camera("d", (384, 288, 384, 288), 1.6, 0.9, (0.95, 1.08, 0.95), 95, 0.27),
    )),
    "mirrored": Layout((
        _camera("a", (0, 0, 460, 345), 1.6, 0.9, (1.08, 1.0, 0.94), 80, 0.4),
        _camera("b", (308, 0, 460, 345), 1.6, 1.15, (1.0, 1.0, 1.0), 90, -0.3),
        _camera("c", (0, 231, 460, 345), 1.6, 1.0, (0.9, 1.03, 1.08), 75, 0.0),
        _camera("d", (308, 231, 460, 345), 1.6, 0.8, (1.0, 0.95, 1.05), 85, 0.15),
    ), mirrored=True),
    "halves": Layout((
        _camera("a", (0, 0, 500, 576), 1.2, 1.2, (1.05, 1.0, 0.95), 80, -0.25),
        _camera("b", (268, 0, 500, 576), 1.2, 0.85, (0.93, 1.0, 1.08), 85, 0.2),
    )),
}  # fmt: skip


class Site:
    """Holds what the cameras of a virtual site told, and scores decisions about it."""

    def __init__(self, layout: Layout, truth: MotRows, perception: Perception, folder: Path) -> None:
        self.embedder = perception.embedder_version
        self.story = watch(layout, perception)
        self._folder = folder
        rows = mirrored(truth) if layout.mirrored else truth
        num_frames = int(truth.frames_R.max())
        write_truth(folder / "truth", layout.cameras, rows, num_frames=num_frames, frame_rate=FPS)
        (folder / TRACKS_FILE).write_bytes(b"".join(encode(one) + b"\n" for one in self.story.results))

    def idf1(self, config: IdentityConfig) -> float:
        """Score the identities that are decided with these settings."""
        return self._score(decide(self.story, config, self.embedder))

    def bound(self) -> float:
        """Score each track as the person that it shows most of."""
        return self._score(majority(self.story.results, self._folder / "truth"))

    def _score(self, records: Sequence[IdentityDecision]) -> float:
        (self._folder / IDENTITIES_FILE).write_bytes(b"".join(encode(one) + b"\n" for one in records))
        return score_site(self._folder, self._folder / "truth").idf1


@contextmanager
def watched_sites() -> Iterator[dict[str, Site]]:
    """Let the cameras of all sites see the video."""
    data = Path(os.environ["CAMWEAVE_DATA"], "mot15-four-sequences.zip")
    truth = next(one.truth for one in read_sequences(data) if one.name == SAMPLE_SEQUENCE)
    perception = Perception(
        build_detector(DetectorConfig()), build_embedder(EmbedderConfig()), PerceptionConfig()
    )
    with tempfile.TemporaryDirectory() as folder:
        yield {name: Site(layout, truth, perception, Path(folder, name)) for name, layout in LAYOUTS.items()}
    perception.close()


def bench_sites() -> None:
    """Write two lines for each site: all evidence against what no decision can beat, and against looks alone."""
    with watched_sites() as sites:
        for name, site in sites.items():
            ours, looks = site.idf1(IdentityConfig()), site.idf1(IdentityConfig(evidence=("appearance",)))
            bound = site.bound()
            write_line(f"site_{name}_to_bound", ours, bound, ours / bound, GOAL / bound, "IDF1")
            write_line(f"site_{name}_to_looks", ours, looks, ours / looks, 1.0, "IDF1")


def vary_settings() -> None:
    """Print the scores of all sites with each setting moved by a fifth either way."""
    usual = IdentityConfig()
    with watched_sites() as sites:
        sys.stdout.write(f"{'':<32} {' '.join(f'{name:>9}' for name in sites)}      mean\n")
        for label, config in [("usual", usual), *_varied(usual)]:
            scores = [site.idf1(config) for site in sites.values()]
            columns = " ".join(f"{score:>9.3f}" for score in [*scores, statistics.mean(scores)])
            sys.stdout.write(f"{label:<32} {columns}\n")
            sys.stdout.flush()


def _varied(usual: IdentityConfig) -> Iterator[tuple[str, IdentityConfig]]:
    for name in VARIED:
        for factor in (1 / STEP, STEP):
            value = getattr(usual, name) * factor
            changed = {name: round(value) if name == "min_crowd" else value}
            yield f"{name} {changed[name]:.4g}", dataclasses.replace(usual, **changed)


def watch(layout: Layout, perception: Perception) -> Story:
    """Let the cameras of a site see the video, and follow what they see."""
    story = Story([], [])
    cameras = {
        one.camera: Camera(one.camera, TrackerConfig(), TrackletConfig(), perception.embedder_version)
        for one in layout.cameras
    }
    last: dict[str, FrameRef] = {}
    for sequence, image in enumerate(_images(layout.mirrored)):
        frames = [_encoded(one, number, sequence, image) for number, one in enumerate(layout.cameras)]
        seen = perception.detect([frame for _, _, frame in frames])
        for (header, ref, frame), seen_frame in zip(frames, seen, strict=True):
            assert isinstance(seen_frame, Seen)
            camera = cameras[header.camera]
            followed = camera.follow(header, ref, seen_frame)
            request = CropRequest(frame, followed.sample_boxes_N4)
            looks = perception.embed([request])[0] if followed.samples else NO_LOOKS
            complete = camera.learn_appearance(followed, looks)
            story.results.append(complete.result)
            story.batches.append(_batch(camera, ref, complete.events, ended=False))
            last[header.camera] = ref
    for name, camera in cameras.items():
        story.batches.append(_batch(camera, last[name], camera.finish(), ended=True))
    return story


def decide(story: Story, config: IdentityConfig, embedder: str) -> list[IdentityDecision]:
    """Return the records of a site's identities."""
    first = next(event for batch in story.batches for event in batch.events if event.embedding)
    book = IdentityBook(config, embedder, len(first.embedding) // 4)
    order = EventOrder(sorted({batch.camera for batch in story.batches}))
    records: list[IdentityDecision] = []
    for offset, batch in enumerate(story.batches):
        for placed in order.push(batch, offset):
            records += book.hear(placed.camera, placed.event)
        records += book.advance(order.watermark_ns)
    return records


def majority(results: Iterable[FrameResult], truth: Path) -> list[IdentityDecision]:
    """Return records that give each track the person whom most of its boxes show."""
    rows = {folder.name: read_rows(folder / "gt" / "gt.txt") for folder in truth.iterdir()}
    shown: dict[tuple[str, str], Counter[int]] = {}
    for result in results:
        people = rows[result.camera][rows[result.camera].frames_R == result.sequence + 1]
        for one in result.observations:
            if one.track and len(people.ids_R):
                iou_R = buffered_iou(np.array([one.box]), people.boxes_R4)[0]
                if iou_R.max() >= SAME_IOU:
                    shown.setdefault((one.track, result.camera), Counter())[
                        int(people.ids_R[iou_R.argmax()])
                    ] += 1
    return [
        IdentityDecision(
            track=track, camera=camera, kind=DecisionKind.NEW, identity=f"person-{people.most_common(1)[0][0]}",
            at_ns=BASE_NS, start_ns=BASE_NS, label="person",
        )
        for (track, camera), people in shown.items()
    ]  # fmt: skip


def mirrored(truth: MotRows) -> MotRows:
    """Exchange left and right of the source."""
    boxes_R4 = truth.boxes_R4.copy()
    boxes_R4[:, [0, 2]] = WIDTH - truth.boxes_R4[:, [2, 0]]
    return dataclasses.replace(truth, boxes_R4=boxes_R4)


def _images(mirror: bool) -> Iterator[NDArray[np.uint8]]:
    video = cv2.VideoCapture(str(SAMPLE_VIDEO))
    while (read := video.read())[0]:
        image = np.asarray(read[1], np.uint8)
        yield np.ascontiguousarray(image[:, ::-1]) if mirror else image
    video.release()


def _encoded(
    camera: VirtualCamera, number: int, sequence: int, image: NDArray[np.uint8]
) -> tuple[FrameHeader, FrameRef, EncodedFrame]:
    jpeg = simplejpeg.encode_jpeg(render(camera, image), camera.jpeg_quality, "BGR", "420")
    at_ns = BASE_NS + round((sequence / FPS + camera.clock_offset_s) * 1e9)
    header = FrameHeader(
        camera=camera.camera, sequence=sequence, captured_ns=at_ns, produced_ns=at_ns, epoch=BASE_NS,
        width=camera.width, height=camera.height,
    )  # fmt: skip
    ref = FrameRef(topic="frames", partition=number, offset=sequence)
    return (
        header,
        ref,
        EncodedFrame((ref.topic, number, sequence), jpeg, camera.width, camera.height, camera.camera),
    )


def _batch(camera: Camera, ref: FrameRef, events: tuple[TrackletEvent, ...], *, ended: bool) -> TrackletBatch:
    return TrackletBatch(
        camera=camera.camera, watermark_ns=camera.watermark_ns, frame=ref, events=events, ended=ended
    )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vary", action="store_true", help="move each setting by a fifth instead")
    if parser.parse_args().vary:
        vary_settings()
    else:
        write_header()
        bench_sites()


if __name__ == "__main__":
    main()
