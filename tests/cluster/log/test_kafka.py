import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.errors import LogUnavailable
from cluster.log import Log, Topic
from cluster.log.kafka import KafkaLog
from cluster.log.kafka.connection import KafkaTimeouts
from cluster.log.sqlite import SqliteLog
from tests.cluster.brokers import ROOT, OwnBroker, free_port, jars_are_there
from tests.cluster.log.conftest import MakeKafkaLog, poll_until


@pytest.mark.parametrize(
    "ask",
    [
        lambda log: log.producer(),
        lambda log: log.consumer("g", ["frames"]),
        lambda log: log.create_topics([Topic(name="frames", num_partitions=1)]),
        lambda log: log.end_offsets("frames"),
    ],
)
def test_a_broker_that_is_down_is_named_within_the_time_given(ask: Callable[[Log], object]) -> None:
    server = f"127.0.0.1:{free_port()}"
    log = KafkaLog([server], timeouts=KafkaTimeouts(start_s=0.5))
    started_s = time.monotonic()
    with pytest.raises(
        LogUnavailable, match=rf"no Kafka broker at {server} within 0\.5 s .*refused.*start it"
    ):
        ask(log)
    assert time.monotonic() - started_s < 3


def test_a_port_that_does_not_speak_kafka_is_named_within_the_time_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = f"127.0.0.1:{mute.getsockname()[1]}"
        log = KafkaLog([server], timeouts=KafkaTimeouts(start_s=0.5, request_s=1.0))
        started_s = time.monotonic()
        with pytest.raises(LogUnavailable, match=server):
            log.producer()
        with pytest.raises(LogUnavailable, match=server):
            log.end_offsets("frames")
        assert time.monotonic() - started_s < 10


def test_the_start_script_does_not_touch_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = kafka_script("start", port, tmp_path)
    assert done.returncode == 1
    assert f"port {port} is in use by another program" in done.stderr


def test_the_start_script_says_what_is_not_installed(tmp_path: Path) -> None:
    done = kafka_script("fetch", 9092, tmp_path, path="")
    assert done.returncode == 1
    assert "mvn is not installed: install Maven" in done.stderr


def kafka_script(
    command: str, port: int, folder: Path, path: str | None = None
) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, str(ROOT / "scripts" / "kafka.py"), command, "--port", str(port)]
    environment = os.environ | ({} if path is None else {"PATH": path})
    return subprocess.run(
        [*arguments, "--dir", str(folder)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.kafka
def test_both_logs_give_the_same_records_the_same_places(
    kafka_log: MakeKafkaLog, tmp_path: Path, group: str
) -> None:
    logs: list[Log] = [kafka_log(), SqliteLog(tmp_path / "log.db")]
    places = []
    for log in logs:
        log.create_topics([Topic(name=group, num_partitions=64)])
        with log.producer() as producer:
            for number in range(200):
                key = None if number % 5 == 0 else f"camera-{number % 23}".encode()
                producer.produce(group, str(number).encode(), key=key, headers=(("n", b"%d" % number),))
        places.append(
            [(item.partition, item.offset, item.key, item.value, item.headers) for item in log.read(group)]
        )
        log.close()
    assert places[0] == places[1]


@pytest.mark.kafka
def test_every_group_that_starts_gets_its_partitions_at_once(kafka_log: MakeKafkaLog, group: str) -> None:
    log = kafka_log()
    for number in range(12):  # the client's race left one start in ten without partitions
        topic = f"{group}-{number}"
        log.create_topics([Topic(name=topic, num_partitions=3)])
        with log.consumer(topic, [topic]) as consumer:
            poll_until(lambda consumer=consumer: len(consumer.assignment()) == 3, consumer, timeout_s=5)
    log.close()


@pytest.fixture(scope="module")
def mortal_broker(kafka_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    if not jars_are_there():
        pytest.skip("needs Kafka's jars to start a second broker: run `python scripts/kafka.py fetch`")
    broker = OwnBroker(free_port(), tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.run("stop")
    assert not (broker.data / "kafka.pid").exists()


@pytest.fixture
def own_broker(mortal_broker: OwnBroker) -> OwnBroker:
    """A running broker that a test may kill; the shared one is left alone."""
    mortal_broker.run("start")
    return mortal_broker


@pytest.mark.kafka
def test_a_killed_broker_costs_no_record_and_all_goes_on_when_it_is_back(own_broker: OwnBroker) -> None:
    log = KafkaLog([f"127.0.0.1:{own_broker.port}"])
    log.create_topics([Topic(name="both", num_partitions=2)])
    done = threading.Event()
    produced: list[bytes] = []

    def produce() -> None:
        with log.producer() as producer:
            while not done.is_set():
                value = b"%d" % len(produced)
                producer.produce("both", value, partition=len(produced) % 2)
                produced.append(value)
                time.sleep(0.02)

    received: list[bytes] = []
    consumer = log.consumer("g", ["both"])

    def consume_until(condition: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, f"{len(received)} of {len(produced)} records came"
            try:
                records = consumer.poll(100, 0.2)
                received.extend(record.value for record in records)
                if records:
                    consumer.commit({record.topic_partition: record.offset + 1 for record in records})
            except LogUnavailable:
                time.sleep(0.1)

    writer = threading.Thread(target=produce)
    writer.start()
    consume_until(lambda: len(received) > 20, 30)
    own_broker.kill()
    killed_s = time.monotonic()
    consume_until(lambda: time.monotonic() > killed_s + 5, 30)
    with pytest.raises(LogUnavailable, match=str(own_broker.port)):
        log.end_offsets("both")
    own_broker.run("start")
    num_before = len(received)
    consume_until(lambda: len(received) > num_before + 200, 60)
    done.set()
    writer.join()
    consume_until(lambda: len(set(received)) == len(produced), 30)
    consumer.close()
    kept = [int(record.value) for record in log.read("both")]
    log.close()
    assert [value for value in kept if value % 2 == 0] == list(range(0, len(produced), 2))
    assert [value for value in kept if value % 2 == 1] == list(range(1, len(produced), 2))


@pytest.mark.kafka
def test_a_producer_says_what_is_not_durable_and_never_forgets_what_it_gave_up(own_broker: OwnBroker) -> None:
    timeouts = KafkaTimeouts(start_s=2, request_s=1, delivery_s=4, block_s=1)
    log = KafkaLog([f"127.0.0.1:{own_broker.port}"], timeouts=timeouts)
    log.create_topics([Topic(name="frames", num_partitions=1)])
    producer = log.producer()
    producer.produce("frames", b"durable")
    producer.flush()
    own_broker.kill()
    producer.produce("frames", b"x" * 7_000_000)
    producer.produce("frames", b"x")
    with pytest.raises(
        LogUnavailable, match=rf"2 records are not yet durable on Kafka at .*{own_broker.port}"
    ):
        producer.flush(0.5)
    with pytest.raises(LogUnavailable, match=r"has taken nothing for 1 s and \d+ records wait"):
        produce_for_ever(producer.produce)
    with pytest.raises(LogUnavailable, match="lost to this producer"):
        producer.flush(20)
    with pytest.raises(LogUnavailable, match="lost to this producer"):
        producer.produce("frames", b"x")
    started_s = time.monotonic()
    with pytest.raises(LogUnavailable, match="lost to this producer"):
        producer.close()
    assert time.monotonic() - started_s < 8
    log.close()


def produce_for_ever(produce: Callable[[str, bytes], None]) -> None:
    while True:
        produce("frames", b"x" * 7_000_000)
