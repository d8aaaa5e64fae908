"""Creates and looks up topics, finds offsets, and removes what retention no longer keeps."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.log.checks import check_same_partitions, unknown_topic
from cluster.log.protocol import Topic, TopicPartition
from cluster.log.sqlite.schema import record_id

_TRIM_STEP = 1000
"""Records removed at once at most, so that a shrunk retention does not hold the write lock for long."""


@dataclass(frozen=True, slots=True)
class TopicRow:
    """Says where a topic's partitions stand in the database."""

    id: int
    name: str
    partition_ids: tuple[int, ...]
    """Row ids, by partition."""

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """The partitions in order."""
        return tuple(TopicPartition(self.name, number) for number in range(len(self.partition_ids)))


@dataclass(frozen=True, slots=True)
class Extent:
    """Says which offsets a partition holds: `start` up to, without, `end`."""

    start: int
    end: int


def create_topic(connection: sqlite3.Connection, topic: Topic) -> None:
    """Create a topic, or check its partition count and take over its retention; inside a transaction."""
    row = connection.execute("SELECT id, num_partitions FROM topics WHERE name = ?", (topic.name,)).fetchone()
    if row is not None:
        check_same_partitions(topic, row[1])
        connection.execute(
            "UPDATE topics SET retention_bytes = ?, retention_s = ? WHERE id = ?",
            (topic.retention_bytes, topic.retention_s, row[0]),
        )
        return
    cursor = connection.execute(
        "INSERT INTO topics (name, num_partitions, retention_bytes, retention_s) VALUES (?, ?, ?, ?)",
        (topic.name, topic.num_partitions, topic.retention_bytes, float(topic.retention_s)),
    )
    connection.executemany(
        "INSERT INTO partitions (topic_id, partition) VALUES (?, ?)",
        [(cursor.lastrowid, number) for number in range(topic.num_partitions)],
    )


def find_topic(connection: sqlite3.Connection, name: str, where: str) -> TopicRow:
    """Look a topic up; raises BadInput if it was never created on the log at `where`."""
    rows = connection.execute(
        "SELECT topics.id, partitions.id FROM topics JOIN partitions ON topic_id = topics.id WHERE name = ? "
        "ORDER BY partition",
        (name,),
    ).fetchall()
    if not rows:
        raise unknown_topic(name, where)
    return TopicRow(rows[0][0], name, tuple(partition_id for _, partition_id in rows))


def extents(connection: sqlite3.Connection, partition_ids: Sequence[int]) -> dict[int, Extent]:
    """Return what each partition holds, by row id."""
    marks = ",".join("?" * len(partition_ids))
    query = f"SELECT id, start_offset, next_offset FROM partitions WHERE id IN ({marks})"  # noqa: S608 (only marks)
    return {row[0]: Extent(row[1], row[2]) for row in connection.execute(query, partition_ids)}


def first_offset_since(
    connection: sqlite3.Connection, partition_id: int, extent: Extent, timestamp_ms: float
) -> int:
    """Bisect for the first offset appended at or after a time; timestamps never fall within a partition."""
    low, high = extent.start, extent.end
    while low < high:
        middle = (low + high) // 2
        (appended_ms,) = connection.execute(
            "SELECT timestamp_ms FROM records WHERE id = ?", (record_id(partition_id, middle),)
        ).fetchone()
        low, high = (middle + 1, high) if appended_ms < timestamp_ms else (low, middle)
    return low


def trim_bytes(connection: sqlite3.Connection, partition_ids: Sequence[int]) -> None:
    """Remove the oldest records of partitions above their topic's bytes, but never the newest; in a transaction."""
    budget = _TRIM_STEP
    for partition_id in partition_ids:
        start, end, num_bytes, retention = connection.execute(
            "SELECT start_offset, next_offset, num_bytes, retention_bytes "
            "FROM partitions JOIN topics ON topics.id = topic_id WHERE partitions.id = ?",
            (partition_id,),
        ).fetchone()
        if retention < 0 or num_bytes <= retention:
            continue
        sizes = connection.execute(
            "SELECT num_bytes FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (record_id(partition_id, start), record_id(partition_id, end - 1), budget),
        ).fetchall()
        num_removed, freed = 0, 0
        while num_removed < len(sizes) and num_bytes - freed > retention:
            freed += sizes[num_removed][0]
            num_removed += 1
        _trim(connection, partition_id, start, start + num_removed)
        budget -= num_removed


def trim_age(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Remove records older than their topic keeps them; inside a transaction. Returns whether more remain."""
    budget = _TRIM_STEP
    rows = connection.execute(
        "SELECT partitions.id, start_offset, next_offset, retention_s FROM partitions "
        "JOIN topics ON topics.id = topic_id WHERE retention_s >= 0 AND start_offset < next_offset"
    ).fetchall()
    for partition_id, start, end, retention_s in rows:
        extent = Extent(start, min(end, start + budget))
        new_start = first_offset_since(connection, partition_id, extent, now_ms - 1000 * retention_s)
        _trim(connection, partition_id, start, new_start)
        budget -= new_start - start
    return budget == 0


def _trim(connection: sqlite3.Connection, partition_id: int, start: int, new_start: int) -> None:
    if new_start == start:
        return
    bounds = (record_id(partition_id, start), record_id(partition_id, new_start))
    (freed,) = connection.execute(
        "SELECT sum(num_bytes) FROM records WHERE id >= ? AND id < ?", bounds
    ).fetchone()
    connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", bounds)
    connection.execute(
        "UPDATE partitions SET start_offset = ?, num_bytes = num_bytes - ? WHERE id = ?",
        (new_start, freed, partition_id),
    )
