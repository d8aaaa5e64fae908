"""Measures what learning costs those who are served: the stream's latency with the learner at work and without.

One site, two cameras at their own pace; phases of rest and of incessant teaching take turns, so that both see the
same machine. In a teaching phase there is always a task waiting or an outer loop running.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from cluster.metrics_directory import make_metrics_directory

make_metrics_directory()

import cv2  # noqa: E402  # prometheus_client reads the environment at import
import numpy as np  # noqa: E402

from cluster.config import CameraConfig, SiteConfig  # noqa: E402
from cluster.demo.run import run_virtual_gateway  # noqa: E402
from cluster.gateway.virtual import VirtualSite  # noqa: E402
from cluster.learning_config import LearningConfig  # noqa: E402
from cluster.sample_video import SAMPLE_VIDEO  # noqa: E402
from cluster.site import Site  # noqa: E402
from cluster.teacher import Teacher  # noqa: E402
from models.detector import ImageHW3  # noqa: E402
from pipeline.records import FrameResult, TaskKind, TaskRecord, decode  # noqa: E402
from pipeline.teaching import Picture, make_task  # noqa: E402
from pipeline.teaching.pictures import shrink_array  # noqa: E402
from pipeline.virtual_cameras import VirtualCamera, four_quadrants  # noqa: E402
from tests.benchmarks.bench_lines import write_line  # noqa: E402

PHASE_S = 25.0
NUM_PHASES = 6
WARM_UP_S = 10.0
SETTLE_S = 2.0
"""At the start of a phase, which counts to neither."""
NUM_NAMES = 8
NUM_CAMERAS = 2
"""Of ten frames a second each: a load that two cores bear with room to spare, since a queue has no latency of its own."""
QUANTILE = 0.99


def bench_learning_latency() -> None:
    """Print p99 of both, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        resting_s, learning_s, num_versions = measure(Path(folder))
    quiet, busy = (float(np.quantile(latencies, QUANTILE)) for latencies in (resting_s, learning_s))
    sys.stdout.write(
        f"{len(resting_s)} frames at rest, p50 {statistics.median(resting_s):.3f} s; {len(learning_s)} while learning, "
        f"p50 {statistics.median(learning_s):.3f} s; {num_versions} versions announced\n"
    )
    write_line("stream p99, learning against rest", busy, quiet, quiet / busy, 1 / 1.25, "s")


def measure(folder: Path) -> tuple[list[float], list[float], int]:
    """Return the latencies of frames in phases of rest and of learning, in seconds, and how much was learned."""
    cameras = four_quadrants(768, 576)[:NUM_CAMERAS]
    learning = LearningConfig(store=str(folder / "models"), fold_every_tasks=1, fold_every_s=1.0)
    config = SiteConfig(
        log=f"sqlite:///{folder}/log.db", cameras=tuple(CameraConfig(id=one.camera) for one in cameras),
        learning=learning, metrics_port=-1,
    )  # fmt: skip
    with Site(config) as site:
        site.wait_until_ready()
        begin_s = time.time() + WARM_UP_S
        gateway, stop = _stream(config, site, cameras)
        teaching = threading.Thread(target=_teach, args=(config, begin_s), daemon=True)
        teaching.start()
        while time.time() < begin_s + NUM_PHASES * PHASE_S:
            site.tend()
            time.sleep(0.5)
        stop.set()
        gateway.join(20)
        teaching.join(20)
        results = [decode(record.value, FrameResult) for record in site.log.read(site.topics.tracks)]
        num_versions = sum(site.log.end_offsets(site.topics.models).values())
    phases: tuple[list[float], list[float]] = ([], [])
    for result in results:
        at_s = result.captured_ns / 1e9 - begin_s
        if 0 <= at_s < NUM_PHASES * PHASE_S and at_s % PHASE_S >= SETTLE_S:
            phases[_is_learning(at_s)].append(result.latency_s)
    return *phases, num_versions


def _is_learning(at_s: float) -> bool:
    return int(at_s // PHASE_S) % 2 == 1


def _stream(config: SiteConfig, site: Site, cameras: tuple[VirtualCamera, ...]):  # type: ignore[no-untyped-def]
    plain = tuple(replace(camera, clock_offset_s=0.0) for camera in cameras)
    virtual = VirtualSite(
        video=SAMPLE_VIDEO, cameras=plain, topic=site.topics.frames, loop=True, pace="source"
    )
    spawned = multiprocessing.get_context("spawn")
    stop = spawned.Event()
    process = spawned.Process(target=run_virtual_gateway, args=(virtual, config.log, stop), daemon=True)
    process.start()
    return process, stop


def _teach(config: SiteConfig, begin_s: float) -> None:
    """Keep a task waiting in every second phase."""
    tasks = _tasks()
    with Teacher(config) as teacher:
        while (at_s := time.time() - begin_s) < NUM_PHASES * PHASE_S:
            left_s = PHASE_S - at_s % PHASE_S
            if at_s < 0 or not _is_learning(at_s):
                time.sleep(0.05)
            elif left_s > SETTLE_S:  # so that nothing is left over for the rest that follows
                teacher.teach([next(tasks)], replace=True, wait_s=left_s)


def _tasks() -> Iterator[TaskRecord]:
    """Yield tasks without end: the crops around one place of the square, against those of others."""
    video = cv2.VideoCapture(str(SAMPLE_VIDEO))
    image: ImageHW3 = np.asarray(video.read()[1], np.uint8)
    video.release()
    rng = np.random.default_rng(0)
    for number in count():
        name = f"place {number % NUM_NAMES}"
        pictures = [
            Picture(place=f"{side}-{index}", jpeg=shrink_array(_crop(image, side, rng)), label=name if side == 0 else "")
            for side in (0, 1)
            for index in range(15)
        ]  # fmt: skip
        yield make_task(TaskKind.CLASS, name, pictures, taught_ns=time.time_ns())


def _crop(image: ImageHW3, side: int, rng: np.random.Generator) -> ImageHW3:
    left = int(rng.integers(0, 300)) + 400 * side
    top = int(rng.integers(0, 400))
    return image[top : top + 128, left : left + 64]
