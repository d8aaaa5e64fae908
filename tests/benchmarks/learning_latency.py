"""Measures what learning costs those who are served: the stream's latency with the learner at work and without.

One site, two cameras at their own pace; phases of rest, of incessant teaching and of outer loops alone take turns, so
that all see the same machine. In a teaching phase there is always a task waiting or an outer loop running, and about
every second a version is swapped in. In a phase of outer loops alone a process that gives way like the learner folds the same
tasks without end, and nothing is announced or swapped in: what is left is what computing costs.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from functools import partial
from itertools import count, islice
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

from cluster.metrics_directory import make_metrics_directory

make_metrics_directory()

import cv2  # noqa: E402  # prometheus_client reads the environment at import
import numpy as np  # noqa: E402
import torch  # noqa: E402

from cluster.config import CameraConfig, SiteConfig  # noqa: E402
from cluster.gateway.virtual import VirtualSite, run_virtual_gateway  # noqa: E402
from cluster.learner_actor import Leisure  # noqa: E402
from cluster.learner_building import build_learning  # noqa: E402
from cluster.learning_config import LearningConfig  # noqa: E402
from cluster.sample_video import SAMPLE_VIDEO  # noqa: E402
from cluster.site import Site  # noqa: E402
from cluster.teacher import Teacher  # noqa: E402
from models.detector import ImageHW3  # noqa: E402
from pipeline.learning.learning import Proposal  # noqa: E402
from pipeline.records import FrameResult, TaskKind, TaskRecord, decode  # noqa: E402
from pipeline.teaching import Picture, make_task  # noqa: E402
from pipeline.teaching.pictures import shrink_array  # noqa: E402
from pipeline.virtual_cameras import VirtualCamera, four_quadrants  # noqa: E402
from tests.benchmarks.bench_lines import write_line  # noqa: E402

PHASE_S = 25.0
NUM_ROUNDS = 3
WARM_UP_S = 10.0
SETTLE_S = 2.0
"""At the start of a phase, which counts to neither."""
NUM_NAMES = 8
NUM_CAMERAS = 2
"""Of ten frames a second each: a load that two cores bear with room to spare, since a queue has no latency of its own."""
QUANTILE = 0.99


class Phase(Enum):
    """Names what happens beside the stream."""

    REST = "at rest"
    LEARNING = "while learning"
    OUTER_LOOPS = "beside outer loops alone"


NUM_PHASES = NUM_ROUNDS * len(Phase)


def bench_learning_latency() -> None:
    """Print p99 of each kind of phase, and how they compare with rest."""
    with tempfile.TemporaryDirectory() as folder:
        latencies_s, num_versions = measure(Path(folder))
    for phase, found_s in latencies_s.items():
        sys.stdout.write(f"{len(found_s)} frames {phase.value}, p50 {statistics.median(found_s):.3f} s\n")
    sys.stdout.write(f"{num_versions} versions announced\n")
    p99_s = {phase: float(np.quantile(found_s, QUANTILE)) for phase, found_s in latencies_s.items()}
    quiet = p99_s[Phase.REST]
    for phase, name in ((Phase.LEARNING, "learning"), (Phase.OUTER_LOOPS, "outer loops alone")):
        busy = p99_s[phase]
        write_line(f"stream p99, {name} against rest", busy, quiet, quiet / busy, 1 / 1.25, "s")


def measure(folder: Path) -> tuple[dict[Phase, list[float]], int]:
    """Return the latencies of frames by kind of phase, in seconds, and how many versions were announced."""
    cameras = four_quadrants(768, 576)[:NUM_CAMERAS]
    learning = LearningConfig(store=str(folder / "models"), fold_every_tasks=1, fold_every_s=1.0)
    config = SiteConfig(
        log=f"sqlite:///{folder}/log.db", cameras=tuple(CameraConfig(id=one.camera) for one in cameras),
        learning=learning, metrics_port=-1,
    )  # fmt: skip
    with Site(config) as site, _outer_loops(config) as begin_folding:
        site.wait_until_ready()
        begin_s = time.time() + WARM_UP_S
        gateway, stop = _stream(config, site, cameras)
        begin_folding(begin_s)
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
    latencies_s: dict[Phase, list[float]] = {phase: [] for phase in Phase}
    for result in results:
        at_s = result.captured_ns / 1e9 - begin_s
        if 0 <= at_s < NUM_PHASES * PHASE_S and at_s % PHASE_S >= SETTLE_S:
            latencies_s[_phase(at_s)].append(result.latency_s)
    return latencies_s, num_versions


def _phase(at_s: float) -> Phase:
    return list(Phase)[int(at_s // PHASE_S) % len(Phase)]


@contextmanager
def _outer_loops(config: SiteConfig) -> Iterator[Callable[[float], None]]:
    """Make a process ready to fold; give out what tells it when the first phase begins."""
    spawned = multiprocessing.get_context("spawn")
    begin, ready = spawned.Queue(), spawned.Event()
    process = spawned.Process(target=_fold, args=(config, begin, ready), daemon=True)
    process.start()
    ready.wait()
    try:
        yield begin.put
    finally:
        process.terminate()
        process.join()


def _fold(config: SiteConfig, begin: Queue[float], ready: Event) -> None:
    """Run outer loops over the tasks of the teaching phases in every phase for it."""
    torch.set_num_threads(1)
    leisure = Leisure(config.learning.nice)
    learning = build_learning(config)
    for task in islice(_tasks(), NUM_NAMES):
        learning.serve("learned@000000000000", learning.teach(task, 1).version)
    ready.set()
    begin_s = begin.get()
    while (at_s := time.time() - begin_s) < NUM_PHASES * PHASE_S:
        if at_s < 0 or _phase(at_s) is not Phase.OUTER_LOOPS:
            time.sleep(0.05)
            continue
        one_slice = partial(_take_one, learning.fold(1))
        while _phase(time.time() - begin_s) is Phase.OUTER_LOOPS and leisure(one_slice):
            pass


def _take_one(fold: Iterator[Proposal | None]) -> list[Proposal | None]:
    return [*islice(fold, 1)]


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
    """Keep a task waiting in every phase for it."""
    tasks = _tasks()
    with Teacher(config) as teacher:
        while (at_s := time.time() - begin_s) < NUM_PHASES * PHASE_S:
            left_s = PHASE_S - at_s % PHASE_S
            if at_s < 0 or _phase(at_s) is not Phase.LEARNING:
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
