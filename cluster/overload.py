"""Keeps what a shard polls in step with what it can look at: each camera's policy, and a word on every gap."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from cluster.config import SiteConfig
from cluster.errors import LogUnavailable
from cluster.log.partitioner import partition_for_key
from cluster.log.protocol import Consumer, Log, Record, TopicPartition
from cluster.metrics import Metrics
from cluster.retention import LostStretch, RetentionWatch
from cluster.topics import NUM_FRAME_PARTITIONS, Topics
from cluster.writer import Output
from pipeline.errors import BadInput
from pipeline.frames import FrameHeader
from pipeline.overload import Arrival, Load, choose
from pipeline.records import Gap, GapCause, OffsetRun, encode

ASK_EVERY_S: Final = 0.5
"""How often the log is asked for its end, where a camera's policy needs that: an answer of Kafka's costs 7 ms."""
HURRY_RECORDS: Final = 64
"""What is read besides a batch of cameras that skip ahead: far more than they send meanwhile."""
_logger = logging.getLogger(__name__)


class Admitted(NamedTuple):
    """Is a record that passed the guard; `ended` ones carry no image."""

    record: Record
    header: FrameHeader


class Decided(NamedTuple):
    """Says what becomes of what was polled."""

    looked_at: list[Admitted]
    """In order; ends of streams are among them."""
    told: list[Output]
    """Records of topic `gaps`."""
    resume: Mapping[TopicPartition, int]
    """Offsets to commit of partitions of which something was lost, and perhaps nothing came."""


class Overload:
    """Stands between a shard and its consumer; one thread calls it."""

    def __init__(
        self, site: SiteConfig, topics: Topics, log: Log, metrics: Metrics, *,
        clock_s: Callable[[], float] = time.monotonic, clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:  # fmt: skip
        self._topics = topics
        self._log = log
        self._metrics = metrics
        self._clock_s = clock_s
        self._clock_ns = clock_ns
        self._policies = {camera.id: camera.overload for camera in site.cameras}
        self._cameras_of: dict[int, list[str]] = {}
        for camera in self._policies:
            number = partition_for_key(camera.encode(), NUM_FRAME_PARTITIONS)
            self._cameras_of.setdefault(number, []).append(camera)
        self._loads: dict[str, Load] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._ask_s = clock_s()
        self._retention = RetentionWatch(log, topics.shard_group, topics.frames, clock_s)
        self._lost: list[LostStretch] = []
        self._left: set[TopicPartition] = set()

    @property
    def has_news(self) -> bool:
        """Whether `decide` has something to tell, even of no frames."""
        return bool(self._lost)

    def poll(self, consumer: Consumer, max_records: int, timeout_s: float) -> list[Record]:
        """Poll a batch, and with it more of the cameras that skip ahead, from their partitions alone.

        Raises:
            LogUnavailable: the log is away, and nothing was read; call again.
        """
        self._lost += self._retention.check(consumer.assignment())
        records = consumer.poll(max_records, timeout_s)
        hurried = self._hurried(records)
        if hurried:
            self._left.clear()
            more: list[Record] = []
            # What has been read must go on, whatever happens to the rest, which is only read later then.
            with contextlib.suppress(LogUnavailable, BadInput), _others_paused(consumer, hurried):
                more = consumer.poll(HURRY_RECORDS, 0.0)
            records = [record for record in records if record.topic_partition not in self._left] + more
        self._retention.saw(records)
        return records

    def decide(self, frames: Sequence[Admitted]) -> Decided:
        """Choose the frames that are looked at, and tell of all others; counts and logs what was lost."""
        self._learn_ends(frames)
        by_camera: dict[str, list[Admitted]] = {}
        for frame in frames:
            if not frame.header.ended and self._policies[frame.header.camera].policy != "all":
                by_camera.setdefault(frame.header.camera, []).append(frame)
        skipped: set[tuple[int, int]] = set()
        told: list[Output] = []
        for camera, mine in by_camera.items():
            offsets = self._skip(camera, mine)
            if offsets:
                partition = mine[0].record.partition
                skipped.update((partition, offset) for offset in offsets)
                told.append(self._tell(self._policies[camera].policy, partition, _runs(offsets), camera))
        lost, self._lost = self._lost, []
        told += [self._report(stretch) for stretch in lost]
        looked_at = [
            frame for frame in frames if (frame.record.partition, frame.record.offset) not in skipped
        ]
        return Decided(looked_at, told, {stretch.partition: stretch.resume for stretch in lost})

    def forget(self, cameras: Iterable[str], partitions: frozenset[TopicPartition]) -> None:
        """Forget cameras and partitions that moved to another shard."""
        self._left |= partitions
        self._retention.forget(partitions)
        self._lost = [stretch for stretch in self._lost if stretch.partition not in partitions]
        for camera in cameras:
            self._loads.pop(camera, None)

    def _hurried(self, records: Sequence[Record]) -> frozenset[TopicPartition]:
        """Return the partitions of a batch of whose frames the newest alone are looked at."""
        thinned = {camera for camera, load in self._loads.items() if load.thinning}
        if not thinned:
            return frozenset()
        return frozenset(
            partition
            for partition in {record.topic_partition for record in records}
            if (cameras := self._cameras_of.get(partition.partition))
            and not thinned.isdisjoint(cameras)
            and all(self._policies[camera].policy == "latest" for camera in cameras)
        )

    def _learn_ends(self, frames: Sequence[Admitted]) -> None:
        latest = any(self._policies[header.camera].policy == "latest" for _, header in frames)
        if latest and self._clock_s() >= self._ask_s:
            with contextlib.suppress(LogUnavailable):  # asked again; what was last heard serves meanwhile
                self._ends = self._log.end_offsets(self._topics.frames)
            self._ask_s = self._clock_s() + ASK_EVERY_S
        for record, _ in frames:
            partition = record.topic_partition
            self._ends[partition] = max(self._ends.get(partition, 0), record.offset + 1)

    def _skip(self, camera: str, frames: Sequence[Admitted]) -> list[int]:
        """Return the offsets of a camera's frames that are not looked at."""
        arrivals = [
            Arrival(
                header.epoch, header.sequence, header.captured_ns, record.offset,
                self._ends[record.topic_partition] - record.offset - 1,
            )
            for record, header in frames
        ]  # fmt: skip
        policy, before = self._policies[camera], self._loads.get(camera, Load())
        looks, load = choose(policy, before, arrivals)
        self._loads[camera] = load
        if load.thinning != before.thinning:
            words = "camera falls behind, skipping frames" if load.thinning else "camera keeps up again"
            _logger.warning(words, extra={"camera": camera, "max_lag_s": policy.max_lag_s})
        offsets = [arrival.offset for arrival, look in zip(arrivals, looks, strict=True) if not look]
        self._metrics.frames_skipped.labels(camera, policy.policy).inc(len(offsets))
        return offsets

    def _report(self, stretch: LostStretch) -> Output:
        cause, number = GapCause.RETENTION, stretch.partition.partition
        cameras = self._cameras_of.get(number, [])
        self._metrics.frames_lost.labels(str(number), cause.value).inc(stretch.num_records)
        _logger.error(
            "frames lost: the log removed them before they were read; raise frames_retention_bytes (on Kafka the "
            "topic's retention.bytes and retention.ms), add shards, or give cameras the overload policy latest or stride",
            extra={
                "num_frames": stretch.num_records, "first_offset": stretch.first, "end_offset": stretch.end,
                "topic": stretch.partition.topic, "partition": number, "cameras": cameras,
            },
        )  # fmt: skip
        camera = cameras[0] if len(cameras) == 1 else None
        return self._tell(cause, number, (OffsetRun(stretch.first, stretch.end),), camera)

    def _tell(self, cause: str, partition: int, runs: tuple[OffsetRun, ...], camera: str | None) -> Output:
        gap = Gap(
            cause=GapCause(cause), topic=self._topics.frames, partition=partition, runs=runs, camera=camera,
            noticed_unix_ns=self._clock_ns(),
        )  # fmt: skip
        return Output(self._topics.gaps, encode(gap), None if camera is None else camera.encode())


def _runs(offsets: Sequence[int]) -> tuple[OffsetRun, ...]:
    """Write ascending offsets as runs without a break."""
    runs = []
    for _, run in groupby(enumerate(offsets), lambda pair: pair[1] - pair[0]):
        members = list(map(itemgetter(1), run))
        runs.append(OffsetRun(members[0], members[-1] + 1))
    return tuple(runs)


@contextlib.contextmanager
def _others_paused(consumer: Consumer, wanted: frozenset[TopicPartition]) -> Iterator[None]:
    others = consumer.assignment() - wanted
    try:
        consumer.pause(others)
        yield
    finally:
        for partition in others:
            with contextlib.suppress(
                BadInput
            ):  # it was taken away meanwhile, and is not paused where it went
                consumer.resume([partition])
