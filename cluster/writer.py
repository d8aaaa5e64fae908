"""Writes results until they are durable, whatever the log does meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from cluster.errors import LogUnavailable, RecordsLost
from cluster.log.protocol import Producer

FLUSH_TIMEOUT_S = 10.0
COMMIT_EVERY_S = 0.25
"""How much a reader may have to do again after a crash."""


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
        """Take records over; `send` puts them on their way, `flush` makes them durable."""
        self._pending.extend(outputs)

    def send(self) -> None:
        """Hand the producer what was added, without waiting for the log to have it.

        Raises:
            LogUnavailable: the log is away; nothing is forgotten, so call again later.
        """
        try:
            self._producer = self._producer or self._open_producer()
            for output in self._pending[self._num_produced :]:
                self._producer.produce(output.topic, output.value, key=output.key)
                self._num_produced += 1
        except RecordsLost:
            self._begin_anew()
            raise

    def flush(self) -> None:
        """Return once all that was added is durable.

        Raises:
            LogUnavailable: the log is away; nothing is forgotten, so call again later.
        """
        if not self._pending:
            return
        self.send()
        assert self._producer is not None, "send opens it"
        try:
            self._producer.flush(FLUSH_TIMEOUT_S)
        except RecordsLost:
            self._begin_anew()
            raise
        self._pending.clear()
        self._num_produced = 0

    def _begin_anew(self) -> None:
        """Leave a producer that has given records up; the next one gets all of them again."""
        self.close()
        self._num_produced = 0

    def close(self) -> None:
        """Free the producer; what is pending stays pending."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(LogUnavailable):
                producer.close()
