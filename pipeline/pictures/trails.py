"""Remembers where people stood in the last seconds, to draw the way they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pipeline.records import Observation

TRAIL_S = 3.0
"""Long enough to show a direction, short enough not to fill the view."""


class Footstep(NamedTuple):
    """Is where a track stood at a moment, in pixels of the source frame."""

    at_s: float
    x: float
    y: float


class Trails:
    """Keeps the foot points of one camera's tracks for a few seconds."""

    def __init__(self, length_s: float = TRAIL_S) -> None:
        self._length_s = length_s
        self._steps: dict[str, deque[Footstep]] = {}
        self._now_s = float("-inf")

    def add(self, at_s: float, observations: Iterable[Observation]) -> None:
        """Note where each track stands at `at_s`, and forget what is older than the trail is long."""
        self._now_s = at_s
        for seen in observations:
            if seen.track is not None:
                left, _, right, bottom = seen.box
                steps = self._steps.setdefault(seen.track, deque())
                steps.append(Footstep(at_s, (left + right) / 2, bottom))
        for steps in self._steps.values():
            while steps and steps[0].at_s < at_s - self._length_s:
                steps.popleft()
        self._steps = {track: steps for track, steps in self._steps.items() if steps}

    def __iter__(self) -> Iterator[tuple[str, Sequence[Footstep]]]:
        """Yield each track with its foot points, oldest first."""
        return iter(self._steps.items())

    def freshness(self, step: Footstep) -> float:
        """Return 1 for a foot point of now, falling to 0 at the end of the trail."""
        return max(0.0, 1.0 - (self._now_s - step.at_s) / self._length_s)
