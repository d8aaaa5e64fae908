"""Turns the frames of some cameras into tracks: polls, perceives, follows, produces, commits.

A shard owns the state of the cameras whose partitions it was given. The networks look at one batch while the
shard follows the batch before and fetches the next, so that no core waits for the log. Offsets are committed
last, so that whatever dies, a frame is processed again rather than lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from cluster.config import SiteConfig
from cluster.errors import LogUnavailable
from cluster.log.protocol import Log, Record, TopicPartition
from cluster.metrics import Metrics
from cluster.overload import Admitted, Overload
from cluster.topics import Topics
from cluster.writer import COMMIT_EVERY_S, DurableWriter, Output
from pipeline.camera import Camera, FollowedFrame
from pipeline.errors import BadFrame
from pipeline.frames import FrameHeader
from pipeline.guard import FrameGuard
from pipeline.looks import NO_LOOKS
from pipeline.perception import CropRequest, EncodedFrame, Perceiver, Refusal, Seen
from pipeline.records import (
    DeadLetter,
    FrameRef,
    FrameResult,
    TrackletBatch,
    TrackletEvent,
    TrackletPhase,
    encode,
)

_BATCHES_IN_FLIGHT = 2
"""One that the networks look at, one that begins before the last image of the other is done."""
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Batch:
    """Is what one poll returned, while the networks look at its images; it holds none that are not looked at."""

    num_records: int
    next_offsets: dict[TopicPartition, int]
    """What is committed when the batch is done."""
    admitted: list[Admitted] = field(default_factory=list)
    """Those that are looked at."""
    seen: Future[list[Seen | Refusal]] | None = None
    """One result for each admitted frame that has an image, in order."""
    told: list[Output] = field(default_factory=list)
    """Records of what was not looked at: dead letters and gaps."""


class _Story(NamedTuple):
    """Is an admitted frame and what was made of it; `followed` is None at the end of a stream."""

    admitted: Admitted
    followed: FollowedFrame | None


class _Told(NamedTuple):
    """Is what is told of a batch: a result a frame, and each camera's news."""

    results: list[tuple[FrameHeader, FrameResult]]
    news: list[TrackletBatch]


