"""Hands frames to the log, and opens a new producer when the old one has given up."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from cluster.errors import LogUnavailable, RecordsLost
from cluster.gateway.pacing import NS_PER_S, Clock
from cluster.log.protocol import Producer
from pipeline.frames import FrameHeader

logger = logging.getLogger(__name__)


class Outgoing(NamedTuple):
    """Is a frame on its way to the log; its time of producing is stamped when the log takes it."""

    value: bytes
    header: FrameHeader


class Counts(NamedTuple):
    """Counts the frames of one camera, the end-of-stream record aside."""

    taken: int  # by the log
    lost: int  # of those taken


class Delivery:
    """Produces frames keyed by camera id; one thread at a time.

    While the log is away the producer keeps what it has taken, and sends it once the log is back. Only when it
    gives records up is a new one opened. What the old one had taken since the last flush is then counted as
    lost, although part of it may be there; a flush every `FLUSH_EVERY_S` keeps that number honest.
    """

    FLUSH_EVERY_S: Final = 2.0
    FLUSH_TIMEOUT_S: Final = 2.0

    def __init__(self, open_producer: Callable[[], Producer], topic: str, clock: Clock) -> None:
        self._open_producer = open_producer
        self._topic = topic
        self._clock = clock
        self._producer: Producer | None = None
        self._num_refusals = 0
        self._flushed_ns = clock.now_ns()
        self._unflushed: Counter[str] = Counter()
        self._num_taken: Counter[str] = Counter()
        self._num_lost: Counter[str] = Counter()

    def counts(self, camera: str) -> Counts:
        """Return what has become of a camera's frames; may be asked from any thread."""
        return Counts(self._num_taken[camera], self._num_lost[camera])

    def deliver(self, frame: Outgoing) -> bool:
        """Hand one frame to the log; return False when the log is away.

        Raises:
            BadInput: the topic does not exist.
        """
        camera = frame.header.camera
        headers = replace(frame.header, produced_ns=self._clock.now_ns()).to_headers()
        try:
            self._producer = self._producer or self._open_producer()
            self._producer.produce(self._topic, frame.value, key=camera.encode(), headers=headers)
        except LogUnavailable as error:
            self._refused(error)
            return False
        self._num_refusals = 0
        if not frame.header.ended:
            self._num_taken[camera] += 1
            self._unflushed[camera] += 1
        if self._clock.now_ns() - self._flushed_ns >= self.FLUSH_EVERY_S * NS_PER_S:
            self.flush(self.FLUSH_TIMEOUT_S)
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was taken is durable; return False when the log does not manage in time."""
        self._flushed_ns = self._clock.now_ns()
        try:
            if self._producer is not None:
                self._producer.flush(timeout_s)
        except LogUnavailable as error:
            self._refused(error)
            return False
        self._unflushed.clear()
        return True

    def close(self) -> None:
        """Free the producer, waiting at most `FLUSH_TIMEOUT_S`; what it has not stored by then counts as lost."""
        producer, self._producer = self._producer, None
        if producer is not None:
            # Closing may block for a minute when the log is away; that may end on its own.
            closer = _Closer(producer)
            closer.start()
            closer.join(self.FLUSH_TIMEOUT_S)
            if self._unflushed and not closer.stored:
                self._num_lost.update(self._unflushed)
                fields = {"topic": self._topic, "num_frames": self._unflushed.total()}
                logger.warning("frames lost with the log's producer", extra=fields)
        self._unflushed.clear()

    def _refused(self, error: LogUnavailable) -> None:
        self._num_refusals += 1
        if self._num_refusals == 1:
            logger.warning("log away", extra={"topic": self._topic, "error": str(error)})
        if isinstance(error, RecordsLost):
            self.close()


class _Closer(threading.Thread):
    """Closes a producer in a thread of its own."""

    def __init__(self, producer: Producer) -> None:
        super().__init__(name="gateway-closer", daemon=True)
        self._producer = producer
        self.stored = False

    def run(self) -> None:
        """Close, and tell by `stored` whether nothing was lost."""
        try:
            self._producer.close()
            self.stored = True
        except LogUnavailable as error:
            logger.warning("log away", extra={"error": str(error)})
