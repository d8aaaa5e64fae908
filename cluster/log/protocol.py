"""States what camweave needs of a log: an ordered, partitioned, replayable, retained sequence of records.

Two implementations pass one conformance suite (tests/cluster/log): `cluster.log.kafka` and
`cluster.log.sqlite`. Positions follow Kafka's meaning: a committed offset is the next one to read.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

Headers = tuple[tuple[str, bytes], ...]

MAX_RECORD_BYTES = 8_000_000
"""Largest key + value + headers of one record: four times a 2 MB JPEG, and below Kafka's request cap of 8 MiB."""


class TopicPartition(NamedTuple):
    """Names one partition."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Describes a topic: its partition count is fixed at creation, because adding some would remap keys."""

    name: str
    num_partitions: int
    retention_bytes: int = -1
    """Bytes kept a partition; -1 keeps all. Retention removes the oldest records first."""
    retention_s: float = -1.0
    """Seconds that a record is kept; -1 keeps all."""
    compacted: bool = False
    """Whether only the last record of each key need be kept, for ever; every record then needs a key.

    Earlier ones go some time later, or never; what stays keeps its offset."""


@dataclass(frozen=True, slots=True)
class Record:
    """Is one record as read; (topic, partition, offset) is its identity."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int  # when it was appended, Unix time
    key: bytes | None
    value: bytes
    headers: Headers

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition this record was read from."""
        return TopicPartition(self.topic, self.partition)


PartitionsCallback = Callable[[frozenset[TopicPartition]], None]


class Producer(Protocol):
    """Appends records; one thread at a time."""

    def produce(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Buffer one record for the partition given, else for the murmur2 hash of the key, else in rotation.

        Raises:
            BadInput: unknown topic or partition, a record above MAX_RECORD_BYTES, or one without a key for a
                compacted topic.
            LogUnavailable: the buffer is full because the log has been away for too long, or records were lost.
        """

    def flush(self, timeout_s: float = 60.0) -> None:
        """Return once all that this producer was ever given is durable.

        Raises:
            LogUnavailable: not all of it is durable yet (flushing again waits on), or a record was given up:
                then every later call raises too. Open a new producer and replay from the last commit.
        """

    def close(self) -> None:
        """Flush and free; closing twice is harmless. Raises LogUnavailable as `flush` does, after freeing."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Consumer(Protocol):
    """Reads records as a member of a group; one thread at a time."""

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return up to `max_records`, waiting at most `timeout_s` for the first; in order within a partition.

        Each partition with records waiting gets its fair share of the room. Rebalances happen inside this call:
        callbacks run in the caller's thread and may flush, commit and seek. An error raised by a callback comes
        out of this call.

        Raises:
            LogUnavailable: the log does not answer; polling again later resumes where it stopped.
        """

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the next offsets to read, durably; ignores nothing: a partition no longer owned raises.

        Partitions being revoked can still be committed inside `on_revoked`, unless they were lost.

        Raises:
            LogUnavailable: none is stored, because the log does not answer, a partition has moved away, or the
                group is being rebalanced. Going on is safe: a later commit covers this one, and what has moved is
                revoked in the next poll.
        """

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Continue an assigned partition at `offset`; one that is no longer or not yet kept means its beginning.

        Raises:
            BadInput: the partition is not assigned, or the offset is negative.
        """

    def position(self, partition: TopicPartition) -> int:
        """Return the offset that the next poll reads first; raises BadInput if the partition is not assigned."""

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Keep the partitions, but fetch nothing from them until `resume`."""

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch from paused partitions again."""

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that this member owns now."""

    def close(self) -> None:
        """Revoke what is owned (`on_revoked` may commit), leave the group and free; closing twice is harmless."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Log(Protocol):
    """Opens producers and consumers on one log, and answers questions about it.

    Cheap to build in any process. Every question about a topic that does not exist raises BadInput, every one
    that the log does not answer raises LogUnavailable.
    """

    @property
    def url(self) -> str:
        """The URL with which `open_log` opens this log in another process."""

    def create_topics(self, topics: Sequence[Topic]) -> None:
        """Create what is missing.

        Raises:
            BadConfig: a topic exists with another partition count, or is compacted and should not be, or not and should.
            LogUnavailable: the log does not answer.
        """

    def producer(self) -> Producer:
        """Open a producer: idempotent, acknowledged by all replicas."""

    def consumer(
        self,
        group: str,
        topics: Sequence[str],
        *,
        on_assigned: PartitionsCallback | None = None,
        on_revoked: PartitionsCallback | None = None,
    ) -> Consumer:
        """Join `group` on `topics`; a partition without a committed offset starts at its beginning.

        `on_revoked` is also called with partitions that were lost without asking, because this member was too
        slow; a commit for them raises.
        """

    def beginning_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the oldest offset still kept in each partition."""

    def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the offset that the next record of each partition will get."""

    def offsets_for_time(self, topic: str, timestamp_ms: int) -> dict[TopicPartition, int]:
        """Return each partition's first offset appended at or after a Unix time (its end, if there is none)."""

    def committed(self, group: str, topic: str) -> dict[TopicPartition, int]:
        """Return the offsets that `group` has committed; partitions without one are absent."""

    def read(self, topic: str, start: Mapping[TopicPartition, int] | None = None) -> Iterable[Record]:
        """Yield what the topic holds up to its end at the time of the call, partition by partition, no group."""

    def close(self) -> None:
        """Free what the log itself holds; producers and consumers are closed on their own."""
