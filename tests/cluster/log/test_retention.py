"""What retention removes before it is read is noticed, on SQLite always, and on a real Kafka where there is one."""

import uuid
from collections.abc import Callable

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition as ClientPartition

from cluster.log import Log, TopicPartition
from cluster.log.kafka import KafkaLog
from cluster.log.kafka.securing import security_options
from cluster.log.security import split_kafka_url
from cluster.log.sqlite import SqliteLog, catalog
from cluster.log.sqlite.database import transaction
from cluster.retention import LostStretch, RetentionWatch
from tests.cluster.log.conftest import poll_until, read_until

MakeTopic = Callable[[int], str]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def append(log: Log, topic: str, num_records: int) -> None:
    with log.producer() as producer:
        for _ in range(num_records):
            producer.produce(topic, b"x" * 100, partition=0)


def remove_before(log: Log, topic: str, offset: int) -> None:
    """Remove the records before an offset, as retention does when it takes its turn."""
    place = TopicPartition(topic, 0)
    if isinstance(log, KafkaLog):
        servers, security = split_kafka_url(log.url)
        admin = KafkaAdminClient(bootstrap_servers=servers.split(","), **security_options(security))
        admin.delete_records({ClientPartition(*place): offset})
        admin.close()
    elif isinstance(log, SqliteLog):
        with log._database.session() as connection, transaction(connection):
            (partition_id, *_) = catalog.find_topic(connection, topic, "the log").partition_ids
            catalog._trim(connection, partition_id, log.beginning_offsets(topic)[place], offset)
    assert log.beginning_offsets(topic)[place] == offset


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def topic(make_topic: MakeTopic) -> str:
    return make_topic(1)


@pytest.fixture
def watch(log: Log, group: str, topic: str, clock: Clock) -> RetentionWatch:
    return RetentionWatch(log, group, topic, clock)


def test_what_is_read_without_a_break_is_no_loss(
    log: Log, topic: str, group: str, watch: RetentionWatch
) -> None:
    append(log, topic, 5)
    with log.consumer(group, [topic]) as consumer:
        watch.saw(read_until(consumer, 5))
        assert watch.check(consumer.assignment()) == []
        append(log, topic, 5)
        watch.saw(read_until(consumer, 5))
        assert watch.check(consumer.assignment()) == []


def test_a_member_behind_retention_goes_on_at_the_beginning_and_the_loss_is_counted_once(
    log: Log, topic: str, group: str, watch: RetentionWatch
) -> None:
    place = TopicPartition(topic, 0)
    append(log, topic, 10)
    with log.consumer(group, [topic]) as consumer:
        watch.saw(read_until(consumer, 10)[:4])
        consumer.commit({place: 4})
    append(log, topic, 10)
    remove_before(log, topic, 15)
    watch.forget([place])  # as when it was handed over
    with log.consumer(group, [topic]) as consumer:
        records = read_until(consumer, 5)
        assert [record.offset for record in records] == [15, 16, 17, 18, 19]
        watch.saw(records)
        assert watch.check(consumer.assignment()) == [LostStretch(place, 4, 15, 20)]
        assert watch.check(consumer.assignment()) == []


def test_a_loss_while_reading_is_counted(log: Log, topic: str, group: str, watch: RetentionWatch) -> None:
    place = TopicPartition(topic, 0)
    append(log, topic, 3)
    with log.consumer(group, [topic]) as consumer:
        watch.saw(read_until(consumer, 3))
        assert watch.check(consumer.assignment()) == []
        consumer.pause([place])
        append(log, topic, 7)
        remove_before(log, topic, 8)
        consumer.seek(place, 3)  # what a client fetched before it was removed is no loss
        consumer.resume([place])
        watch.saw(read_until(consumer, 2))
        assert watch.check(consumer.assignment()) == [LostStretch(place, 3, 8, 10)]


def test_a_loss_is_counted_though_nothing_is_left_to_read(
    log: Log, topic: str, group: str, watch: RetentionWatch, clock: Clock
) -> None:
    place = TopicPartition(topic, 0)
    append(log, topic, 6)
    remove_before(log, topic, 6)
    with log.consumer(group, [topic]) as consumer:
        poll_until(lambda: bool(consumer.assignment()), consumer)
        lost = []
        for _ in range(4):
            watch.saw(consumer.poll(10, 0.1))
            lost += watch.check(consumer.assignment())
            clock.now_s += 6
    assert lost == [LostStretch(place, 0, 6, 6)]


def test_what_another_member_has_read_meanwhile_is_no_loss(
    log: Log, topic: str, group: str, watch: RetentionWatch
) -> None:
    place = TopicPartition(topic, 0)
    append(log, topic, 10)
    with log.consumer(group, [topic]) as consumer:
        watch.saw(read_until(consumer, 10)[:2])
        watch.check(consumer.assignment())
        consumer.commit({place: 9})
    remove_before(log, topic, 9)
    watch.forget([place])
    with log.consumer(group, [topic]) as consumer:
        watch.saw(read_until(consumer, 1))
        assert watch.check(consumer.assignment()) == []


def test_a_jump_that_retention_did_not_make_is_no_loss(log: Log, topic: str, watch: RetentionWatch) -> None:
    append(log, topic, 10)
    records = list(log.read(topic))
    watch.saw(records[:3])
    watch.saw(records[7:])  # as where Kafka has numbered the markers of transactions
    assert watch.check([TopicPartition(topic, 0)]) == []


def test_a_partition_without_records_is_no_loss(log: Log, topic: str, clock: Clock) -> None:
    watch = RetentionWatch(log, f"group-{uuid.uuid4().hex}", topic, clock)
    for _ in range(4):
        watch.saw([])
        assert watch.check([TopicPartition(topic, 0)]) == []
        clock.now_s += 6
