from pathlib import Path

import pytest

from cluster import frame_reader
from cluster.frame_reader import read_frames
from cluster.log.protocol import Topic, TopicPartition
from cluster.log.sqlite import SqliteLog
from pipeline.errors import BadInput
from pipeline.records import FrameRef


@pytest.fixture
def log(tmp_path: Path) -> SqliteLog:
    """Two partitions of 30 frames each; what a frame holds is its place."""
    log = SqliteLog(tmp_path / "log.db")
    log.create_topics([Topic(name="frames", num_partitions=2)])
    with log.producer() as producer:
        for offset in range(30):
            for partition in (0, 1):
                producer.produce("frames", f"{partition}-{offset}".encode(), partition=partition)
    return log


def ref(partition: int, offset: int, topic: str = "frames") -> FrameRef:
    return FrameRef(topic=topic, partition=partition, offset=offset)


@pytest.mark.parametrize("max_gap", [1, 256])
def test_frames_are_read_back_by_what_names_them(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, max_gap: int
) -> None:
    monkeypatch.setattr(frame_reader, "MAX_GAP", max_gap)
    wanted = [ref(1, 29), ref(0, 3), ref(1, 0), ref(0, 4), ref(0, 3)]
    found = {frame: record.value for frame, record in read_frames(log, wanted)}
    assert found == {frame: f"{frame.partition}-{frame.offset}".encode() for frame in wanted}


def test_frames_beyond_what_is_kept_are_left_out(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "beginning_offsets", lambda _: {TopicPartition("frames", 0): 10})
    found = [frame.offset for frame, _ in read_frames(log, [ref(0, 9), ref(0, 10), ref(0, 30), ref(7, 1)])]
    assert found == [10]


def test_only_the_stretches_that_hold_frames_are_read(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_reader, "MAX_GAP", 5)
    read, starts = log.read, []
    monkeypatch.setattr(log, "read", lambda topic, start: starts.append(start) or read(topic, start))
    assert len(list(read_frames(log, [ref(0, 1), ref(0, 6), ref(0, 20)]))) == 3
    assert [start[TopicPartition("frames", 0)] for start in starts] == [1, 20]
    assert {start[TopicPartition("frames", 1)] for start in starts} == {30}


def test_a_topic_that_is_not_there_is_an_error(log: SqliteLog) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        list(read_frames(log, [ref(0, 1, topic="nowhere")]))
