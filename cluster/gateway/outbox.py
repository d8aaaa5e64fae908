"""Stands between a camera and the log: either waits for the log, or keeps a bounded number of frames for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final, Protocol

from cluster.gateway.delivery import Counts, Delivery, Outgoing
from cluster.gateway.pacing import NS_PER_S, Clock, Stop

RETRY_S: Final = 0.5
"""Pause after the log has refused a frame."""
STOP_TIMEOUT_S: Final = 2.0
"""How long a gateway that was told to stop still waits for the log."""


class Outbox(Protocol):
    """Takes the frames of one camera, in order; one thread at a time."""

    @property
    def num_waiting(self) -> int:
        """Frames that the log has not taken yet, the end-of-stream record aside."""

    def counts(self, camera: str) -> Counts:
        """Return what has become of a camera's frames."""

    def put(self, frame: Outgoing) -> int:
        """Send a frame; return how many frames of this camera had to be dropped for it, itself included.

        Raises:
            BadInput: the topic does not exist.
        """

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is durable; return False when out of time, or told to stop and the log is away."""

    def close(self) -> None:
        """Free the outbox; what still waits is left behind. Closing twice is harmless."""


class PatientOutbox:
    """Waits for the log as long as it takes: nothing is dropped unless the gateway is told to stop.

    Several cameras of one thread may share a delivery, which their owner closes.
    """

    num_waiting: Final = 0

    def __init__(self, delivery: Delivery, stop: Stop, clock: Clock | None = None) -> None:
        self._delivery = delivery
        self._stop = stop
        self._clock = clock or Clock()

    def counts(self, camera: str) -> Counts:
        """Return what has become of a camera's frames."""
        return self._delivery.counts(camera)

    def put(self, frame: Outgoing) -> int:
        """Send a frame, waiting for the log."""
        while not self._delivery.deliver(frame):
            if self._clock.wait(self._stop, RETRY_S):
                return int(not frame.header.ended)
        return 0

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is durable."""
        deadline_ns = self._clock.now_ns() + round(timeout_s * NS_PER_S)
        while not self._delivery.flush(min(timeout_s, STOP_TIMEOUT_S)):
            if self._clock.wait(self._stop, RETRY_S) or self._clock.now_ns() >= deadline_ns:
                return False
        return True

    def close(self) -> None:
        """Do nothing."""


class BoundedOutbox:
    """Keeps the newest frames while the log is away and drops the oldest, so that capturing never waits.

    A thread of its own hands frames over, because a producer may block for a minute before it refuses, and a
    camera that is not read for a minute hangs up. It closes the delivery, which is this outbox's own.
    """

    def __init__(self, delivery: Delivery, max_frames: int, stop: Stop, retry_s: float = RETRY_S) -> None:
        self._delivery = delivery
        self._max_frames = max_frames
        self._stop = stop
        self._retry_s = retry_s
        self._state = threading.Condition()  # guards all below
        self._waiting: deque[Outgoing] = deque()
        self._current: Outgoing | None = None
        self._closed = False
        self._failure: Exception | None = None
        self._flush_wanted = False
        self._flushed = True
        self._sender = threading.Thread(target=self._send_loop, name="gateway-sender", daemon=True)
        self._sender.start()

    @property
    def num_waiting(self) -> int:
        """Frames that the log has not taken yet."""
        with self._state:
            frames = [*self._waiting, self._current]
        return sum(frame is not None and not frame.header.ended for frame in frames)

    def counts(self, camera: str) -> Counts:
        """Return what has become of a camera's frames."""
        return self._delivery.counts(camera)

    def put(self, frame: Outgoing) -> int:
        """Queue a frame behind those that wait; return how many of the oldest had to be dropped."""
        with self._state:
            if self._failure is not None:
                raise self._failure
            self._waiting.append(frame)
            self._flushed = False
            num_dropped = max(0, len(self._waiting) - self._max_frames)
            for _ in range(num_dropped):
                self._waiting.popleft()
            self._state.notify_all()
        return num_dropped

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is durable."""
        deadline_s = time.monotonic() + timeout_s
        with self._state:
            self._flush_wanted = not self._flushed
            self._state.notify_all()
            while not self._flushed and self._failure is None:
                if self._stop.is_set():
                    deadline_s = min(deadline_s, time.monotonic() + STOP_TIMEOUT_S)
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._state.wait(min(left_s, 0.1))
            if self._failure is not None:
                raise self._failure
        return True

    def close(self) -> None:
        """End the sender; what still waits is left behind."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        self._sender.join(STOP_TIMEOUT_S)

    def _send_loop(self) -> None:
        try:
            while self._next():
                if self._current is None:
                    self._flush()
                else:
                    self._send(self._current)
        except Exception as error:  # noqa: BLE001  # raised again in the camera's thread
            with self._state:
                self._failure = error
                self._state.notify_all()
        finally:
            self._delivery.close()

    def _next(self) -> bool:
        """Wait for a frame to send, or else for a flush to do; return False when closed."""
        with self._state:
            self._state.wait_for(lambda: self._waiting or self._closed or self._flush_wanted)
            self._current = self._waiting.popleft() if self._waiting and not self._closed else None
            return not self._closed

    def _send(self, frame: Outgoing) -> None:
        while not self._delivery.deliver(frame):
            with self._state:
                if self._state.wait_for(lambda: self._closed, self._retry_s):
                    return
        with self._state:
            self._current = None

    def _flush(self) -> None:
        done = self._delivery.flush(STOP_TIMEOUT_S)
        with self._state:
            self._flushed = done and not self._waiting
            self._flush_wanted = not self._flushed
            self._state.notify_all()
            if not done:
                self._state.wait_for(lambda: self._closed, self._retry_s)
