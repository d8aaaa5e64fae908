"""Answers questions about the log on Kafka, and opens its producers and consumers."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kafka import KafkaAdminClient
from kafka import KafkaConsumer as Client
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, OffsetSpec
from kafka.structs import TopicPartition as ClientPartition

from cluster.errors import LogUnavailable
from cluster.log.checks import check_same_topic, check_topics, unknown_topic
from cluster.log.kafka.connection import Brokers, KafkaTimeouts, require_crc32c
from cluster.log.kafka.consumer import KafkaConsumer
from cluster.log.kafka.creating import await_everywhere, create
from cluster.log.kafka.fetching import FETCH_OPTIONS, record_of
from cluster.log.kafka.producer import KafkaProducer
from cluster.log.protocol import PartitionsCallback, Record, Topic, TopicPartition
from cluster.log.security import KafkaSecurity


class KafkaLog:
    """Is a log on an Apache Kafka cluster; it connects when first asked something.

    Args:
        servers: `HOST:PORT` of some of its brokers.
        timeouts: how long the brokers may be away before someone is told.
        security: how they are reached; in plain text unless told otherwise.

    Raises:
        LogUnavailable: the package crc32c is missing.
    """

    def __init__(
        self, servers: Sequence[str], *,
        timeouts: KafkaTimeouts | None = None, security: KafkaSecurity | None = None,
    ) -> None:  # fmt: skip
        require_crc32c()
        self._brokers = Brokers(tuple(servers), timeouts or KafkaTimeouts(), security or KafkaSecurity())
        self._lock = threading.Lock()  # questions may come from several threads
        self._admin: KafkaAdminClient | None = None

    @property
    def url(self) -> str:
        """The URL with which `open_log` opens this log in another process."""
        return self._brokers.security.url(str(self._brokers))

    def create_topics(self, topics: Sequence[Topic]) -> None:
        """Create what is missing; the retention of an existing topic is left to those who run the Kafka."""
        check_topics(topics)
        names = [topic.name for topic in topics]
        existing = self._partition_counts(names)
        missing = [topic for topic in topics if topic.name not in existing]
        if missing:
            self._ask("create topics on", lambda admin: create(admin, missing))
        self._ask("look up topics on", lambda admin: await_everywhere(admin, names))
        if missing:
            existing = self._partition_counts(names)
        compacted = self._compacted(names)
        for topic in topics:
            check_same_topic(topic, existing[topic.name], topic.name in compacted)

    def producer(self) -> KafkaProducer:
        """Open a producer: idempotent, acknowledged by all replicas."""
        self._brokers.require()
        return KafkaProducer(self._brokers, self._describe)

    def consumer(
        self, group: str, topics: Sequence[str], *,
        on_assigned: PartitionsCallback | None = None, on_revoked: PartitionsCallback | None = None,
    ) -> KafkaConsumer:  # fmt: skip
        """Join `group` on topics; see `cluster.log.protocol.Log.consumer`."""
        for topic in topics:
            self._count_partitions(topic)
        return KafkaConsumer(self._brokers, group, topics, on_assigned, on_revoked)

    def beginning_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the oldest offset still kept in each partition."""
        return self._offsets(topic, OffsetSpec.EARLIEST)

    def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the offset that the next record of each partition will get."""
        return self._offsets(topic, OffsetSpec.LATEST)

    def offsets_for_time(self, topic: str, timestamp_ms: int) -> dict[TopicPartition, int]:
        """Return each partition's first offset appended at or after a Unix time (its end, if there is none)."""
        ends = self.end_offsets(topic)
        found = self._offsets(topic, timestamp_ms)
        return {
            partition: found[partition] if found[partition] >= 0 else end for partition, end in ends.items()
        }

    def committed(self, group: str, topic: str) -> dict[TopicPartition, int]:
        """Return the offsets that `group` has committed; partitions without one are absent."""
        wanted = self._client_partitions(topic)
        offsets = self._ask("read offsets of", lambda admin: admin.list_group_offsets({group: wanted}))[group]
        return {
            TopicPartition(*partition): offsets[partition].offset
            for partition in wanted
            if partition in offsets and offsets[partition].offset >= 0
        }

    def read(self, topic: str, start: Mapping[TopicPartition, int] | None = None) -> Iterator[Record]:
        """Yield what the topic holds up to its end at the time of the call, partition by partition, no group."""
        start = start or {}
        begins, ends = self.beginning_offsets(topic), self.end_offsets(topic)
        spans = {
            partition: (max(begin, start.get(partition, begin)), ends[partition])
            for partition, begin in begins.items()
        }
        return self._read({partition: span for partition, span in spans.items() if span[0] < span[1]})

    def close(self) -> None:
        """Disconnect; asking again reconnects."""
        with self._lock:
            if self._admin is not None:
                self._admin.close()
                self._admin = None

    def _read(self, spans: Mapping[TopicPartition, tuple[int, int]]) -> Iterator[Record]:
        if not spans:
            return
        with self._brokers.translated("read"):
            client = Client(**self._brokers.client_options(), **FETCH_OPTIONS, group_id=None)
        try:
            for partition, (begin, end) in spans.items():
                yield from self._read_partition(client, ClientPartition(*partition), begin, end)
        finally:
            client.close()

    def _read_partition(
        self, client: Client, partition: ClientPartition, begin: int, end: int
    ) -> Iterator[Record]:
        client.assign([partition])
        client.seek(partition, begin)
        position = begin
        while position < end:
            with self._brokers.translated("read"):
                batch = client.poll(timeout_ms=int(1000 * self._brokers.timeouts.request_s)).get(
                    partition, []
                )
                # The position also passes what compaction has removed, which the records do not show.
                reached = client.position(partition, timeout_ms=1000) or position
            if reached == position:
                raise LogUnavailable(
                    f"Kafka at {self._brokers} sends nothing of {partition.topic}/{partition.partition} from "
                    f"offset {position} on, though it ends at {end}: check the broker; reading again resumes"
                )
            position = reached
            yield from (record_of(message) for message in batch if message.offset < end)

    def _ask(self, doing: str, question: Callable[[KafkaAdminClient], Any]) -> Any:
        with self._lock, self._brokers.translated(doing):
            if self._admin is None:
                self._brokers.require()
                options = self._brokers.client_options()
                del options["metrics_enabled"]
                self._admin = KafkaAdminClient(**options)
            try:
                return question(self._admin)
            except (kafka_errors.RetriableError, kafka_errors.UnknownBrokerIdError):
                # Its connections may be to brokers that are gone: the next question starts afresh.
                self._admin.close()
                self._admin = None
                raise

    def _partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        described = self._ask("look up topics on", lambda admin: admin.describe_topics(list(topics)))
        return {topic["name"]: len(topic["partitions"]) for topic in described if not topic["error_code"]}

    def _count_partitions(self, topic: str) -> int:
        count = self._partition_counts([topic]).get(topic)
        if not count:
            raise unknown_topic(topic, f"Kafka at {self._brokers}")
        return count

    def _describe(self, topic: str) -> Topic:
        count = self._count_partitions(topic)
        return Topic(name=topic, num_partitions=count, compacted=bool(self._compacted([topic])))

    def _compacted(self, topics: Sequence[str]) -> set[str]:
        """Return those of the topics that keep only the last record of each key."""
        wanted = [ConfigResource("TOPIC", topic, dict.fromkeys(["cleanup.policy"])) for topic in topics]
        described = self._ask(
            "look up topics on", lambda admin: admin.describe_configs(wanted, config_filter="all")
        )
        return {
            name
            for name, settings in described["topic"].items()
            if "compact" in settings["cleanup.policy"]["value"]
        }

    def _client_partitions(self, topic: str) -> list[ClientPartition]:
        return [ClientPartition(topic, number) for number in range(self._count_partitions(topic))]

    def _offsets(self, topic: str, spec: Any) -> dict[TopicPartition, int]:
        wanted = dict.fromkeys(self._client_partitions(topic), spec)
        found = self._ask("read offsets of", lambda admin: admin.list_partition_offsets(wanted))
        return {TopicPartition(*partition): found[partition].offset for partition in wanted}
