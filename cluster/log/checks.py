"""Checks records and topics before they reach a log, so that both logs refuse the same ones."""

import re
from collections.abc import Sequence

from cluster.errors import BadConfig
from cluster.log.protocol import MAX_RECORD_BYTES, Headers, Topic
from pipeline.errors import BadInput

_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def record_size(topic: str, value: bytes, key: bytes | None, headers: Headers) -> int:
    """Return the bytes that a record counts for; raises BadInput above MAX_RECORD_BYTES."""
    size = len(value) + (len(key) if key else 0) + sum(len(name) + len(text) for name, text in headers)
    if size > MAX_RECORD_BYTES:
        raise BadInput(
            f"a record for topic {topic!r} has {size} bytes, the log takes at most {MAX_RECORD_BYTES}: "
            "send a smaller image (lower the JPEG quality or the resolution)"
        )
    return size


def check_partition(topic: str, partition: int, num_partitions: int) -> None:
    """Raise BadInput for a partition that the topic does not have."""
    if not 0 <= partition < num_partitions:
        raise BadInput(f"topic {topic!r} has partitions 0..{num_partitions - 1}, got {partition}")


def check_topics(topics: Sequence[Topic]) -> None:
    """Raise BadConfig for a topic that Kafka would refuse, also where the log is not Kafka."""
    for topic in topics:
        if not _TOPIC_NAME.fullmatch(topic.name) or topic.name in {".", ".."}:
            raise BadConfig(
                f"{topic.name!r} is no topic name: use 1 to 249 letters, digits, '.', '_' and '-' (Kafka's rule)"
            )
        if topic.num_partitions < 1:
            raise BadConfig(f"topic {topic.name!r} needs at least 1 partition, got {topic.num_partitions}")
        if topic.compacted and (topic.retention_bytes >= 0 or topic.retention_s >= 0):
            raise BadConfig(
                f"topic {topic.name!r} is compacted, which keeps the last record of each key for ever, and has a "
                f"retention of {topic.retention_bytes} bytes and {topic.retention_s:g} s: choose one of the two"
            )


def check_key(topic: str, key: bytes | None, compacted: bool) -> None:
    """Raise BadInput for a record that a compacted topic could not tell from others."""
    if compacted and key is None:
        raise BadInput(
            f"a record for topic {topic!r} has no key, and the topic keeps one record a key: give it one"
        )


def check_same_topic(topic: Topic, num_existing: int, existing_compacted: bool) -> None:
    """Raise BadConfig if a topic exists with another partition count, or keeps other records."""
    if num_existing != topic.num_partitions:
        raise BadConfig(
            f"topic {topic.name!r} exists with {num_existing} partitions, the configuration says "
            f"{topic.num_partitions}. The count is fixed at creation, because another one would remap cameras: "
            "configure the existing count, or choose another topic prefix"
        )
    if existing_compacted != topic.compacted:
        words = ("keeps every record", "is compacted: it keeps only the last record of each key")
        raise BadConfig(
            f"topic {topic.name!r} exists and {words[existing_compacted]}, the configuration needs one that "
            f"{words[topic.compacted]}. What it kept and lost would not be what readers expect: choose another topic "
            "prefix, or delete the topic if nothing in it is needed"
        )


def unknown_topic(topic: str, where: str) -> BadInput:
    """Build the error for a topic that was never created."""
    return BadInput(
        f"topic {topic!r} does not exist on {where}: create it with create_topics, or check the prefix"
    )
