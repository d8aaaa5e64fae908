"""Puts the news of all cameras into one order by event time, whatever order they arrive in.

Cameras are processed at different speeds and in any interleaving. Decisions about identities depend on
each other, so they are taken in order of (time, camera, track): once every camera that is still sending
has been processed past a moment, all events before that moment are released (watermarks, as in Akidau et
al., "The Dataflow Model", VLDB 2015).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.records import TrackletBatch, TrackletEvent

FOREVER_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True, order=True)
class PlacedEvent:
    """Is an event with its camera and its place in the log."""

    at_ns: int
    camera: str
    track: str
    offset: int
    index: int
    """Place among the events of its record: what is told of one track at one time stays in order."""
    event: TrackletEvent = field(compare=False)


@dataclass(slots=True)
class EventOrder:
    """Holds events back until no camera in `cameras` can still send an earlier one, at most `max_pending`."""

    cameras: Iterable[str]
    max_pending: int = 10_000
    num_late: int = 0
    """Events that arrived after their moment had been released; they are released at once."""
    num_forced: int = 0
    """Events released early because `max_pending` was exceeded."""
    _watermark_ns: dict[str, int] = field(default_factory=dict)
    _pending: list[PlacedEvent] = field(default_factory=list)
    _released_ns: int = -1

    def __post_init__(self) -> None:
        self._watermark_ns = dict.fromkeys(self.cameras, -1)

    def push(self, batch: TrackletBatch, offset: int) -> list[PlacedEvent]:
        """Add one record's events; return the events that are safe to decide now, in order."""
        last_ns = self._watermark_ns.get(batch.camera, -1)
        restarted = last_ns == FOREVER_NS and not batch.ended
        mark_ns = FOREVER_NS if batch.ended else batch.watermark_ns
        self._watermark_ns[batch.camera] = mark_ns if restarted else max(last_ns, mark_ns)
        for index, event in enumerate(batch.events):
            self.num_late += event.at_ns < self._released_ns
            placed = PlacedEvent(event.at_ns, batch.camera, event.track, offset, index, event)
            heapq.heappush(self._pending, placed)
        return self._release()

    def stop_waiting_for(self, camera: str) -> list[PlacedEvent]:
        """Go on without a camera that has fallen silent; it is waited for again once it sends."""
        self._watermark_ns[camera] = FOREVER_NS
        return self._release()

    @property
    def holding_back(self) -> tuple[str, ...]:
        """Return the cameras whose watermark is the lowest, while events are pending on them."""
        low_ns = self._low_ns()
        if not self._pending or low_ns == FOREVER_NS:
            return ()
        return tuple(camera for camera, mark_ns in self._watermark_ns.items() if mark_ns == low_ns)

    @property
    def first_pending_offset(self) -> int | None:
        """Return the log offset before which all is decided, or None when nothing is pending."""
        return min((placed.offset for placed in self._pending), default=None)

    @property
    def watermark_ns(self) -> int:
        """Return the time before which every event has been released."""
        return max(self._low_ns(), self._released_ns)

    def _low_ns(self) -> int:
        return min(self._watermark_ns.values(), default=FOREVER_NS)

    def _release(self) -> list[PlacedEvent]:
        low_ns = self._low_ns()
        ready = []
        while self._pending and (self._pending[0].at_ns < low_ns or len(self._pending) > self.max_pending):
            placed = heapq.heappop(self._pending)
            self.num_forced += placed.at_ns >= low_ns
            self._released_ns = max(self._released_ns, placed.at_ns)
            ready.append(placed)
        return ready
