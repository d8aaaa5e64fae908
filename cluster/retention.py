"""Notices records that the log removed before they were read: retention that is shorter than the lag."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from cluster.log.protocol import Log, Record, TopicPartition

CHECK_EVERY_S: Final = 5.0
"""How often partitions that nothing comes from are looked at; records that retention left tell by themselves."""


class LostStretch(NamedTuple):
    """Is a run of records of one partition that nobody will read."""

    partition: TopicPartition
    first: int
    end: int
    resume: int
    """The next offset to read, which may be committed once all that was read before is done."""

    @property
    def num_records(self) -> int:
        """How many records are lost."""
        return self.end - self.first


class RetentionWatch:
    """Compares what a group's member reads with what it should read next; works on any log.

    A jump in the offsets alone proves nothing, since Kafka numbers markers of transactions too: only what lies before
    the beginning of its partition was removed. `saw` and `forget` ask the log nothing, so they cannot fail.
    """

    def __init__(
        self, log: Log, group: str, topic: str, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._group = group
        self._topic = topic
        self._clock_s = clock_s
        self._next: dict[TopicPartition, int] = {}
        self._first_seen: dict[TopicPartition, int] = {}
        """Of partitions of which it is not yet known where they should have begun."""
        self._followed: set[TopicPartition] = set()
        self._jumps: list[tuple[TopicPartition, int, int]] = []
        self._suspects: dict[TopicPartition, int] = {}
        self._num_polls = 0
        self._check_s = clock_s() + CHECK_EVERY_S

    def saw(self, records: Sequence[Record]) -> None:
        """Take note of what one poll returned."""
        self._num_polls += 1
        for record in records:
            partition = record.topic_partition
            expected = self._next.get(partition)
            if expected is None:
                self._first_seen[partition] = record.offset
            elif record.offset > expected:
                self._jumps.append((partition, expected, record.offset))
            self._next[partition] = record.offset + 1
            self._suspects.pop(partition, None)

    def check(self, owned: Collection[TopicPartition]) -> list[LostStretch]:
        """Return what was lost since the last call; call it before polling, because it may fail.

        Raises:
            LogUnavailable: the log does not answer. Nothing is forgotten, so call again.
        """
        # What is owned but was not followed has been assigned in a poll, whose records are not yet committed.
        new = [partition for partition in owned if partition not in self._followed]
        due = bool(owned) and self._clock_s() >= self._check_s
        if not (new or self._jumps or due):
            return []
        if due:
            self._check_s = self._clock_s() + CHECK_EVERY_S  # whether or not the log answers now
        committed = self._log.committed(self._group, self._topic) if new else {}
        begin = self._log.beginning_offsets(self._topic)
        for partition in new:
            self._follow(partition, committed.get(partition, 0))
        jumps, self._jumps = self._jumps, []
        lost = [(partition, first, min(end, begin[partition])) for partition, first, end in jumps]
        if due:
            lost += self._idle_losses(begin)
        return [
            LostStretch(partition, first, end, self._next[partition])
            for partition, first, end in lost
            if end > first
        ]

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Forget partitions that another member reads from now on."""
        self._followed.difference_update(partitions)
        self._jumps = [jump for jump in self._jumps if jump[0] not in partitions]
        for partition in partitions:
            for known in (self._next, self._first_seen, self._suspects):
                known.pop(partition, None)

    def _follow(self, partition: TopicPartition, expected: int) -> None:
        self._followed.add(partition)
        seen = self._first_seen.pop(partition, None)
        if seen is None:
            self._next.setdefault(partition, expected)
        elif seen > expected:
            self._jumps.append((partition, expected, seen))

    def _idle_losses(self, begin: dict[TopicPartition, int]) -> list[tuple[TopicPartition, int, int]]:
        """Find partitions whose end was removed too, and from which therefore nothing comes.

        Records may be removed from the log while a client still holds them. So a partition is only suspected at
        first, and judged when nothing has come of it until the next look, though each had its turn meanwhile.
        """
        lost = []
        num_polls, self._num_polls = self._num_polls, 0
        suspects, self._suspects = self._suspects, {}
        for partition in self._followed:
            expected = self._next[partition]
            if begin[partition] <= expected:
                continue
            if partition in suspects and num_polls >= len(self._followed):
                self._next[partition] = suspects[partition]
                lost.append((partition, expected, suspects[partition]))
            else:
                self._suspects[partition] = begin[partition]
        return lost
