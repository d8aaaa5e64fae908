"""Writes results until they are durable, whatever the log does meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from cluster.errors import LogUnavailable, RecordsLost
from cluster.log.protocol import Producer

FLUSH_TIMEOUT_S = 10.0


class Output(NamedTuple):
    """Is one record to write."""

    topic: str
    value: bytes
    key: bytes | None = None


class DurableWriter:
    """Keeps every record until the log has it for good; one thread calls it.

    A record may be written twice when the log fails in between (at least once): results carry the identity of
    their frame, so that a reader keeps the last.
    """

    def __init__(self, open_producer: Callable[[], Producer]) -> None:
        self._open_producer = open_producer
        self._producer: Producer | None = None
        self._pending: list[Output] = []
        self._num_produced = 0

    @property
    def num_pending(self) -> int:
        """Records that are not known to be durable."""
        return len(self._pending)

    def add(self, outputs: Iterable[Output]) -> None:
        """Take records over; they are written by `flush`."""
        self._pending.extend(outputs)

    def flush(self) -> None:
        """Write what was added and return once it is durable.

        Raises:
            LogUnavailable: the log is away; nothing is forgotten, so call again later.
        """
        if not self._pending:
            return
        try:
            self._producer = self._producer or self._open_producer()
            for output in self._pending[self._num_produced :]:
                self._producer.produce(output.topic, output.value, key=output.key)
                self._num_produced += 1
            self._producer.flush(FLUSH_TIMEOUT_S)
        except RecordsLost:
            self.close()  # this producer has given up; the next one gets all of it again
            self._num_produced = 0
            raise
        self._pending.clear()
        self._num_produced = 0

    def close(self) -> None:
        """Free the producer; what is pending stays pending."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(LogUnavailable):
                producer.close()
