"""Reads single frames back from the log by what names them: topic, partition and offset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cluster.log.protocol import Log, Record, TopicPartition
from pipeline.records import FrameRef

MAX_GAP: Final = 256
"""Frames read over rather than asked for anew: a question costs Kafka about as long as so many frames."""


def read_frames(log: Log, frames: Iterable[FrameRef]) -> Iterator[tuple[FrameRef, Record]]:
    """Yield the frames that the log still keeps, each once; those that retention has removed are left out.

    Raises:
        BadInput: the log has no such topic.
        LogUnavailable: the log does not answer.
    """
    wanted: dict[TopicPartition, set[int]] = {}
    for frame in frames:
        wanted.setdefault(TopicPartition(frame.topic, frame.partition), set()).add(frame.offset)
    for place, offsets in sorted(wanted.items()):
        ends = log.end_offsets(place.topic)
        begin = log.beginning_offsets(place.topic).get(place, 0)
        kept = sorted(offset for offset in offsets if begin <= offset < ends.get(place, 0))
        for run in _runs(kept):
            yield from _read_run(log, place, run, ends)


def _runs(offsets: list[int]) -> Iterator[list[int]]:
    """Split ascending offsets where more than MAX_GAP lie between two."""
    start = 0
    for index in range(1, len(offsets) + 1):
        if index == len(offsets) or offsets[index] - offsets[index - 1] > MAX_GAP:
            if start < index:
                yield offsets[start:index]
            start = index


def _read_run(
    log: Log, place: TopicPartition, offsets: list[int], ends: Mapping[TopicPartition, int]
) -> Iterator[tuple[FrameRef, Record]]:
    start = {**ends, place: offsets[0]}  # nothing of the other partitions
    wanted = set(offsets)
    for record in log.read(place.topic, start):
        if record.topic_partition != place:  # appended to another partition meanwhile
            continue
        if record.offset in wanted:
            frame = FrameRef(topic=record.topic, partition=record.partition, offset=record.offset)
            yield frame, record
        if record.offset >= offsets[-1]:
            return
