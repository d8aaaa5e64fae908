"""Three real brokers with TLS and a user: who gets in, and that one of them may die."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.errors import LogUnavailable
from cluster.log import Topic
from cluster.log.kafka import KafkaLog
from cluster.log.kafka.connection import KafkaTimeouts
from cluster.log.security import KafkaSecurity
from scripts.kafka_secrets import Authority
from tests.cluster.brokers import OwnCluster, free_ports, jars_are_there
from tests.cluster.log.conftest import read_until

pytestmark = pytest.mark.kafka
RECOVERY_S = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnCluster]:
    if not jars_are_there():
        pytest.skip("needs Kafka's jars to start brokers: run `python scripts/kafka.py fetch`")
    started = OwnCluster(free_ports(9), tmp_path_factory.mktemp("cluster"))
    try:
        started.run("start")
        yield started
    finally:
        started.run("stop")


@pytest.fixture
def certified(cluster: OwnCluster) -> KafkaSecurity:
    """The client's own certificate instead of a user."""
    return KafkaSecurity(
        security="tls", ca_file=cluster.file("ca.pem"),
        certificate_file=cluster.file("client.pem"), key_file=cluster.file("client.key"),
    )  # fmt: skip


def refusal(server: str, security: KafkaSecurity) -> str:
    started_s = time.monotonic()
    with pytest.raises(LogUnavailable) as raised:
        KafkaLog([server], security=security).end_offsets("frames")
    assert time.monotonic() - started_s < 5, "waiting does not help, so it should not be waited"
    assert server in str(raised.value)
    return str(raised.value)


def test_a_user_with_a_password_produces_and_consumes_on_all_brokers(cluster: OwnCluster, group: str) -> None:
    log = KafkaLog(cluster.servers, security=cluster.security())
    log.create_topics([Topic(name=group, num_partitions=6)])
    with log.producer() as producer:
        for number in range(60):
            producer.produce(group, b"%d" % number, partition=number % 6)
    with log.consumer(group, [group]) as consumer:
        records = read_until(consumer, 60)
        consumer.commit({record.topic_partition: 10 for record in records})
    assert sorted(int(record.value) for record in records) == list(range(60))
    assert set(log.committed(group, group).values()) == {10}
    log.close()


def test_a_topic_that_was_created_is_known_to_whichever_broker_is_asked(
    cluster: OwnCluster, group: str
) -> None:
    log = KafkaLog(cluster.servers, security=cluster.security())
    others = [KafkaLog([server], security=cluster.security()) for server in cluster.servers]
    for other in others:
        other.create_topics([Topic(name=f"{group}-first", num_partitions=1)])  # connects
    for number in range(20):
        topic = f"{group}-{number}"
        log.create_topics([Topic(name=topic, num_partitions=3)])
        assert [len(other.end_offsets(topic)) for other in others] == [3, 3, 3]
    for one in (log, *others):
        one.close()


def test_a_client_certificate_lets_in_without_a_user(
    cluster: OwnCluster, certified: KafkaSecurity, group: str
) -> None:
    log = KafkaLog([cluster.certified_server], security=certified)
    log.create_topics([Topic(name=group, num_partitions=1)])
    with log.producer() as producer:
        producer.produce(group, b"here")
    assert [record.value for record in log.read(group)] == [b"here"]
    log.close()


def test_the_password_is_written_into_no_log(
    cluster: OwnCluster, caplog: pytest.LogCaptureFixture, group: str
) -> None:
    caplog.set_level(logging.DEBUG)
    log = KafkaLog(cluster.servers, security=cluster.security())
    log.create_topics([Topic(name=group, num_partitions=1)])
    log.close()
    assert "sasl_plain_password" in caplog.text  # kafka-python does log its options
    assert Path(cluster.file("password")).read_text().strip() not in caplog.text


