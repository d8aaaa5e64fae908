import os
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster.log import Consumer, Log, Record, Topic
from cluster.log.kafka import KafkaLog
from cluster.log.kafka.connection import KafkaTimeouts
from cluster.log.security import KafkaSecurity, environment_settings
from cluster.log.sqlite import SqliteLog
from cluster.log.sqlite.membership import Leasing

MakeKafkaLog = Callable[..., KafkaLog]
HOW_TO_RUN = "needs an Apache Kafka: run `make test-kafka`, or set CAMWEAVE_TEST_KAFKA=host:port"


@pytest.fixture(scope="session")
def kafka_server() -> str:
    """The address of the Kafka to test on."""
    if "CAMWEAVE_TEST_KAFKA" not in os.environ:
        pytest.skip(HOW_TO_RUN)
    return os.environ["CAMWEAVE_TEST_KAFKA"]


@pytest.fixture(scope="session")
def kafka_log(kafka_server: str) -> MakeKafkaLog:
    """Builds logs on the Kafka to test on, reached as the environment says (CAMWEAVE_KAFKA_*)."""
    security = KafkaSecurity.from_settings(environment_settings(os.environ))
    return partial(KafkaLog, kafka_server.split(","), security=security)


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def make_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Log]]:
    """Builds logs on one and the same store, as several processes would; members die fast on it."""
    logs: list[Log] = []
    on_kafka = request.getfixturevalue("kafka_log") if request.param == "kafka" else None

    def make() -> Log:
        if on_kafka is None:
            logs.append(SqliteLog(tmp_path / "log.db", leasing=Leasing(lease_s=1.0, max_poll_interval_s=1.0)))
        else:
            logs.append(on_kafka(timeouts=KafkaTimeouts(session_s=6.0, max_poll_interval_s=2.0)))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def log(make_log: Callable[[], Log]) -> Log:
    return make_log()


@pytest.fixture
def make_topic(log: Log) -> Callable[[int], str]:
    def make(num_partitions: int) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        log.create_topics([Topic(name=name, num_partitions=num_partitions)])
        return name

    return make


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


def read_until(consumer: Consumer, num_records: int, timeout_s: float = 20.0) -> list[Record]:
    """Poll until so many records have come, or fail."""
    records: list[Record] = []
    deadline_s = time.monotonic() + timeout_s
    while len(records) < num_records:
        assert time.monotonic() < deadline_s, f"only {len(records)} of {num_records} records came"
        records += consumer.poll(num_records - len(records), 0.2)
    return records


def poll_until(condition: Callable[[], bool], *consumers: Consumer, timeout_s: float = 30.0) -> list[Record]:
    """Let all members poll in turn until the condition holds, or fail."""
    records: list[Record] = []
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "the group did not get there"
        for consumer in consumers:
            records += consumer.poll(100, 0.05)
    return records