class StreamShard:
    """Processes batches until told to stop. All collaborators are passed in; one thread calls it."""

    def __init__(
        self, *, site: SiteConfig, topics: Topics, log: Log, perceiver: Perceiver, metrics: Metrics,
        clock_ns: Callable[[], int] = time.time_ns, clock_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._site = site
        self._topics = topics
        self._perceiver = perceiver
        self._metrics = metrics
        self._clock_ns = clock_ns
        self._clock_s = clock_s
        self._delivered_s = clock_s()
        self._guard = FrameGuard(frozenset(camera.id for camera in site.cameras), site.frames)
        self._cameras: dict[str, Camera] = {}
        self._partition_of: dict[str, TopicPartition] = {}
        self.num_partitions = 0
        """Partitions of the frame topic that this shard owns."""
        self._ahead: _Batch | None = None
        self._networks = ThreadPoolExecutor(_BATCHES_IN_FLIGHT, thread_name_prefix="networks")
        self._uncommitted: dict[TopicPartition, int] = {}
        self._writer = DurableWriter(log.producer)
        self._overload = Overload(site, topics, log, metrics, clock_s=clock_s, clock_ns=clock_ns)
        self._consumer = log.consumer(topics.shard_group, [topics.frames], on_revoked=self._hand_over)

    def step(self, timeout_s: float) -> int:
        """Begin one batch, complete the one begun before, and return how many records that moved.

        Steps: 1 deliver what is due, 2 poll, 3 guard, and skip what the cameras' policies say, 4 begin to detect; then, of the batch before: 5 wait for its
        detections, 6 follow, 7 embed, 8 send the results. Results are made durable, and then committed, every
        `COMMIT_EVERY_S`: waiting for the log after each batch would leave the cores idle for a tenth of the time.

        Raises:
            LogUnavailable: the log is away. What was computed is kept, and the next call goes on with it.
        """
        # Step 1
        if self._clock_s() - self._delivered_s >= COMMIT_EVERY_S:
            self._deliver()
        # Step 2
        with self._metrics.stage("poll"):
            wait_s = 0.0 if self._ahead else timeout_s
            records = self._overload.poll(self._consumer, self._site.batch_frames, wait_s)
        self.num_partitions = len(self._consumer.assignment())
        begins = bool(records) or self._overload.has_news
        before, self._ahead = self._ahead, self._begun(records) if begins else None
        if before is not None:
            self._complete(before)
        elif not records:
            self._deliver()
        return len(records) + (before.num_records if before is not None else 0)

    def _begun(self, records: Sequence[Record]) -> _Batch:
        self._metrics.batch_frames.observe(len(records))
        batch = _Batch(len(records), {record.topic_partition: record.offset + 1 for record in records})
        # Step 3
        with self._metrics.stage("guard"):
            decided = self._overload.decide(self._admit(batch, records))
        batch.admitted = decided.looked_at
        batch.told += decided.told
        batch.next_offsets = {**decided.resume, **batch.next_offsets}
        # Step 4
        frames = [_encoded(frame) for frame in batch.admitted if not frame.header.ended]
        batch.seen = self._networks.submit(self._perceiver.detect, frames) if frames else None
        return batch

    def _complete(self, batch: _Batch) -> None:
        # Step 5
        with self._metrics.stage("detect"):
            seen = batch.seen.result() if batch.seen is not None else []
        # Step 6
        with self._metrics.stage("track"):
            stories = self._follow(batch, seen)
        # Step 7
        with self._metrics.stage("embed"):
            told = self._learn_appearances(stories)
        # Step 8
        with self._metrics.stage("produce"):
            self._writer.add([*batch.told, *self._outputs(told)])
            self._uncommitted.update(batch.next_offsets)
            self._writer.send()

    def _deliver(self) -> None:
        """Make all results durable, then commit their frames; what fails is kept for a later call.

        While a rebalance forbids to commit, a later call does, after the next poll.
        """
        if not self._uncommitted:
            return
        with self._metrics.stage("produce"):
            self._writer.flush()
        with self._metrics.stage("commit"):
            self._delivered_s = self._clock_s()
            self._consumer.commit(self._uncommitted)
        self._uncommitted = {}

    def _try_to_deliver(self) -> None:
        """Complete and deliver before letting go; what fails is processed again by whoever comes next."""
        before, self._ahead = self._ahead, None
        try:
            if before is not None:
                self._complete(before)
            self._deliver()
        except LogUnavailable as error:
            _logger.warning("results not committed, their frames come again", extra={"error": str(error)})

    def close(self) -> None:
        """Deliver what can be delivered, leave the group and free the log's clients."""
        self._try_to_deliver()
        self._consumer.close()
        self._writer.close()
        self._networks.shutdown()

    def _admit(self, batch: _Batch, records: Sequence[Record]) -> list[Admitted]:
        admitted = []
        for record in records:
            try:
                header = self._guard.admit(record.headers, record.value)
            except BadFrame as error:
                self._bury(batch, record, error.cause.value, str(error))
                continue
            self._partition_of[header.camera] = record.topic_partition
            admitted.append(Admitted(record, header))
        return admitted

    def _follow(self, batch: _Batch, seen: Sequence[Seen | Refusal]) -> list[_Story]:
        stories = []
        results = iter(seen)
        for frame in batch.admitted:
            if frame.header.ended:
                stories.append(_Story(frame, None))
                continue
            result = next(results)
            if isinstance(result, Refusal):
                self._bury(batch, frame.record, result.cause, result.detail, frame.header.camera)
                continue
            followed = self._camera(frame.header.camera).follow(frame.header, _ref(frame.record), result)
            stories.append(_Story(frame, followed))
        return stories

    def _learn_appearances(self, stories: Sequence[_Story]) -> _Told:
        """Embed what the frames ask for, all at once, and collect each camera's news."""
        requests = [
            CropRequest(_encoded(story.admitted), story.followed.sample_boxes_N4)
            for story in stories
            if story.followed is not None and story.followed.samples
        ]
        embedded = iter(self._perceiver.embed(requests) if requests else [])
        results: list[tuple[FrameHeader, FrameResult]] = []
        news: dict[str, list[TrackletEvent]] = {}
        last: dict[str, _Story] = {}
        for story in stories:
            camera = self._camera(story.admitted.header.camera)
            last[camera.camera] = story
            if story.followed is None:
                news.setdefault(camera.camera, []).extend(camera.finish())
                continue
            looks = next(embedded) if story.followed.samples else NO_LOOKS
            self._metrics.embeddings.inc(len(looks.embeddings_ND))
            complete = camera.learn_appearance(story.followed, looks)
            results.append((story.admitted.header, complete.result))
            news.setdefault(camera.camera, []).extend(complete.events)
        return _Told(results, [self._news_of(name, tuple(news[name]), story) for name, story in last.items()])

    def _news_of(self, name: str, events: tuple[TrackletEvent, ...], last: _Story) -> TrackletBatch:
        confirmed = sum(event.phase is TrackletPhase.CONFIRMED for event in events)
        self._metrics.tracks.labels(name).inc(confirmed)
        return TrackletBatch(
            camera=name,
            watermark_ns=self._camera(name).watermark_ns,
            frame=_ref(last.admitted.record),
            events=events,
            ended=last.followed is None,
        )

    def _outputs(self, told: _Told) -> list[Output]:
        outputs: list[Output] = []
        for header, complete in told.results:
            latency_s = max(0.0, (self._clock_ns() - header.produced_ns) / 1e9)
            result = msgspec.structs.replace(complete, latency_s=latency_s)
            outputs.append(Output(self._topics.tracks, encode(result), header.camera.encode()))
            self._metrics.latency_seconds.observe(latency_s)
            self._metrics.frames_processed.labels(header.camera).inc()
            self._metrics.detections.labels(header.camera).inc(len(result.observations))
        outputs.extend(Output(self._topics.tracklets, encode(b), b.camera.encode()) for b in told.news)
        return outputs

    def _bury(
        self, batch: _Batch, record: Record, cause: str, detail: str, camera: str | None = None
    ) -> None:
        """Put a message that cannot be used among the dead letters; the stream goes on."""
        letter = DeadLetter(
            source=_ref(record), cause=cause, detail=detail, camera=camera, received_unix_ns=self._clock_ns(),
        )  # fmt: skip
        batch.told.append(Output(self._topics.dead_letters, encode(letter)))
        self._metrics.dead_letters.labels(cause).inc()
        _logger.warning("frame refused", extra={"cause": cause, "detail": detail, "offset": record.offset})

    def _camera(self, name: str) -> Camera:
        if name not in self._cameras:
            self._cameras[name] = Camera(
                name, self._site.tracker, self._site.tracklets, self._perceiver.embedder_version
            )  # fmt: skip
        return self._cameras[name]

    def _hand_over(self, partitions: frozenset[TopicPartition]) -> None:
        """Forget the cameras of partitions that another shard takes over."""
        self._try_to_deliver()
        self._uncommitted = {tp: offset for tp, offset in self._uncommitted.items() if tp not in partitions}
        gone = [camera for camera, partition in self._partition_of.items() if partition in partitions]
        self._guard.forget(gone)
        self._overload.forget(gone, partitions)
        for camera in gone:
            self._cameras.pop(camera, None)
            del self._partition_of[camera]


def _ref(record: Record) -> FrameRef:
    return FrameRef(topic=record.topic, partition=record.partition, offset=record.offset)


def _encoded(frame: Admitted) -> EncodedFrame:
    record, header = frame
    key = (record.topic, record.partition, record.offset)
    return EncodedFrame(key, record.value, header.width, header.height, header.camera)
