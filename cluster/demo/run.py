"""Streams a video as four virtual cameras through gateway, log and Ray at once, and reports on it."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import av

from cluster.config import CameraConfig, SiteConfig
from cluster.demo import lesson
from cluster.demo.learning import lesson_cameras, lesson_site, run_lesson
from cluster.demo.pictures import draw_pictures
from cluster.demo.report import build_report, collect, write_results
from cluster.errors import BadConfig, ClusterError, LogUnavailable, SourceUnavailable
from cluster.evaluate import score_run
from cluster.gateway.cameras import ReaderLag
from cluster.gateway.virtual import VirtualSite, run_virtual_gateway
from cluster.learning_config import LearningConfig
from cluster.log.partitioner import partition_for_key
from cluster.log.protocol import TopicPartition
from cluster.progress import DemoProgress, Standing
from cluster.sample_video import SAMPLE_SEQUENCE, SAMPLE_VIDEO
from cluster.site import Site
from models.files import write_atomically
from pipeline.evaluation.mot import read_sequences
from pipeline.virtual_cameras import VirtualCamera, four_quadrants, write_truth

_logger = logging.getLogger(__name__)
SITE_NAME = "square"
MAX_WAITING_FRAMES = 64
"""How far the gateway stays ahead of the shards: enough to keep them busy, little enough to be live."""
MAX_WORKER_DEATHS = 3
WATCH_EVERY_S = 0.5
"""Asking Kafka how far it is costs milliseconds of the cores that do the work."""
LOOP_RETENTION_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Says what to stream and where to leave the results."""

    video: Path
    out: Path = Path("runs/demo")
    num_frames: int | None = None
    """Frames of the video to stream; all of them when absent."""
    minutes: float | None = None
    """Streams the video in a loop for so long, to watch a site under steady load; draws no film."""
    log: str = ""
    """The log; empty for a fresh SQLite file in `out`."""
    placement: Literal["fused", "split"] = "fused"
    num_shards: int = 1
    truth: Path | None = None
    """Folder or zip of MOTChallenge sequences that holds the truth of this video, to score against."""
    pictures: bool = True
    """Whether to draw mosaic.mp4 and journeys.png."""
    learning: bool = True
    """Whether to play the second chapter, for which the sample video is needed: teaching a class and a camera."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """Says what the source video is."""

    path: Path
    width: int
    height: int
    fps: float
    num_frames: int


def run_demo(options: DemoOptions, progress: DemoProgress) -> dict[str, Any]:
    """Run the demonstration and return its report; the same stands in `report.json`.

    Raises:
        SourceUnavailable: the video cannot be read.
        LogUnavailable: the log does not answer.
    """
    video = _look_at(options)
    cameras = four_quadrants(video.width, video.height)
    options.out.mkdir(parents=True, exist_ok=True)
    config = _site_config(options, cameras)
    progress.stage(
        f"starting the site: {len(cameras)} cameras, {config.placement} placement, log {config.log}"
    )
    with Site(config, give_up_after=MAX_WORKER_DEATHS) as site:
        site.wait_until_ready()
        progress.stage("streaming: gateway, log, shards and gallery at once")
        _stream(site, options, video, cameras, progress)
        stage_seconds = site.stage_seconds()
        results = collect(site.log, site.topics)
    write_results(options.out, results)
    progress.stage("measuring the bare detector on the same frames")
    report = build_report(config, cameras, results, stage_seconds)
    if options.truth is not None and options.minutes is None:
        progress.stage("scoring against the truth")
        report.update(_score(options, video, cameras))
    if _has_lesson(options, video):
        report["learning"] = _learn(options, config, video, progress)
    write_atomically(options.out / "report.json", json.dumps(report, indent=2).encode())
    if options.pictures and options.minutes is None:
        progress.stage("drawing journeys.png and mosaic.mp4")
        draw_pictures(options.out, video.path, video.fps, cameras, results, progress)
    return report


def _has_lesson(options: DemoOptions, video: Video) -> bool:
    is_sample = video.path.name == SAMPLE_VIDEO.name and video.num_frames > lesson.LAST_FRAME
    return options.learning and options.minutes is None and is_sample


def _learn(
    options: DemoOptions, config: SiteConfig, video: Video, progress: DemoProgress
) -> Mapping[str, Any]:
    cameras = lesson_cameras(video.width, video.height)
    return run_lesson(
        lesson_site(config, cameras),
        cameras,
        lambda site, some: _stream(site, options, video, some, progress),
        progress.stage,
        options.out,
    )


def _look_at(options: DemoOptions) -> Video:
    if options.num_frames is not None and options.num_frames < 1:
        raise BadConfig(f"--frames is {options.num_frames}, expected at least 1")
    try:
        with av.open(str(options.video)) as container:
            stream = container.streams.video[0]
            total = stream.frames or 0
            fps = float(stream.average_rate or 10)
            width, height = stream.codec_context.width, stream.codec_context.height
    except (OSError, av.FFmpegError, IndexError) as error:
        raise SourceUnavailable(
            f"cannot read video {options.video}: {error}; run `make setup` to fetch the sample, or give --video FILE"
        ) from error
    wanted = options.num_frames or total or 1_000_000
    return Video(
        path=options.video,
        width=width,
        height=height,
        fps=fps,
        num_frames=min(wanted, total) if total else wanted,
    )


def _site_config(options: DemoOptions, cameras: tuple[VirtualCamera, ...]) -> SiteConfig:
    log = options.log
    if not log:
        path = options.out / "log.db"
        for name in ("log.db", "log.db-wal", "log.db-shm"):
            (options.out / name).unlink(missing_ok=True)
        log = f"sqlite:///{path.absolute()}"
    return SiteConfig(
        site=SITE_NAME,
        log=log,
        topic_prefix="" if not options.log else f"demo-{time.time_ns():x}-",
        cameras=tuple(
            CameraConfig(id=camera.camera, clock_offset_s=camera.clock_offset_s) for camera in cameras
        ),
        placement=options.placement,
        num_shards=options.num_shards,
        learning=LearningConfig(store=str(options.out.absolute() / "models")),
        metrics_port=0,
        # A loop would fill the disk; a single pass keeps all, so that the log can be looked at afterwards.
        frames_retention_bytes=-1 if options.minutes is None else LOOP_RETENTION_BYTES,
    )


def _stream(
    site: Site, options: DemoOptions, video: Video, cameras: tuple[VirtualCamera, ...], progress: DemoProgress
) -> None:
    """Run the gateway in a process of its own, and tend the site until all is processed."""
    looping = options.minutes is not None
    until_s = time.monotonic() + 60 * (options.minutes or 0)
    virtual = VirtualSite(
        video=video.path, cameras=cameras, topic=site.topics.frames, loop=looping,
        num_frames=None if looping else video.num_frames,
        reader_lag=ReaderLag(group=site.topics.shard_group, max_records=MAX_WAITING_FRAMES),
    )  # fmt: skip
    spawned = multiprocessing.get_context("spawn")
    stop = spawned.Event()
    process = spawned.Process(target=run_virtual_gateway, args=(virtual, site.config.log, stop), daemon=True)
    process.start()
    try:
        while process.is_alive() or not _drained(site):
            site.tend()
            _show(progress, site, cameras)
            process.join(WATCH_EVERY_S)
            _check(process)
            if looping and time.monotonic() > until_s:
                stop.set()
    finally:
        stop.set()
        process.join(10)
        process.kill()
    _show(progress, site, cameras)


def _drained(site: Site) -> bool:
    try:
        return site.drained()
    except LogUnavailable as error:
        _logger.warning("log unavailable, trying again", extra={"part": "demo", "error": str(error)})
        return False


def _show(progress: DemoProgress, site: Site, cameras: tuple[VirtualCamera, ...]) -> None:
    with contextlib.suppress(LogUnavailable):  # shown again once it answers
        progress.update(_standing(site, cameras))


def _check(process: BaseProcess) -> None:
    if process.exitcode not in (None, 0):
        raise ClusterError(f"the gateway process ended with code {process.exitcode}; its log stands above")


def _standing(site: Site, cameras: tuple[VirtualCamera, ...]) -> Standing:
    frames = site.topics.frames
    end = site.log.end_offsets(frames)
    committed = site.log.committed(site.topics.shard_group, frames)
    place = {
        camera.camera: TopicPartition(frames, partition_for_key(camera.camera.encode(), len(end)))
        for camera in cameras
    }
    return Standing(
        produced={name: end[partition] for name, partition in place.items()},
        processed={name: committed.get(partition, 0) for name, partition in place.items()},
        num_identities=site.num_identities(),
    )


def _score(options: DemoOptions, video: Video, cameras: tuple[VirtualCamera, ...]) -> Mapping[str, Any]:
    assert options.truth is not None
    sequences = {sequence.name: sequence for sequence in read_sequences(options.truth)}
    if SAMPLE_SEQUENCE not in sequences:
        raise BadConfig(f"{options.truth} holds {sorted(sequences)}, expected the truth of {SAMPLE_SEQUENCE}")
    truth = options.out / "truth"
    sequence = sequences[SAMPLE_SEQUENCE]
    write_truth(truth, cameras, sequence.truth, num_frames=video.num_frames, frame_rate=video.fps)
    return score_run(options.out, truth)
