"""Answers questions about the embedded log, and opens its producers and consumers."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from cluster.log.checks import check_topics
from cluster.log.protocol import PartitionsCallback, Record, Topic, TopicPartition
from cluster.log.sqlite import catalog
from cluster.log.sqlite.consumer import SqliteConsumer
from cluster.log.sqlite.database import Database, transaction
from cluster.log.sqlite.membership import Leasing
from cluster.log.sqlite.producer import Buffering, SqliteProducer
from cluster.log.sqlite.schema import SELECT_RECORDS, record_id, row_to_record

_READ_AT_ONCE = 64


class SqliteLog:
    """Is a log in one SQLite file; it holds no connection itself, so it can be built anywhere.

    Args:
        path: the file; it and its directory are made when first used. It must lie on a local disk.
        leasing: how fast partitions of dead members move.
        buffering: how producers batch.
        busy_timeout_s: how long to wait for another process's transaction.
        synchronous: NORMAL survives every crash of processes, and after a power cut the log ends a little
            earlier, consistently, because transactions are lost in order only; FULL loses nothing.
        clock: Unix time in seconds, for the records' timestamps and their age.
    """

    def __init__(
        self, path: str | Path, *, leasing: Leasing | None = None, buffering: Buffering | None = None,
        busy_timeout_s: float = 10.0, synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._database = Database(Path(path).absolute(), busy_timeout_s, synchronous)
        self._leasing = leasing or Leasing()
        self._buffering = buffering or Buffering()
        self._clock = clock

    @property
    def url(self) -> str:
        """The URL with which `open_log` opens this log in another process, whatever its directory."""
        return f"sqlite:///{self._database.path}"

    def create_topics(self, topics: Sequence[Topic]) -> None:
        """Create what is missing; an existing topic takes over the retention given."""
        check_topics(topics)
        with self._database.session() as connection, transaction(connection):
            for topic in topics:
                catalog.create_topic(connection, topic)

    def producer(self) -> SqliteProducer:
        """Open a producer."""
        return SqliteProducer(self._database, self._clock, self._buffering)

    def consumer(
        self, group: str, topics: Sequence[str], *,
        on_assigned: PartitionsCallback | None = None, on_revoked: PartitionsCallback | None = None,
    ) -> SqliteConsumer:  # fmt: skip
        """Join `group` on topics; see `cluster.log.protocol.Log.consumer`."""
        return SqliteConsumer(self._database, group, topics, self._leasing, on_assigned, on_revoked)

    def beginning_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the oldest offset still kept in each partition."""
        return {partition: extent.start for partition, (_, extent) in self._extents(topic).items()}

    def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the offset that the next record of each partition will get."""
        return {partition: extent.end for partition, (_, extent) in self._extents(topic).items()}

    def offsets_for_time(self, topic: str, timestamp_ms: int) -> dict[TopicPartition, int]:
        """Return each partition's first offset appended at or after a Unix time (its end, if there is none)."""
        with self._database.session() as connection:
            connection.execute("BEGIN")  # one view: retention must not remove what the bisection looks at
            row = catalog.find_topic(connection, topic, str(self._database.path))
            extents = catalog.extents(connection, row.partition_ids)
            return {
                partition: catalog.first_offset_since(connection, part_id, extents[part_id], timestamp_ms)
                for partition, part_id in zip(row.partitions, row.partition_ids, strict=True)
            }

    def committed(self, group: str, topic: str) -> dict[TopicPartition, int]:
        """Return the offsets that `group` has committed; partitions without one are absent."""
        with self._database.session() as connection:
            row = catalog.find_topic(connection, topic, str(self._database.path))
            query = "SELECT partition_id, next_offset FROM offsets WHERE group_name = ?"
            offsets = dict(connection.execute(query, (group,)).fetchall())
            pairs = zip(row.partitions, row.partition_ids, strict=True)
            return {partition: offsets[part_id] for partition, part_id in pairs if part_id in offsets}

    def read(self, topic: str, start: Mapping[TopicPartition, int] | None = None) -> Iterator[Record]:
        """Yield what the topic holds up to its end at the time of the call, partition by partition, no group."""
        return self._read(self._extents(topic), start or {})

    def close(self) -> None:
        """Do nothing: every connection belongs to a producer, a consumer or one question."""

    def _extents(self, topic: str) -> dict[TopicPartition, tuple[int, catalog.Extent]]:
        with self._database.session() as connection:
            row = catalog.find_topic(connection, topic, str(self._database.path))
            extents = catalog.extents(connection, row.partition_ids)
            pairs = zip(row.partitions, row.partition_ids, strict=True)
            return {partition: (part_id, extents[part_id]) for partition, part_id in pairs}

    def _read(
        self, places: Mapping[TopicPartition, tuple[int, catalog.Extent]], start: Mapping[TopicPartition, int]
    ) -> Iterator[Record]:
        with self._database.session() as connection:
            for partition, (part_id, extent) in places.items():
                offset = max(extent.start, start.get(partition, extent.start))
                while offset < extent.end:
                    # A few at a time: an open cursor would keep the write-ahead log from being reused.
                    bounds = (record_id(part_id, offset), record_id(part_id, extent.end), _READ_AT_ONCE)
                    rows = connection.execute(SELECT_RECORDS, bounds).fetchall()
                    if not rows:
                        break
                    for row in rows:
                        record = row_to_record(partition, row)
                        offset = record.offset + 1
                        yield record
