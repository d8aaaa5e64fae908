"""Appends records to the embedded log, in batches, from a thread of its own."""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, Self

from cluster.errors import LogUnavailable
from cluster.log.checks import check_key, check_partition, record_size
from cluster.log.partitioner import Partitioner
from cluster.log.protocol import Headers
from cluster.log.sqlite import catalog
from cluster.log.sqlite.database import Database, transaction
from cluster.log.sqlite.schema import encode_headers, record_id

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffering:
    """Bounds what a producer holds back and for how long."""

    linger_s: float = 0.005
    """How long a record may wait for others to share its transaction."""
    batch_records: int = 500
    batch_bytes: int = 4_000_000
    """What goes into one transaction at most; others wait for the write lock meanwhile."""
    buffer_bytes: int = 64_000_000
    """What may wait unwritten before `produce` blocks."""
    max_block_s: float = 60.0
    """How long `produce` blocks before it raises LogUnavailable."""
    retry_s: float = 0.5
    """Pause before a write that failed is tried again."""
    trim_age_every_s: float = 1.0
    """How often records are checked against their topic's age."""


class _Pending(NamedTuple):
    partition_id: int
    num_bytes: int
    key: bytes | None
    headers: str | None
    value: bytes


class SqliteProducer:
    """Appends records; one thread at a time calls it, a second one inside it writes."""

    def __init__(self, database: Database, clock: Callable[[], float], buffering: Buffering) -> None:
        self._database = database
        self._clock = clock
        self._buffering = buffering
        self._partitioner = Partitioner()
        self._topics: dict[str, catalog.TopicRow] = {}
        self._compacted: set[int] = set()  # row ids of partitions
        self._connection = database.connect(checkpoints=True)
        self._state = threading.Condition()  # guards all below
        self._buffer: deque[_Pending] = deque()
        self._buffered_bytes = 0
        self._num_unwritten = 0
        self._failure: LogUnavailable | None = None
        self._flushing = False
        self._closed = False
        self._next_trim_s = 0.0
        self._writer = threading.Thread(target=self._write_loop, name="log-writer", daemon=True)
        self._writer.start()

    def produce(
        self, topic: str, value: bytes, *, key: bytes | None = None, headers: Headers = (),
        partition: int | None = None,
    ) -> None:  # fmt: skip
        """Buffer one record; see `cluster.log.protocol.Producer.produce`."""
        size = record_size(topic, value, key, headers)
        row = self._find(topic)
        check_key(topic, key, row.compacted)
        if partition is None:
            partition = self._partitioner.choose(key, len(row.partition_ids))
        check_partition(topic, partition, len(row.partition_ids))
        pending = _Pending(row.partition_ids[partition], size, key, encode_headers(headers), value)
        with self._state:
            self._check_open()
            room = self._state.wait_for(
                lambda: self._buffered_bytes + size <= self._buffering.buffer_bytes or not self._buffer,
                self._buffering.max_block_s,
            )
            if not room:
                raise LogUnavailable(
                    f"the log {self._database.path} has taken nothing for {self._buffering.max_block_s:g} s and "
                    f"{self._num_unwritten} records wait: {self._failure or 'its disk is too slow'}"
                )
            self._buffer.append(pending)
            self._buffered_bytes += size
            self._num_unwritten += 1
            if len(self._buffer) == 1 or self._batch_is_full():
                self._state.notify_all()

    def flush(self, timeout_s: float = 60.0) -> None:
        """Return once all is written; see `cluster.log.protocol.Producer.flush`."""
        with self._state:
            self._check_open()
            self._flush(timeout_s)

    def close(self) -> None:
        """Flush and free; closing twice is harmless."""
        with self._state:
            if self._closed:
                return
            try:
                self._flush(self._buffering.max_block_s)
            finally:
                self._closed = True
                self._state.notify_all()
        self._writer.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _find(self, topic: str) -> catalog.TopicRow:
        row = self._topics.get(topic)
        if row is None:
            with self._database.session() as connection:
                row = self._topics[topic] = catalog.find_topic(connection, topic, str(self._database.path))
            if row.compacted:
                self._compacted.update(row.partition_ids)
        return row

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this producer is closed")

    def _flush(self, timeout_s: float) -> None:
        self._failure = None
        self._flushing = True
        self._state.notify_all()
        try:
            self._state.wait_for(lambda: not self._num_unwritten or self._failure is not None, timeout_s)
        finally:
            self._flushing = False
        if self._num_unwritten:
            raise LogUnavailable(
                f"{self._num_unwritten} records are not yet durable in the log {self._database.path}: "
                f"{self._failure or f'not written within {timeout_s:g} s, flush again to wait on'}"
            )

    def _batch_is_full(self) -> bool:
        full = self._buffered_bytes >= self._buffering.batch_bytes
        return full or len(self._buffer) >= self._buffering.batch_records

    def _write_loop(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                self._write_until_done(batch)
        finally:
            self._connection.close()

    def _next_batch(self) -> list[_Pending] | None:
        with self._state:
            while not self._buffer and not self._closed:
                self._state.wait()
            if not self._buffer:
                return None
            ready = self._state.wait_for(
                lambda: self._flushing or self._closed or self._batch_is_full(), self._buffering.linger_s
            )
            del ready  # lingering long enough is as good a reason
            batch: list[_Pending] = []
            num_bytes = 0
            while self._buffer and len(batch) < self._buffering.batch_records:
                num_bytes += self._buffer[0].num_bytes
                if batch and num_bytes > self._buffering.batch_bytes:
                    break
                batch.append(self._buffer.popleft())
            return batch

    def _write_until_done(self, batch: list[_Pending]) -> None:
        while True:
            try:
                self._write(batch)
            except LogUnavailable as error:
                _log.warning(
                    "log write failed, trying again", extra={"num_records": len(batch)}, exc_info=True
                )
                with self._state:
                    self._failure = error
                    self._state.notify_all()
                    if self._closed or self._state.wait_for(lambda: self._closed, self._buffering.retry_s):
                        self._buffer.clear()
                        return
            else:
                with self._state:
                    self._num_unwritten -= len(batch)
                    self._buffered_bytes -= sum(pending.num_bytes for pending in batch)
                    self._state.notify_all()
                return

    def _write(self, batch: list[_Pending]) -> None:
        with self._database.translated("write to"), transaction(self._connection):
            now_ms = int(1000 * self._clock())
            by_partition = sorted(batch, key=attrgetter("partition_id"))  # stable: order in a partition stays
            written = []
            for partition_id, pendings in groupby(by_partition, key=attrgetter("partition_id")):
                _append(self._connection, partition_id, list(pendings), now_ms)
                written.append(partition_id)
            catalog.trim_bytes(self._connection, written)
            catalog.compact(self._connection, [part_id for part_id in written if part_id in self._compacted])
            if time.monotonic() >= self._next_trim_s:
                more = catalog.trim_age(self._connection, now_ms)
                self._next_trim_s = time.monotonic() + (0 if more else self._buffering.trim_age_every_s)


def _append(connection: sqlite3.Connection, partition_id: int, pendings: list[_Pending], now_ms: int) -> None:
    offset, last_ms = connection.execute(
        "SELECT next_offset, last_timestamp_ms FROM partitions WHERE id = ?", (partition_id,)
    ).fetchone()
    appended_ms = max(now_ms, last_ms)  # a clock set back must not break the search by time
    connection.executemany(
        "INSERT INTO records (id, timestamp_ms, num_bytes, key, headers, value) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (record_id(partition_id, number), appended_ms, item.num_bytes, item.key, item.headers, item.value)
            for number, item in enumerate(pendings, offset)
        ],
    )
    connection.execute(
        "UPDATE partitions SET next_offset = ?, num_bytes = num_bytes + ?, last_timestamp_ms = ? WHERE id = ?",
        (offset + len(pendings), sum(item.num_bytes for item in pendings), appended_ms, partition_id),
    )
