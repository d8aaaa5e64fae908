"""Creates and looks up topics, finds offsets, and removes what retention no longer keeps."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.log.checks import check_same_topic, unknown_topic
from cluster.log.protocol import Topic, TopicPartition
from cluster.log.sqlite.schema import offset_of, record_id

_TRIM_STEP = 1000
"""Records removed at once at most, so that a shrunk retention does not hold the write lock for long."""

_DELETE_REPLACED = """
DELETE FROM records WHERE id >= :begin AND id < :end AND id NOT IN
    (SELECT max(id) FROM records WHERE id >= :begin AND id < :end GROUP BY key)
RETURNING num_bytes
"""


@dataclass(frozen=True, slots=True)
class TopicRow:
    """Says where a topic's partitions stand in the database."""

    id: int
    name: str
    partition_ids: tuple[int, ...]
    """Row ids, by partition."""
    compacted: bool

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
    """Create a topic, or check that it is the same and take over its retention; inside a transaction."""
    row = connection.execute(
        "SELECT id, num_partitions, compacted FROM topics WHERE name = ?", (topic.name,)
    ).fetchone()
    if row is not None:
        check_same_topic(topic, row[1], bool(row[2]))
        connection.execute(
            "UPDATE topics SET retention_bytes = ?, retention_s = ? WHERE id = ?",
            (topic.retention_bytes, topic.retention_s, row[0]),
        )
        return
    cursor = connection.execute(
        "INSERT INTO topics (name, num_partitions, retention_bytes, retention_s, compacted) VALUES (?, ?, ?, ?, ?)",
        (topic.name, topic.num_partitions, topic.retention_bytes, float(topic.retention_s), topic.compacted),
    )
    connection.executemany(
        "INSERT INTO partitions (topic_id, partition) VALUES (?, ?)",
        [(cursor.lastrowid, number) for number in range(topic.num_partitions)],
    )


def find_topic(connection: sqlite3.Connection, name: str, where: str) -> TopicRow:
    """Look a topic up; raises BadInput if it was never created on the log at `where`."""
    rows = connection.execute(
        "SELECT topics.id, compacted, partitions.id FROM topics JOIN partitions ON topic_id = topics.id "
        "WHERE name = ? ORDER BY partition",
        (name,),
    ).fetchall()
    if not rows:
        raise unknown_topic(name, where)
    topic_id, compacted, _ = rows[0]
    return TopicRow(topic_id, name, tuple(partition_id for *_, partition_id in rows), bool(compacted))


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
        # The first from there on: of a compacted topic, that offset itself may be gone.
        bounds = (record_id(partition_id, middle), record_id(partition_id, high))
        row = connection.execute(
            "SELECT id, timestamp_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT 1", bounds
        ).fetchone()
        if row is None or row[1] >= timestamp_ms:
            high = middle
        else:
            low = offset_of(row[0]) + 1
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


def compact(connection: sqlite3.Connection, partition_ids: Sequence[int]) -> None:
    """Remove from partitions what a later record of its key replaces; inside a transaction."""
    for partition_id in partition_ids:
        bounds = {"begin": record_id(partition_id, 0), "end": record_id(partition_id + 1, 0)}
        freed = sum(num_bytes for (num_bytes,) in connection.execute(_DELETE_REPLACED, bounds))
        connection.execute(
            "UPDATE partitions SET num_bytes = num_bytes - ? WHERE id = ?", (freed, partition_id)
        )


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
