"""Writes a site's identities: reads what the shards tell, in event time, and decides who is who.

It is the only writer of its site. Offsets are committed up to the first event that waits for its turn, after the
records of those before it are durable; a restart rebuilds the book from the identity log and reads on from there.
What is in doubt is in the log too, so a decision may take its time without holding up the offsets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from cluster.config import SiteConfig
from cluster.log.protocol import Log, Record, TopicPartition
from cluster.metrics import Metrics
from cluster.retention import RetentionWatch
from cluster.topics import Topics
from cluster.writer import COMMIT_EVERY_S, DurableWriter, Output
from pipeline.errors import BadInput
from pipeline.identity import IdentityBook
from pipeline.ordering import EventOrder, PlacedEvent
from pipeline.records import DeadLetter, FrameRef, GapCause, IdentityDecision, TrackletBatch, decode, encode

_logger = logging.getLogger(__name__)


class GalleryWriter:
    """Decides identities until told to stop. All collaborators are passed in; one thread calls it."""

    def __init__(
        self, *, site: SiteConfig, topics: Topics, log: Log, book: IdentityBook, metrics: Metrics,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._site = site
        self._topics = topics
        self._log = log
        self._book = book
        self._metrics = metrics
        self._clock_s = clock_s
        self._order = EventOrder([camera.id for camera in site.cameras])
        self._heard_s = dict.fromkeys((camera.id for camera in site.cameras), clock_s())
        self.num_partitions = 0
        """Partitions of the tracklet topic that this writer owns: one, once it has joined."""
        self._next: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._committed_s = clock_s()
        self._rebuild()
        self._writer = DurableWriter(log.producer)
        self._retention = RetentionWatch(log, topics.gallery_group, topics.tracklets, clock_s)
        self._consumer = log.consumer(
            topics.gallery_group, [topics.tracklets], on_revoked=self._retention.forget
        )

    def step(self, timeout_s: float) -> int:
        """Decide what can be decided now and return the number of records read.

        Steps: 1 poll, 2 order by event time, 3 decide, 4 produce and flush, 5 commit.

        Raises:
            LogUnavailable: the log is away. What was decided is kept, and the next call goes on with it.
        """
        # Step 1
        self._report_losses()
        records = [] if self._writer.num_pending else self._consumer.poll(self._site.batch_frames, timeout_s)
        self._retention.saw(records)
        self.num_partitions = len(self._consumer.assignment())
        # Steps 2 and 3
        for record in records:
            self._take(record)
        for camera in self._silent_cameras():
            _logger.info("going on without a silent camera", extra={"camera": camera})
            self._decide(self._order.stop_waiting_for(camera))
        self._write(self._book.advance(self._order.watermark_ns))
        # Step 4
        self._writer.flush()
        # Step 5
        if not records or self._clock_s() - self._committed_s >= COMMIT_EVERY_S:
            self._commit()
        self._metrics.gallery_appearances.set(self._book.num_appearances)
        self._metrics.gallery_identities.set(self._book.num_identities)
        return len(records)

    def close(self) -> None:
        """Leave the group and free the log's clients."""
        self._consumer.close()
        self._writer.close()

    def _rebuild(self) -> None:
        for record in self._log.read(self._topics.identities):
            try:
                self._book.apply(decode(record.value, IdentityDecision))
            except BadInput as error:  # of an embedder that has changed its dimension, or not ours at all
                self._metrics.gallery_rejected.inc()
                detail = {"detail": str(error), "offset": record.offset}
                _logger.warning("record of the identity log refused", extra=detail)

    def _report_losses(self) -> None:
        for stretch in self._retention.check(self._consumer.assignment()):
            self._metrics.tracklet_records_lost.labels(GapCause.RETENTION.value).inc(stretch.num_records)
            _logger.error(
                "tracklets lost: the log removed them before identities were decided; raise results_retention_s",
                extra={
                    "num_records": stretch.num_records,
                    "first_offset": stretch.first,
                    "end_offset": stretch.end,
                },
            )

    def _take(self, record: Record) -> None:
        self._next[record.topic_partition] = record.offset + 1
        try:
            batch = decode(record.value, TrackletBatch)
        except BadInput as error:
            self._bury(record.offset, str(error))
            return
        self._heard_s[batch.camera] = self._clock_s()
        late = self._order.num_late
        self._decide(self._order.push(batch, record.offset))
        self._metrics.events_late.inc(self._order.num_late - late)

    def _decide(self, events: Sequence[PlacedEvent]) -> None:
        for placed in events:
            try:
                records = self._book.hear(placed.camera, placed.event)
            except BadInput as error:
                self._bury(placed.offset, f"tracklet {placed.track}: {error}")
                continue
            self._write(records)

    def _write(self, decisions: Sequence[IdentityDecision]) -> None:
        for decision in decisions:
            self._writer.add([Output(self._topics.identities, encode(decision))])
            self._metrics.identity_decisions.labels(decision.kind.value).inc()

    def _silent_cameras(self) -> list[str]:
        now_s = self._clock_s()
        patience_s = self._site.camera_patience_s
        return [c for c in self._order.holding_back if now_s - self._heard_s.get(c, now_s) > patience_s]

    def _commit(self) -> None:
        pending = self._order.first_pending_offset
        offsets = {
            partition: offset if pending is None else min(offset, pending)
            for partition, offset in self._next.items()
        }
        changed = {tp: offset for tp, offset in offsets.items() if self._committed.get(tp) != offset}
        if changed:
            self._consumer.commit(changed)
            self._committed.update(changed)
        self._committed_s = self._clock_s()

    def _bury(self, offset: int, detail: str) -> None:
        self._metrics.gallery_rejected.inc()
        _logger.warning("tracklet refused", extra={"detail": detail, "offset": offset})
        letter = DeadLetter(
            source=FrameRef(topic=self._topics.tracklets, partition=0, offset=offset),
            cause="bad_tracklet", detail=detail, received_unix_ns=time.time_ns(),
        )  # fmt: skip
        self._writer.add([Output(self._topics.dead_letters, encode(letter))])
