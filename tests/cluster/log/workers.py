"""What other processes do in the tests; importable, so that they can be spawned."""

import os
from pathlib import Path

from cluster.log import Log
from cluster.log.kafka import KafkaLog
from cluster.log.kafka.connection import KafkaTimeouts
from cluster.log.security import split_kafka_url
from cluster.log.sqlite import SqliteLog
from cluster.log.sqlite.membership import Leasing


def log_of_impatient_members(url: str) -> Log:
    """Open a log whose dead members are noticed soon."""
    if url.startswith("sqlite"):
        return SqliteLog(url.removeprefix("sqlite:///"), leasing=Leasing(lease_s=1.0))
    servers, security = split_kafka_url(url)
    return KafkaLog(servers.split(","), timeouts=KafkaTimeouts(session_s=6.0), security=security)


def consume_for_ever(url: str, group: str, topic: str) -> None:
    """Read and commit as a member of a group, until killed."""
    consumer = log_of_impatient_members(url).consumer(group, [topic])
    while True:
        records = consumer.poll(10, 0.2)
        if records:
            consumer.commit({record.topic_partition: record.offset + 1 for record in records})


def produce_numbers(url: str, topic: str, camera: str, num_records: int) -> None:
    """Append numbered records for one camera."""
    with log_of_impatient_members(url).producer() as producer:
        for number in range(num_records):
            producer.produce(topic, f"{camera} {number}".encode(), key=camera.encode())
            if number % 50 == 0:
                producer.flush()


def copy_to_file(url: str, group: str, topic: str, path: Path) -> None:
    """Append what is read to a file and commit after that, until killed: at least once."""
    consumer = log_of_impatient_members(url).consumer(group, [topic])
    with path.open("ab", buffering=0) as file:
        while True:
            records = consumer.poll(20, 0.2)
            if not records:
                continue
            lines = [f"{record.partition} {record.offset} {record.value.decode()}\n" for record in records]
            file.write("".join(lines).encode())
            os.fsync(file.fileno())
            consumer.commit({record.topic_partition: record.offset + 1 for record in records})
