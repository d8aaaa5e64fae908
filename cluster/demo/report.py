"""Collects a run's results from the log, measures the bare detector on its frames, and writes the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cluster.config import SiteConfig
from cluster.log.protocol import Log, Record
from cluster.topics import Topics
from models.detectors import build_detector
from models.files import write_atomically
from pipeline.errors import BadFrame
from pipeline.frames import FrameHeader, decode
from pipeline.identity import identities_of_tracks
from pipeline.journeys import sightings, summarise_journeys
from pipeline.records import DeadLetter, FrameResult, Gap, GapCause, IdentityDecision
from pipeline.records import decode as decode_record
from pipeline.virtual_cameras import VirtualCamera

NUM_BARE_FRAMES = 96
"""Frames on which the bare detector is timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Holds what a run left in the log."""

    num_produced: int
    """Records that entered the frame topic, without the end-of-stream records; some may be past retention."""
    jpegs: tuple[bytes, ...]
    """A sample of the frames, evenly spread."""
    tracks: tuple[FrameResult, ...]
    decisions: tuple[IdentityDecision, ...]
    dead_letters: tuple[DeadLetter, ...]
    num_refused: int
    """Frames among the dead letters."""
    gaps: tuple[Gap, ...]
    """Frames that nobody looked at, and why."""
    raw: Mapping[str, tuple[bytes, ...]]
    """The result records as written, by topic name without prefix."""
    seconds: float
    """From the first frame's entering the log to the last result's."""


def collect(log: Log, topics: Topics) -> Results:
    """Read everything that a run left in the log."""
    total = sum(log.end_offsets(topics.frames).values())
    every = max(1, total // NUM_BARE_FRAMES)
    jpegs: list[bytes] = []
    num_ends = 0
    first_ms = None
    for index, record in enumerate(log.read(topics.frames)):
        first_ms = record.timestamp_ms if first_ms is None else min(first_ms, record.timestamp_ms)
        if _is_end(record):
            num_ends += 1
        elif index % every == 0:
            jpegs.append(record.value)
    tracks = list(log.read(topics.tracks))
    raw = {
        "tracks": tuple(record.value for record in tracks),
        "tracklets": tuple(record.value for record in log.read(topics.tracklets)),
        "identities": tuple(record.value for record in log.read(topics.identities)),
        "dead-letters": tuple(record.value for record in log.read(topics.dead_letters)),
        "gaps": tuple(record.value for record in log.read(topics.gaps)),
    }
    written_ms = [record.timestamp_ms for record in tracks]
    times_ms = [
        *written_ms,
        *([] if first_ms is None else [first_ms]),
    ]  # the first frames may be past retention
    letters = tuple(decode_record(value, DeadLetter) for value in raw["dead-letters"])
    return Results(
        num_produced=total - num_ends,
        jpegs=tuple(jpegs),
        tracks=tuple(decode_record(value, FrameResult) for value in raw["tracks"]),
        decisions=tuple(decode_record(value, IdentityDecision) for value in raw["identities"]),
        dead_letters=letters,
        num_refused=sum(letter.source.topic == topics.frames for letter in letters),
        gaps=tuple(decode_record(value, Gap) for value in raw["gaps"]),
        raw=raw,
        seconds=max((max(times_ms, default=0) - min(times_ms, default=0)) / 1e3, 1e-3),
    )


def write_results(out: Path, results: Results) -> None:
    """Write each result topic as JSON lines."""
    for name, values in results.raw.items():
        write_atomically(out / f"{name}.jsonl", b"".join(value + b"\n" for value in values))


def build_report(
    config: SiteConfig, cameras: Sequence[VirtualCamera], results: Results, stage_seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Count, measure and summarise a run."""
    processed = {(result.camera, result.sequence) for result in results.tracks}
    refused, skipped = results.num_refused, count_skipped(results.gaps, results.tracks)
    tracks = {o.track for result in results.tracks for o in result.observations if o.confirmed}
    journeys = summarise_journeys(
        sightings(
            results.tracks, results.decisions, clock_offsets_s={c.camera: c.clock_offset_s for c in cameras}
        )
    )
    identity_of = identities_of_tracks(results.decisions)
    latencies_s = np.array([result.latency_s for result in results.tracks] or [0.0])
    model_version = results.tracks[0].model_version if results.tracks else ""
    fps = len(processed) / results.seconds
    bare_fps = bare_detector_fps(config, results.jpegs)
    return {
        "cameras": len(cameras),
        "frames_produced": results.num_produced,
        "frames_processed": len(processed),
        "frames_skipped": skipped,
        "frames_lost": results.num_produced - len(processed) - refused - skipped,
        "dead_letters": len(results.dead_letters),
        "detections": sum(len(result.observations) for result in results.tracks),
        "tracks": len(tracks),
        "identities": len(set(identity_of.values())),
        "cross_camera_identities": journeys.num_cross_camera,
        "decisions": dict(Counter(decision.kind.value for decision in results.decisions)),
        "seconds": round(results.seconds, 3),
        "fps": round(fps, 2),
        "bare_detector_fps": round(bare_fps, 2),
        "pipeline_efficiency": round(fps / bare_fps, 4) if bare_fps else None,
        "latency_s": {
            "p50": round(float(np.quantile(latencies_s, 0.5)), 4),
            "p99": round(float(np.quantile(latencies_s, 0.99)), 4),
        },
        "stage_seconds": {name: round(seconds, 3) for name, seconds in stage_seconds.items()},
        "model_version": model_version,
        "detector": model_version.partition("+")[0],
        "embedder": embedder_version(results),
        "placement": config.placement,
        "log": config.log.partition(":")[0],
        "log_url": config.log,
        "topic_prefix": config.topic_prefix,
        "clock_offsets_s": {camera.camera: camera.clock_offset_s for camera in cameras},
        "frames_per_camera": dict(Counter(camera for camera, _ in sorted(processed))),
    }


def count_skipped(gaps: Iterable[Gap], tracks: Iterable[FrameResult]) -> int:
    """Count the frames that a camera's overload policy left out; those that another try looked at are not."""
    skipped = {
        (gap.partition, offset)
        for gap in gaps
        if gap.cause is not GapCause.RETENTION
        for run in gap.runs
        for offset in range(run.first, run.end)
    }
    return len(skipped - {(result.frame.partition, result.frame.offset) for result in tracks})


def embedder_version(results: Results) -> str:
    """Return the version of what embedded the people seen, or nothing where nobody was."""
    return next((decision.embedder for decision in results.decisions if decision.embedder), "")


def bare_detector_fps(config: SiteConfig, jpegs: Sequence[bytes]) -> float:
    """Time the detector alone on decoded frames, in batches as a shard makes them; frames a second."""
    if not jpegs:
        return 0.0
    detector = build_detector(config.detector)
    images = [decode(jpeg, *detector.input_size) for jpeg in jpegs]
    size = config.batch_frames
    detector.detect(images[:size])  # the first call allocates and warms up
    start_s = time.perf_counter()
    for begin in range(0, len(images), size):
        detector.detect(images[begin : begin + size])
    return len(images) / (time.perf_counter() - start_s)


def _is_end(record: Record) -> bool:
    try:
        return FrameHeader.from_headers(record.headers).ended
    except BadFrame:
        return False
