"""What every log must do; runs on SQLite always, and on a real Kafka where there is one."""

import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable

import pytest

from cluster.errors import BadConfig, LogUnavailable
from cluster.log import Consumer, Log, Topic, TopicPartition
from cluster.log.open import open_log
from cluster.log.partitioner import partition_for_key
from cluster.log.protocol import MAX_RECORD_BYTES
from pipeline.errors import BadInput
from tests.cluster.log.conftest import poll_until, read_until
from tests.cluster.log.workers import consume_for_ever

MakeLog = Callable[[], Log]
MakeTopic = Callable[[int], str]


def produce(log: Log, topic: str, values: list[bytes], partition: int | None = 0) -> None:
    with log.producer() as producer:
        for value in values:
            producer.produce(topic, value, partition=partition)


def test_records_of_a_partition_come_in_the_order_they_were_produced(
    log: Log, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(4)
    with log.producer() as producer:
        for number in range(300):
            producer.produce(topic, str(number).encode(), key=b"camera-%d" % (number % 7))
    with log.consumer(group, [topic]) as consumer:
        records = read_until(consumer, 300)
    for partition in range(4):
        mine = [record for record in records if record.partition == partition]
        assert [record.offset for record in mine] == list(range(len(mine)))
        assert [int(record.value) for record in mine] == sorted(int(record.value) for record in mine)
    assert sorted(int(record.value) for record in records) == list(range(300))


def test_a_key_lands_in_its_murmur2_partition(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(16)
    keys = [b"camera-%d" % number for number in range(40)]
    with log.producer() as producer:
        for key in keys:
            producer.produce(topic, b"", key=key)
    placed = {record.key: record.partition for record in log.read(topic)}
    assert placed == {key: partition_for_key(key, 16) for key in keys}


def test_records_without_a_key_go_round(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(3)
    produce(log, topic, [b"x"] * 9, partition=None)
    assert set(log.end_offsets(topic).values()) == {3}


def test_values_keys_and_headers_come_back_byte_for_byte(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(1)
    every_byte = bytes(range(256))
    headers = (("ce_id", b"7"), ("binary", every_byte), ("ce_id", b"again"), ("empty", b""))
    before_ms = int(1000 * time.time()) - 1
    with log.producer() as producer:
        producer.produce(topic, every_byte * 300, key=every_byte, headers=headers)
        producer.produce(topic, b"")
    first, second = log.read(topic)
    assert (first.topic, first.partition, first.offset) == (topic, 0, 0)
    assert (first.key, first.value, first.headers) == (every_byte, every_byte * 300, headers)
    assert before_ms <= first.timestamp_ms <= 1000 * time.time() + 1000
    assert (second.key, second.value, second.headers, second.offset) == (None, b"", (), 1)


def test_a_record_of_the_largest_size_passes(log: Log, make_topic: MakeTopic, group: str) -> None:
    topic = make_topic(1)
    value = os.urandom(MAX_RECORD_BYTES - 3)
    with log.producer() as producer:
        producer.produce(topic, value, key=b"cam")
    with log.consumer(group, [topic]) as consumer:
        assert read_until(consumer, 1)[0].value == value


def test_a_larger_record_is_refused_by_name_and_the_producer_goes_on(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(1)
    with log.producer() as producer:
        with pytest.raises(BadInput, match=r"8000001 bytes.*smaller image"):
            producer.produce(topic, b"x" * (MAX_RECORD_BYTES + 1))
        producer.produce(topic, b"next")
    assert [record.value for record in log.read(topic)] == [b"next"]


def test_a_restarted_member_resumes_exactly_after_its_commit(
    make_log: MakeLog, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(1)
    produce(make_log(), topic, [b"%d" % number for number in range(10)])
    with make_log().consumer(group, [topic]) as consumer:
        assert len(read_until(consumer, 7)) == 7
        consumer.commit({TopicPartition(topic, 0): 4})
    with make_log().consumer(group, [topic]) as consumer:
        assert [record.value for record in read_until(consumer, 6)] == [
            b"%d" % number for number in range(4, 10)
        ]


def test_what_was_not_committed_comes_again(make_log: MakeLog, make_topic: MakeTopic, group: str) -> None:
    topic = make_topic(2)
    produce(make_log(), topic, [b"a", b"b"], partition=1)
    for _ in range(2):
        with make_log().consumer(group, [topic]) as consumer:
            assert [record.value for record in read_until(consumer, 2)] == [b"a", b"b"]


def test_committed_offsets_are_known_by_group_and_only_where_committed(
    log: Log, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(3)
    with log.consumer(group, [topic]) as consumer:
        poll_until(lambda: len(consumer.assignment()) == 3, consumer)
        consumer.commit({TopicPartition(topic, 2): 5, TopicPartition(topic, 0): 0})
        consumer.commit({TopicPartition(topic, 2): 6})
    assert log.committed(group, topic) == {TopicPartition(topic, 0): 0, TopicPartition(topic, 2): 6}
    assert log.committed(f"{group}-other", topic) == {}


def test_groups_read_independently(log: Log, make_topic: MakeTopic, group: str) -> None:
    topic = make_topic(1)
    produce(log, topic, [b"a"])
    with log.consumer(group, [topic]) as one, log.consumer(f"{group}-other", [topic]) as other:
        assert [record.value for record in read_until(one, 1)] == [b"a"]
        assert [record.value for record in read_until(other, 1)] == [b"a"]


def test_one_consumer_reads_several_topics(log: Log, make_topic: MakeTopic, group: str) -> None:
    topics = [make_topic(2), make_topic(1)]
    for topic in topics:
        produce(log, topic, [topic.encode()])
    with log.consumer(group, topics) as consumer:
        assert {record.topic for record in read_until(consumer, 2)} == set(topics)
        assert len(consumer.assignment()) == 3


def test_a_partition_is_revoked_by_one_member_before_another_gets_it(
    make_log: MakeLog, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(4)
    produce(make_log(), topic, [b"x"] * 20, partition=None)
    events: list[tuple[str, str, frozenset[TopicPartition]]] = []

    def note(who: str, what: str) -> Callable[[frozenset[TopicPartition]], None]:
        return lambda partitions: events.append((who, what, partitions))

    first = make_log().consumer(group, [topic], on_assigned=note("a", "+"), on_revoked=note("a", "-"))
    poll_until(lambda: len(first.assignment()) == 4, first)
    second = make_log().consumer(group, [topic], on_assigned=note("b", "+"), on_revoked=note("b", "-"))
    poll_until(lambda: len(first.assignment()) == len(second.assignment()) == 2, first, second)

    assert first.assignment().isdisjoint(second.assignment())
    owners: dict[TopicPartition, str] = {}
    for who, what, partitions in events:
        for partition in partitions:
            if what == "+":
                assert partition not in owners, f"{who} got {partition} while {owners[partition]} had it"
                owners[partition] = who
            else:
                assert owners.pop(partition) == who
    moved = sum(len(partitions) for who, what, partitions in events if (who, what) == ("a", "-"))
    assert moved == 2  # cooperative: what stays is not interrupted

    first.close()
    poll_until(lambda: len(second.assignment()) == 4, second)
    second.close()
    assert events[-1] == ("b", "-", frozenset(TopicPartition(topic, number) for number in range(4)))


def test_a_member_may_commit_what_it_is_handing_over(
    make_log: MakeLog, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(2)
    produce(make_log(), topic, [b"x"] * 10, partition=None)

    def commit(partitions: frozenset[TopicPartition]) -> None:
        if not handed_over:
            first.commit({partition: first_read[partition] for partition in partitions})
        handed_over.update(partitions)

    handed_over: set[TopicPartition] = set()
    first_read: dict[TopicPartition, int] = {}
    first = make_log().consumer(group, [topic], on_revoked=commit)
    for record in read_until(first, 10):
        first_read[record.topic_partition] = record.offset + 1
    second = make_log().consumer(group, [topic])
    poll_until(lambda: len(second.assignment()) == 1, first, second)
    (moved,) = second.assignment()
    assert handed_over == {moved}
    assert make_log().committed(group, topic) == {moved: 5}
    assert second.position(moved) == 5
    first.close()
    second.close()


def test_seeking_inside_on_assigned_decides_where_reading_starts(
    log: Log, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(1)
    produce(log, topic, [b"0", b"1", b"2", b"3"])

    def restore(partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions:
            consumer.seek(partition, 2)

    consumer = log.consumer(group, [topic], on_assigned=restore)
    with consumer:
        assert [record.value for record in read_until(consumer, 2)] == [b"2", b"3"]


def test_an_error_of_a_callback_comes_out_of_poll(log: Log, make_topic: MakeTopic, group: str) -> None:
    topic = make_topic(1)
    produce(log, topic, [b"kept"])

    def refuse(_: frozenset[TopicPartition]) -> None:
        raise KeyError("no snapshot")

    with log.consumer(group, [topic], on_assigned=refuse) as consumer:
        with pytest.raises(KeyError, match="no snapshot"):
            poll_until(lambda: False, consumer)
        assert [record.value for record in read_until(consumer, 1)] == [b"kept"]


def test_a_partition_handed_over_can_no_longer_be_committed(
    make_log: MakeLog, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(2)
    first = make_log().consumer(group, [topic])
    poll_until(lambda: len(first.assignment()) == 2, first)
    second = make_log().consumer(group, [topic])
    poll_until(lambda: len(first.assignment()) == len(second.assignment()) == 1, first, second)
    (moved,) = second.assignment()
    (kept,) = first.assignment()
    with pytest.raises(LogUnavailable, match=f"{topic}/{moved.partition}.*not owned"):
        first.commit({kept: 1, moved: 1})
    assert make_log().committed(group, topic) == {}
    first.close()
    second.close()


def test_a_member_that_stopped_polling_loses_all_and_its_commit_is_refused(
    make_log: MakeLog, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(2)
    lost: list[frozenset[TopicPartition]] = []
    zombie = make_log().consumer(group, [topic], on_revoked=lost.append)
    poll_until(lambda: len(zombie.assignment()) == 2, zombie)
    successor = make_log().consumer(group, [topic])
    poll_until(lambda: len(successor.assignment()) == 2, successor)
    successor.commit({TopicPartition(topic, 0): 9})
    with pytest.raises(LogUnavailable):
        zombie.commit({TopicPartition(topic, 0): 3})
    assert make_log().committed(group, topic) == {TopicPartition(topic, 0): 9}

    poll_until(lambda: len(zombie.assignment()) == len(successor.assignment()) == 1, zombie, successor)
    assert lost[0] == {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    zombie.close()
    successor.close()


def test_the_partitions_of_a_killed_process_move(
    make_log: MakeLog, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(4)
    log = make_log()
    produce(log, topic, [b"x"] * 8, partition=None)
    spawn = multiprocessing.get_context("spawn")
    member = spawn.Process(target=consume_for_ever, args=(log.url, group, topic), daemon=True)
    member.start()
    while len(log.committed(group, topic)) < 4:
        assert member.is_alive()
        time.sleep(0.05)
    assert member.pid is not None
    with log.consumer(group, [topic]) as survivor:
        poll_until(lambda: len(survivor.assignment()) == 2, survivor)
        os.kill(member.pid, signal.SIGKILL)
        killed_s = time.monotonic()
        poll_until(lambda: len(survivor.assignment()) == 4, survivor)
        assert time.monotonic() - killed_s < 12
    member.join()


def test_seek_and_position_move_through_a_partition(log: Log, make_topic: MakeTopic, group: str) -> None:
    topic = make_topic(1)
    partition = TopicPartition(topic, 0)
    produce(log, topic, [b"0", b"1", b"2", b"3"])
    with log.consumer(group, [topic]) as consumer:
        with pytest.raises(BadInput, match="not assigned"):
            consumer.position(partition)
        read_until(consumer, 2)
        assert consumer.position(partition) == 2
        consumer.seek(partition, 1)
        assert consumer.position(partition) == 1
        assert [record.value for record in read_until(consumer, 3)] == [b"1", b"2", b"3"]
        assert consumer.position(partition) == 4
        consumer.seek(partition, 99)
        assert read_until(consumer, 1)[0].offset == 0
        with pytest.raises(BadInput, match="not assigned"):
            consumer.seek(TopicPartition("another", 0), 1)
        with pytest.raises(BadInput, match="offsets start at 0"):
            consumer.seek(partition, -1)


def test_a_paused_partition_is_kept_and_continues_where_it_stopped(
    log: Log, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(2)
    paused = TopicPartition(topic, 0)
    produce(log, topic, [b"0", b"1"], partition=0)
    produce(log, topic, [b"2", b"3"], partition=1)
    with log.consumer(group, [topic]) as consumer:
        poll_until(lambda: len(consumer.assignment()) == 2, consumer)
        consumer.seek(paused, 0)
        consumer.seek(TopicPartition(topic, 1), 0)
        consumer.pause([paused])
        assert [record.value for record in read_until(consumer, 2)] == [b"2", b"3"]
        assert consumer.poll(10, 0.3) == []
        assert paused in consumer.assignment()
        consumer.resume([paused])
        assert [record.value for record in read_until(consumer, 2)] == [b"0", b"1"]


def test_a_backlog_in_one_partition_does_not_hold_up_the_others(
    log: Log, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(3)
    produce(log, topic, [b"backlog"] * 200, partition=0)
    produce(log, topic, [b"fresh"] * 3, partition=1)
    produce(log, topic, [b"fresh"] * 3, partition=2)
    with log.consumer(group, [topic]) as consumer:
        records = read_until(consumer, 12)
    assert [record.value for record in records].count(b"fresh") >= 3


def test_poll_returns_as_soon_as_a_record_comes_and_empty_when_none_does(
    log: Log, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(1)
    with log.consumer(group, [topic]) as consumer, log.producer() as producer:
        poll_until(lambda: len(consumer.assignment()) == 1, consumer)
        started_s = time.monotonic()
        assert consumer.poll(10, 0.3) == []
        assert time.monotonic() - started_s >= 0.29
        producer.produce(topic, b"x")
        started_s = time.monotonic()
        assert [record.value for record in consumer.poll(10, 10.0)] == [b"x"]
        assert time.monotonic() - started_s < 5


def test_offsets_span_what_was_produced(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(2)
    assert set(log.end_offsets(topic).values()) == {0}
    produce(log, topic, [b"x"] * 5, partition=1)
    assert log.beginning_offsets(topic) == {TopicPartition(topic, 0): 0, TopicPartition(topic, 1): 0}
    assert log.end_offsets(topic) == {TopicPartition(topic, 0): 0, TopicPartition(topic, 1): 5}


def test_an_offset_is_found_by_the_time_it_was_appended(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(2)
    partition = TopicPartition(topic, 0)
    for _ in range(3):
        produce(log, topic, [b"x"])
        time.sleep(0.02)
    times = [record.timestamp_ms for record in log.read(topic)]
    assert log.offsets_for_time(topic, 0) == {partition: 0, TopicPartition(topic, 1): 0}
    assert log.offsets_for_time(topic, times[1])[partition] == 1
    assert log.offsets_for_time(topic, times[1] + 1)[partition] == 2
    assert log.offsets_for_time(topic, times[2] + 1) == {partition: 3, TopicPartition(topic, 1): 0}


def test_read_yields_a_topic_from_where_it_is_told(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(2)
    produce(log, topic, [b"%d" % number for number in range(150)], partition=0)
    produce(log, topic, [b"other"], partition=1)
    start = {TopicPartition(topic, 0): 145}
    assert [record.value for record in log.read(topic, start)] == [
        b"145", b"146", b"147", b"148", b"149", b"other",
    ]  # fmt: skip
    reading = log.read(topic)
    produce(log, topic, [b"later"])
    assert len(list(reading)) == 151


def test_topics_are_created_once_and_keep_their_partition_count(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(2)
    produce(log, topic, [b"kept"])
    log.create_topics([Topic(name=topic, num_partitions=2)])
    assert [record.value for record in log.read(topic)] == [b"kept"]
    with pytest.raises(BadConfig, match="exists with 2 partitions, the configuration says 3"):
        log.create_topics([Topic(name=topic, num_partitions=3)])


@pytest.fixture
def compacted(log: Log) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    log.create_topics([Topic(name=name, num_partitions=1, compacted=True)])
    return name


def teach(log: Log, topic: str, *pairs: tuple[bytes, bytes]) -> None:
    for key, value in pairs:
        with log.producer() as producer:
            producer.produce(topic, value, key=key)


def test_a_compacted_topic_keeps_the_last_record_of_each_key_at_its_offset(log: Log, compacted: str) -> None:
    teach(log, compacted, (b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"4"), (b"a", b"5"))
    offsets = [record.offset for record in log.read(compacted)]
    assert offsets == sorted(offsets)
    last = {record.key: (record.offset, record.value) for record in log.read(compacted)}
    assert last == {b"b": (1, b"2"), b"c": (3, b"4"), b"a": (4, b"5")}
    assert log.end_offsets(compacted) == {TopicPartition(compacted, 0): 5}
    assert [record.offset for record in log.read(compacted, {TopicPartition(compacted, 0): 3})] == [3, 4]


def test_a_group_reads_a_compacted_topic_to_its_end_and_resumes_after_its_commit(
    make_log: MakeLog, log: Log, compacted: str, group: str
) -> None:
    partition = TopicPartition(compacted, 0)
    teach(log, compacted, (b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    with make_log().consumer(group, [compacted]) as consumer:
        poll_until(lambda: consumer.assignment() == {partition}, consumer)
        consumer.seek(partition, 0)
        assert read_until_value(consumer, b"3")[-2:] == [b"2", b"3"]
        consumer.commit({partition: consumer.position(partition)})
    teach(log, compacted, (b"a", b"4"), (b"b", b"5"), (b"a", b"6"))
    with make_log().consumer(group, [compacted]) as consumer:
        assert read_until_value(consumer, b"6")[-2:] == [b"5", b"6"]
        assert consumer.position(partition) == 6


def read_until_value(consumer: Consumer, value: bytes) -> list[bytes]:
    values: list[bytes] = []
    while value not in values:
        values += [record.value for record in read_until(consumer, 1)]
    return values


def test_a_compacted_topic_refuses_what_has_no_key_and_the_producer_goes_on(log: Log, compacted: str) -> None:
    with log.producer() as producer:
        with pytest.raises(BadInput, match=f"'{compacted}' has no key.*give it one"):
            producer.produce(compacted, b"whose?")
        producer.produce(compacted, b"mine", key=b"me")
    assert [record.value for record in log.read(compacted)] == [b"mine"]


def test_a_topic_is_not_taken_for_one_that_keeps_other_records(
    log: Log, compacted: str, make_topic: MakeTopic
) -> None:
    log.create_topics([Topic(name=compacted, num_partitions=1, compacted=True)])
    with pytest.raises(
        BadConfig, match=r"is compacted.* needs one that keeps every record.*another topic prefix"
    ):
        log.create_topics([Topic(name=compacted, num_partitions=1)])
    topic = make_topic(1)
    with pytest.raises(BadConfig, match="exists and keeps every record"):
        log.create_topics([Topic(name=topic, num_partitions=1, compacted=True)])
    with pytest.raises(BadConfig, match=r"compacted.* has a retention of 5 bytes"):
        log.create_topics([Topic(name="new", num_partitions=1, compacted=True, retention_bytes=5)])


@pytest.mark.parametrize(
    ("name", "num_partitions"), [("a/b", 1), ("", 1), ("..", 1), ("x" * 250, 1), ("topic", 0)]
)
def test_a_topic_that_kafka_would_refuse_is_refused(log: Log, name: str, num_partitions: int) -> None:
    with pytest.raises(BadConfig):
        log.create_topics([Topic(name=name, num_partitions=num_partitions)])


def test_an_unknown_topic_or_partition_is_named(log: Log, make_topic: MakeTopic, group: str) -> None:
    topic = make_topic(2)
    with log.producer() as producer:
        with pytest.raises(BadInput, match="'nowhere' does not exist"):
            producer.produce("nowhere", b"")
        with pytest.raises(BadInput, match=r"partitions 0\.\.1, got 2"):
            producer.produce(topic, b"", partition=2)
    for question in (
        log.end_offsets,
        log.beginning_offsets,
        log.read,
        lambda name: log.consumer(group, [name]),
    ):
        with pytest.raises(BadInput, match="'nowhere' does not exist"):
            question("nowhere")


def test_closing_twice_is_harmless_and_closed_means_closed(
    log: Log, make_topic: MakeTopic, group: str
) -> None:
    topic = make_topic(1)
    producer, consumer = log.producer(), log.consumer(group, [topic])
    producer.produce(topic, b"flushed by close")
    for _ in range(2):
        producer.close()
        consumer.close()
    assert [record.value for record in log.read(topic)] == [b"flushed by close"]
    with pytest.raises(RuntimeError, match="closed"):
        producer.produce(topic, b"")
    with pytest.raises(RuntimeError, match="closed"):
        consumer.poll(1, 0)


def test_the_url_opens_the_same_log(log: Log, make_topic: MakeTopic) -> None:
    topic = make_topic(1)
    produce(log, topic, [b"here"])
    other = open_log(log.url)
    assert [record.value for record in other.read(topic)] == [b"here"]
    other.close()


def test_with_room_for_few_every_partition_has_its_turn_before_one_has_another(
    log: Log, make_topic: MakeTopic, group: str
) -> None:
    if "," in log.url:
        pytest.skip("several brokers answer one after the other, and only what is in hand can have its turn")
    topic = make_topic(16)
    busy = range(0, 16, 2)
    for partition in busy:
        produce(log, topic, [b"x"] * 40, partition=partition)
    with log.consumer(group, [topic]) as consumer:
        poll_until(lambda: len(consumer.assignment()) == 16, consumer)
        for partition in consumer.assignment():
            consumer.seek(partition, 0)
        read_until(consumer, 40)
        first, second = consumer.poll(4, 5.0), consumer.poll(4, 5.0)
    assert sorted(record.partition for record in [*first, *second]) == [*busy]
