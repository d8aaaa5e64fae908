"""Declares the tables of the embedded log and how a record becomes a row."""

from typing import Any

import msgspec

from cluster.log.protocol import Headers, Record, TopicPartition

APPLICATION_ID = 0x63776C67
"""Marks the file as ours ("cwlg"), so that another program's database is never written to."""
SCHEMA_VERSION = 2

PAGE_BYTES = 32_768
"""A 64 kB frame spans 3 pages of this size instead of 17 of the default 4 KiB; both writing and reading gain."""

OFFSET_BITS = 40
"""A record's id is `partitions.id << 40 | offset`: one clustered B-tree, read and trimmed in order, no index."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, num_partitions INTEGER NOT NULL,
    retention_bytes INTEGER NOT NULL, retention_s REAL NOT NULL, compacted INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS partitions (
    id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL REFERENCES topics, partition INTEGER NOT NULL,
    start_offset INTEGER NOT NULL DEFAULT 0, next_offset INTEGER NOT NULL DEFAULT 0,
    num_bytes INTEGER NOT NULL DEFAULT 0, last_timestamp_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic_id, partition)
) STRICT;
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL, num_bytes INTEGER NOT NULL,
    key BLOB, headers TEXT, value BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, generation INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS members (
    id TEXT PRIMARY KEY, group_name TEXT NOT NULL, topic_ids TEXT NOT NULL,
    expires_s REAL NOT NULL, lease_s REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS leases (
    group_name TEXT NOT NULL, partition_id INTEGER NOT NULL, member_id TEXT NOT NULL,
    PRIMARY KEY (group_name, partition_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (
    group_name TEXT NOT NULL, partition_id INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL, PRIMARY KEY (group_name, partition_id)
) STRICT, WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS log AS
    SELECT topics.name AS topic, partition, records.id & 1099511627775 AS "offset",
           datetime(timestamp_ms / 1000.0, 'unixepoch') AS appended, CAST(key AS TEXT) AS key, headers,
           records.num_bytes, value
    FROM records JOIN partitions ON partitions.id = records.id >> 40 JOIN topics ON topics.id = topic_id;
"""

MIGRATIONS = {1: "ALTER TABLE topics ADD COLUMN compacted INTEGER NOT NULL DEFAULT 0"}
"""What makes the next layout of each older one."""


def record_id(partition_id: int, offset: int) -> int:
    """Return the row id of a record."""
    return partition_id << OFFSET_BITS | offset


def offset_of(row_id: int) -> int:
    """Return the offset in the row id of a record."""
    return row_id & ((1 << OFFSET_BITS) - 1)


def encode_headers(headers: Headers) -> str | None:
    """Write headers as JSON pairs that `sqlite3` shows; Latin-1 maps every byte to one character and back."""
    if not headers:
        return None
    return msgspec.json.encode([(name, text.decode("latin-1")) for name, text in headers]).decode()


_PAIRS = msgspec.json.Decoder(list[tuple[str, str]])


def decode_headers(text: str | None) -> Headers:
    """Read headers back, byte for byte."""
    if text is None:
        return ()
    return tuple((name, value.encode("latin-1")) for name, value in _PAIRS.decode(text))


SELECT_RECORDS = (
    "SELECT id, timestamp_ms, key, headers, value FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
)


def row_to_record(partition: TopicPartition, row: tuple[Any, ...]) -> Record:
    """Build the record of one row of SELECT_RECORDS."""
    row_id, timestamp_ms, key, headers, value = row
    return Record(
        partition.topic,
        partition.partition,
        offset_of(row_id),
        timestamp_ms,
        key,
        value,
        decode_headers(headers),
    )
