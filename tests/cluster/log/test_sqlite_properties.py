"""Whatever happens in whatever order: nothing is lost, nothing changes places."""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.log import Topic, TopicPartition
from cluster.log.sqlite import SqliteLog
from cluster.log.sqlite.assignment import balance
from cluster.log.sqlite.membership import Leasing
from cluster.log.sqlite.producer import Buffering
from tests.cluster.log.workers import copy_to_file, produce_numbers

PARTITIONS = [TopicPartition("frames", number) for number in range(3)]


class Log(RuleBasedStateMachine):
    """Compares the log with plain lists while it is written, read, committed, closed and opened again."""

    @initialize()
    def create(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.log = SqliteLog(Path(self.directory.name) / "log.db", buffering=Buffering(linger_s=0.001))
        self.log.create_topics([Topic(name="frames", num_partitions=3)])
        self.produced: dict[TopicPartition, list[bytes]] = {partition: [] for partition in PARTITIONS}
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.open()

    def open(self) -> None:
        self.producer = self.log.producer()
        self.consumer = self.log.consumer("g", ["frames"])
        self.positions = dict(self.committed)

    @rule(partition=st.sampled_from(PARTITIONS), values=st.lists(st.binary(max_size=20), max_size=5))
    def produce(self, partition: TopicPartition, values: list[bytes]) -> None:
        for value in values:
            self.producer.produce("frames", value, partition=partition.partition)
        self.produced[partition] += values

    @rule()
    def flush(self) -> None:
        self.producer.flush()
        ends = self.log.end_offsets("frames")
        assert ends == {partition: len(values) for partition, values in self.produced.items()}

    @rule(max_records=st.integers(1, 8))
    def poll(self, max_records: int) -> None:
        records = self.consumer.poll(max_records, 0)
        assert len(records) <= max_records
        for record in records:
            partition = record.topic_partition
            assert record.offset == self.positions[partition]
            assert record.value == self.produced[partition][record.offset]
            self.positions[partition] += 1

    @precondition(lambda self: self.consumer.assignment())
    @rule()
    def commit(self) -> None:
        self.consumer.commit(self.positions)
        self.committed = dict(self.positions)

    @precondition(lambda self: self.consumer.assignment())
    @rule(partition=st.sampled_from(PARTITIONS), data=st.data())
    def seek(self, partition: TopicPartition, data: st.DataObject) -> None:
        self.producer.flush()
        offset = data.draw(st.integers(0, len(self.produced[partition])))
        self.consumer.seek(partition, offset)
        self.positions[partition] = offset

    @rule()
    def reopen(self) -> None:
        self.producer.close()
        self.consumer.close()
        self.open()

    @invariant()
    def committed_offsets_are_as_stored(self) -> None:
        stored = self.log.committed("g", "frames")
        assert {partition: stored.get(partition, 0) for partition in PARTITIONS} == self.committed

    def teardown(self) -> None:
        self.producer.close()
        self.consumer.close()
        kept = {partition: [] for partition in PARTITIONS}
        for record in self.log.read("frames"):
            kept[record.topic_partition].append(record.value)
        assert kept == self.produced
        self.directory.cleanup()


Log.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAnyInterleavingLosesNothingAndKeepsOrder = Log.TestCase

GREETING = b"greeting"
members = st.sets(st.sampled_from("abcdefg"), min_size=1)


@given(st.integers(1, 20), members, st.data())
def test_every_partition_has_one_reader_and_the_load_differs_by_one_at_most(
    num_partitions: int, names: set[str], data: st.DataObject
) -> None:
    partitions = list(range(num_partitions))
    owners = data.draw(st.dictionaries(st.sampled_from(partitions), st.sampled_from("abcdefg")))
    target = balance(partitions, sorted(names), owners, turn=data.draw(st.integers(0, 9)))
    loads = [list(target.values()).count(name) for name in names]
    assert sorted(target) == partitions
    assert sum(loads) == num_partitions
    assert max(loads) - min(loads) <= 1


@given(st.integers(1, 20), st.lists(members, min_size=1, max_size=6), st.integers(0, 9))
def test_a_group_settles_and_then_nothing_moves(
    num_partitions: int, memberships: list[set[str]], turn: int
) -> None:
    partitions = list(range(num_partitions))
    owners: dict[int, str] = {}
    for names in memberships:
        owners = {part: owner for part, owner in owners.items() if owner in names}
        for _ in range(3):  # everyone hands over what is not his, then takes what is free
            target = balance(partitions, sorted(names), owners, turn)
            owners = {part: owner for part, owner in owners.items() if target[part] == owner}
            target = balance(partitions, sorted(names), owners, turn)
            owners |= {part: owner for part, owner in target.items() if part not in owners}
        assert sorted(owners) == partitions
        assert balance(partitions, sorted(names), owners, turn) == owners


def test_processes_that_share_a_log_lose_nothing_though_one_is_killed(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", leasing=Leasing(lease_s=1.0))
    log.create_topics([Topic(name="frames", num_partitions=6)])
    spawn = multiprocessing.get_context("spawn")
    num_records = 400
    cameras = [f"camera-{number}" for number in range(4)]
    copies = [tmp_path / f"copy-{number}" for number in range(2)]
    consumers = [
        spawn.Process(target=copy_to_file, args=(log.url, "g", "frames", path), daemon=True)
        for path in copies
    ]
    producers = [
        spawn.Process(
            target=produce_numbers, args=(log.url, "frames", camera, num_records), daemon=True
        ) for camera in cameras
    ]  # fmt: skip
    for process in consumers:
        process.start()
    with log.producer() as producer:

        def both_read() -> bool:
            """Say whether both have something to do; which partitions a reader gets is not known beforehand."""
            for partition in range(6):
                producer.produce("frames", b"0", key=GREETING, partition=partition)
            producer.flush()
            return all(path.exists() and path.stat().st_size for path in copies)

        wait_for(both_read)
    for process in producers:
        process.start()
    victim = consumers[0].pid
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    for process in producers:
        process.join()
    wait_for(
        lambda: log.committed("g", "frames") == {p: e for p, e in log.end_offsets("frames").items() if e}
    )
    consumers[1].kill()

    by_place: dict[tuple[str, str], str] = {}
    for line in [line for path in copies for line in path.read_text().splitlines() if line.count(" ") == 3]:
        partition, offset, camera, number = line.split()
        if camera == GREETING.decode():
            continue
        assert by_place.setdefault((partition, offset), f"{camera} {number}") == f"{camera} {number}"
    for camera in cameras:
        in_log = [record.value.decode() for record in log.read("frames") if record.key == camera.encode()]
        assert in_log == [f"{camera} {number}" for number in range(num_records)]
    assert sorted(by_place.values()) == sorted(
        f"{camera} {number}" for camera in cameras for number in range(num_records)
    )


def wait_for(condition: Callable[[], bool], timeout_s: float = 40.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