def test_a_wrong_password_is_told_at_once(cluster: OwnCluster, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("guessed")
    (tmp_path / "password").chmod(0o600)
    security = replace(cluster.security(), password_file=str(tmp_path / "password"))
    said = refusal(cluster.servers[0], security)
    assert "does not let user 'camweave' in" in said
    assert f"the password in {tmp_path / 'password'} is wrong" in said
    assert "guessed" not in said


def test_a_user_who_is_not_known_is_told_at_once(cluster: OwnCluster) -> None:
    said = refusal(cluster.servers[0], replace(cluster.security(), user="mallory"))
    assert "does not let user 'mallory' in" in said


def test_a_mechanism_that_is_not_offered_is_answered_with_those_that_are(cluster: OwnCluster) -> None:
    said = refusal(cluster.servers[0], replace(cluster.security(), mechanism="scram-sha-256"))
    assert "does not know scram-sha-256: set `mechanism` to one of scram-sha-512" in said


def test_brokers_of_an_authority_that_is_not_trusted_get_no_password(
    cluster: OwnCluster, tmp_path: Path
) -> None:
    (tmp_path / "other.pem").write_bytes(Authority("other").pem())
    said = refusal(cluster.servers[0], replace(cluster.security(), ca_file=str(tmp_path / "other.pem")))
    assert f"signed by none of ca_file {tmp_path / 'other.pem'}" in said


def test_a_client_without_a_user_or_a_certificate_is_told_what_is_missing(
    cluster: OwnCluster, certified: KafkaSecurity
) -> None:
    anonymous = KafkaSecurity(security="tls", ca_file=cluster.file("ca.pem"))
    assert "asks for a user: set `security: sasl_tls`" in refusal(cluster.servers[0], anonymous)
    assert "asks for a client certificate" in refusal(cluster.certified_server, anonymous)
    assert "it knows no users there" in refusal(
        cluster.certified_server,
        replace(
            cluster.security(),
            certificate_file=certified.certificate_file,
            key_file=certified.key_file,
        ),
    )
    assert "it speaks TLS there" in refusal(cluster.servers[0], KafkaSecurity())


def test_a_certificate_that_the_broker_does_not_trust_is_named(
    cluster: OwnCluster, certified: KafkaSecurity, tmp_path: Path
) -> None:
    certificate, key = Authority("other").sign("client")
    (tmp_path / "client.pem").write_bytes(certificate + key)
    (tmp_path / "client.pem").chmod(0o600)
    said = refusal(
        cluster.certified_server,
        replace(certified, certificate_file=str(tmp_path / "client.pem"), key_file=""),
    )
    assert f"refuses this client's certificate, {tmp_path / 'client.pem'}" in said


class Stream:
    """Produces numbers in a thread and consumes them in the caller's, and remembers what was acknowledged."""

    def __init__(self, log: KafkaLog, topic: str) -> None:
        self.log = log
        self.topic = topic
        self.acknowledged = 0
        self.longest_pause_s = 0.0
        self.received: list[bytes] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._produce)
        self._thread.start()

    def _produce(self) -> None:
        last_s = time.monotonic()
        with self.log.producer() as producer:
            while not self._done.is_set():
                for number in range(self.acknowledged, self.acknowledged + 6):
                    producer.produce(self.topic, b"%d" % number, partition=number % 3)
                producer.flush(RECOVERY_S)
                self.acknowledged += 6
                now_s = time.monotonic()
                self.longest_pause_s, last_s = max(self.longest_pause_s, now_s - last_s), now_s
                time.sleep(0.02)

    def consume_until(self, consumer: object, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 2 * RECOVERY_S
        while not condition():
            assert time.monotonic() < deadline_s, (
                f"{len(self.received)} received, {self.acknowledged} acknowledged"
            )
            assert self._thread.is_alive() or self._done.is_set(), "the producer has given up"
            try:
                records = consumer.poll(100, 0.2)  # type: ignore[attr-defined]
                self.received += [record.value for record in records]
                if records:
                    consumer.commit({one.topic_partition: one.offset + 1 for one in records})  # type: ignore[attr-defined]
            except LogUnavailable:
                time.sleep(0.1)

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def test_one_of_three_brokers_is_killed_and_nothing_acknowledged_is_lost(
    cluster: OwnCluster, group: str
) -> None:
    log = KafkaLog(
        cluster.servers, security=cluster.security(), timeouts=KafkaTimeouts(start_s=20, session_s=6)
    )
    log.create_topics([Topic(name=group, num_partitions=3)])  # so that each broker leads one
    consumer = log.consumer(group, [group])
    stream = Stream(log, group)
    stream.consume_until(consumer, lambda: len(stream.received) > 60)
    cluster.kill(2)
    at_kill = stream.acknowledged
    stream.consume_until(consumer, lambda: stream.acknowledged > at_kill + 300)
    cluster.run("start", "--node", "2")
    at_start = stream.acknowledged
    stream.consume_until(consumer, lambda: stream.acknowledged > at_start + 300)
    stream.stop()
    stream.consume_until(consumer, lambda: len(set(stream.received)) >= stream.acknowledged)
    consumer.close()
    kept = {partition: [] for partition in range(3)}
    for record in log.read(group):
        kept[record.partition].append(int(record.value))
    log.close()
    assert kept == {first: list(range(first, stream.acknowledged, 3)) for first in range(3)}
    assert stream.longest_pause_s < RECOVERY_S
