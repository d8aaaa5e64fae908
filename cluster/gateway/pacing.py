"""Decides when a frame is sent: at the source's own pace, at a limited rate, behind a lagging reader, after a failure."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from cluster.errors import LogUnavailable
from cluster.log.partitioner import partition_for_key
from cluster.log.protocol import Log, TopicPartition

NS_PER_S: Final = 1_000_000_000

Pace = Literal["source", "fast"]


class Stop(Protocol):
    """Is the part of `threading.Event` and `multiprocessing.Event` that a gateway needs."""

    def is_set(self) -> bool:
        """Tell whether to stop."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until told to stop, at most `timeout` seconds; return whether to stop."""


def wait_for(stop: Stop, seconds: float) -> bool:
    """Wait `seconds`, less when told to stop; return whether to stop."""
    return stop.wait(seconds)


@dataclass(frozen=True, slots=True)
class Clock:
    """Holds the two ways in which a gateway meets time, so that tests can run it faster than life."""

    now_ns: Callable[[], int] = time.time_ns
    """Unix time in nanoseconds."""
    wait: Callable[[Stop, float], bool] = wait_for
    """Waits for seconds or for the stop, whichever is first; returns whether to stop."""


class Pacer:
    """Holds frames of a recording back until their media time has come."""

    def __init__(self, clock: Clock, start_ns: int) -> None:
        self._clock = clock
        self._start_ns = start_ns

    def wait(self, media_s: float, stop: Stop) -> bool:
        """Wait until the media time is due; return False when told to stop.

        A late frame is not held back, so a stall is caught up with.
        """
        ahead_s = (self._start_ns - self._clock.now_ns()) / NS_PER_S + media_s
        return not (self._clock.wait(stop, ahead_s) if ahead_s > 0 else stop.is_set())


class RateLimit:
    """Admits at most `max_fps` frames a second, evenly spread.

    Frames are admitted along a grid of due times, with a quarter of a period as tolerance, so that a
    camera which jitters around exactly `max_fps` keeps all its frames.
    """

    def __init__(self, max_fps: float) -> None:
        self._period_ns = NS_PER_S / max_fps
        self._due_ns: float | None = None

    def admits(self, captured_ns: int) -> bool:
        """Tell whether the frame taken at `captured_ns` is sent."""
        # After a pause, or a clock that was set back, the grid starts anew.
        if self._due_ns is None or not -2 < (captured_ns - self._due_ns) / self._period_ns < 1:
            self._due_ns = captured_ns + self._period_ns
            return True
        if captured_ns < self._due_ns - self._period_ns / 4:
            return False
        self._due_ns += self._period_ns
        return True


class Backoff:
    """Spaces attempts: doubling from `first_s` to `max_s`, each shortened by up to half at random.

    The jitter keeps a hundred cameras behind one switch from coming back in step.
    """

    def __init__(self, first_s: float, max_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._rng = rng
        self._num_failures = 0

    def next_s(self) -> float:
        """Count one more failure and return the seconds to wait after it."""
        # The exponent is bounded: 2.0 ** 1024 overflows, and a camera can stay away for weeks.
        ceiling_s = min(self._max_s, self._first_s * 2.0 ** min(self._num_failures, 32))
        self._num_failures += 1
        return ceiling_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Forget the failures; call it when a frame has arrived."""
        self._num_failures = 0


class LagLimit:
    """Makes a gateway that reads as fast as it can wait for the readers of its partitions.

    The log is asked only when the room found by the last answer is used up, so a reader that keeps up
    costs one question every `max_records` records. `max_records` must exceed what the group reads between
    two commits, else both sides wait for each other's rhythm.
    """

    POLL_S: Final = 0.1
    """One answer of a Kafka costs 7 ms of CPU, which the readers need more."""

    def __init__(
        self, log: Log, group: str, topic: str, keys: Iterable[bytes], max_records: int, clock: Clock | None = None
    ) -> None:  # fmt: skip
        self._log = log
        self._group = group
        self._topic = topic
        self._keys = tuple(keys)
        self._max_records = max_records
        self._clock = clock or Clock()
        self._partitions: frozenset[TopicPartition] = frozenset()
        self._beginning: dict[TopicPartition, int] = {}
        self._room = 0
        self._end = 0
        self._num_granted = 0

    def wait(self, stop: Stop, num_records: int = 1) -> bool:
        """Wait until `num_records` more fit under the limit; return False when told to stop.

        A log that does not answer is waited for too.
        """
        while self._room < num_records:
            if stop.is_set():
                return False
            lag = self._ask()
            # A request larger than the limit passes once the readers have caught up completely.
            self._room = self._max_records - lag if lag else max(self._max_records, num_records)
            if self._room < num_records and self._clock.wait(stop, self.POLL_S):
                return False
        self._room -= num_records
        self._num_granted += num_records
        return not stop.is_set()

    def lag(self) -> int:
        """Count the records of the partitions that the group has not committed yet.

        Raises:
            LogUnavailable: the log does not answer.
        """
        return self._measure()[0]

    def _ask(self) -> int:
        """Return the lag, with what was granted since the last answer and may still be on its way to the log."""
        try:
            lag, end = self._measure()
        except LogUnavailable:
            return self._max_records
        num_on_the_way = max(0, self._end + self._num_granted - end) if self._num_granted else 0
        # Believed for one answer only: a granted frame may have been dropped and never arrive.
        self._end, self._num_granted = end, 0
        return lag + num_on_the_way

    def _measure(self) -> tuple[int, int]:
        """Return the lag and the sum of the end offsets."""
        if not self._beginning:
            beginning = self._log.beginning_offsets(self._topic)
            self._partitions = frozenset(
                TopicPartition(self._topic, partition_for_key(key, len(beginning))) for key in self._keys
            )
            self._beginning = beginning
        end = self._log.end_offsets(self._topic)
        committed = self._log.committed(self._group, self._topic)
        lag = sum(max(0, end[p] - committed.get(p, self._beginning[p])) for p in self._partitions)
        return lag, sum(end[p] for p in self._partitions)
