"""Says how records are fetched from Kafka, and what becomes of them."""

from collections.abc import Mapping
from typing import Any

from cluster.log.protocol import Record

FETCH_OPTIONS: Mapping[str, Any] = {
    # 500 frames of 64 kB, or 16 of 2 MB: what a shard holds unread at most, twice (one fetch travels meanwhile).
    "fetch_max_bytes": 32_000_000,
    # Small enough that a backlog of one camera does not fill the fetch; a larger record still comes through.
    "max_partition_fetch_bytes": 2_000_000,
    "fetch_max_wait_ms": 200,
    # Kafka's own default, latest, would skip what was produced before the first assignment.
    "auto_offset_reset": "earliest",
    "enable_auto_commit": False,
    "allow_auto_create_topics": False,
}


def record_of(message: Any) -> Record:
    """Build our record of kafka-python's."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.timestamp,
        message.key,
        message.value or b"",
        tuple(message.headers),
    )
