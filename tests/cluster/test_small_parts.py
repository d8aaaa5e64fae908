import json
import logging

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from cluster.errors import LogUnavailable, RecordsLost
from cluster.logs import JsonFormatter
from cluster.metrics import STAGES, Metrics
from cluster.writer import DurableWriter, Output


def test_a_log_line_is_json_with_the_fields_given() -> None:
    record = logging.makeLogRecord(
        {"name": "cluster.shard", "levelname": "WARNING", "msg": "frame refused", "cause": "empty"}
    )
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["cause"], line["level"]) == ("frame refused", "empty", "warning")


def test_every_metric_name_carries_its_unit_or_counts() -> None:
    metrics = Metrics(CollectorRegistry())
    for stage in STAGES:
        with metrics.stage(stage):
            pass
    names = {
        line.split()[2]
        for line in generate_latest(metrics.registry).decode().splitlines()
        if line.startswith("# TYPE")
    }
    endings = (
        "_total",
        "_created",
        "_seconds",
        "_frames",
        "_appearances",
        "_identities",
        "_serial",
        "_tasks",
        "_ratio",
    )
    assert all(name.startswith("camweave_") and name.endswith(endings) for name in names), names
    assert metrics.registry.get_sample_value("camweave_stage_seconds_count", {"stage": "poll"}) == 1


class Scripted:
    """Is a producer that does what the script says at each flush."""

    def __init__(self, script: list[Exception | None]) -> None:
        self.script = script
        self.taken: list[bytes] = []
        self.closed = False

    def produce(self, topic: str, value: bytes, *, key: bytes | None = None) -> None:
        self.taken.append(value)

    def flush(self, timeout_s: float) -> None:
        if self.script and (error := self.script.pop(0)) is not None:
            raise error

    def close(self) -> None:
        self.closed = True


def writer_over(*producers: Scripted) -> DurableWriter:
    return DurableWriter(iter(producers).__next__)  # type: ignore[arg-type]


def test_a_writer_waits_for_an_absent_log_without_writing_twice() -> None:
    producer = Scripted([LogUnavailable("away"), LogUnavailable("away"), None])
    writer = writer_over(producer)
    writer.add([Output("t", b"1"), Output("t", b"2")])
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            writer.flush()
    writer.flush()
    assert producer.taken == [b"1", b"2"]
    assert writer.num_pending == 0


def test_a_writer_gives_all_of_it_to_a_new_producer_when_the_old_one_has_given_up() -> None:
    first, second = Scripted([RecordsLost("gone")]), Scripted([])
    writer = writer_over(first, second)
    writer.add([Output("t", b"1"), Output("t", b"2")])
    with pytest.raises(RecordsLost):
        writer.flush()
    writer.flush()
    assert first.closed
    assert second.taken == [b"1", b"2"]
