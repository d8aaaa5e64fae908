"""Keeps where an object stood and when, and answers where it was at any time in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.identity.config import NS
from pipeline.records import PathPoint

Floats = NDArray[np.float64]

MAX_POINTS: Final = 240
"""Points kept of a path: two minutes of them."""
MAX_GAP_S: Final = 1.1
"""Between points further apart than this, somebody's place is not interpolated."""
VELOCITY_S: Final = 1.5
"""Seconds of a path's end over which its velocity is taken."""


class Path:
    """Holds the last `MAX_POINTS` points of one track's way, in order of time.

    Legend: K points or times; columns of K3 are x, y (shares of the picture) and height (of the box).
    """

    def __init__(self) -> None:
        self._times_s: list[float] = []
        self._rows: list[tuple[float, float, float]] = []
        self._arrays: tuple[Floats, Floats] | None = None

    def __len__(self) -> int:
        return len(self._times_s)

    def extend(self, points: Iterable[PathPoint]) -> Floats:
        """Add points; those not later than the last, or not finite, are left out. Returns the times added."""
        added = []
        for point in points:
            time_s, row = point.at_ns / NS, (point.x, point.y, point.height)
            if np.isfinite(row).all() and (not self._times_s or time_s > self._times_s[-1]):
                self._times_s.append(time_s)
                self._rows.append(row)
                added.append(time_s)
        del self._times_s[:-MAX_POINTS], self._rows[:-MAX_POINTS]
        self._arrays = None
        return np.array(added, np.float64)

    @property
    def times_s(self) -> Floats:
        """Return the times of the points, shape K."""
        return self._as_arrays()[0]

    @property
    def places(self) -> Floats:
        """Return x, y and height of the points, K x 3."""
        return self._as_arrays()[1]

    def at(self, times_s: Floats) -> Floats:
        """Return x, y, height at some times, K x 3; rows of NaN where the path says nothing."""
        known_s, rows_K3 = self._as_arrays()
        found_K3 = np.full((len(times_s), 3), np.nan)
        if not len(known_s):
            return found_K3
        after = np.searchsorted(known_s, times_s)
        inside = (after > 0) & (after < len(known_s))
        exact = (after < len(known_s)) & (known_s[np.minimum(after, len(known_s) - 1)] == times_s)
        found_K3[exact] = rows_K3[after[exact]]
        between = np.flatnonzero(inside & ~exact)
        late, early = after[between], after[between] - 1
        gap_s = known_s[late] - known_s[early]
        share = ((times_s[between] - known_s[early]) / gap_s)[:, None]
        near = gap_s <= MAX_GAP_S
        found_K3[between[near]] = (rows_K3[early] * (1 - share) + rows_K3[late] * share)[near]
        return found_K3

    def velocity(self, *, at_end: bool) -> Floats:
        """Return the mean velocity (x, y a second) of the path's last, or first, `VELOCITY_S`; 0 of a single point."""
        times_s, rows_K3 = self._as_arrays()
        if len(times_s) < 2:
            return np.zeros(2)
        if at_end:
            first, last = int(np.searchsorted(times_s, times_s[-1] - VELOCITY_S)), len(times_s) - 1
        else:
            first, last = 0, int(np.searchsorted(times_s, times_s[0] + VELOCITY_S, side="right")) - 1
        first, last = (first, last) if last > first else (max(last - 1, 0), max(last, 1))
        return np.asarray((rows_K3[last, :2] - rows_K3[first, :2]) / (times_s[last] - times_s[first]))

    def _as_arrays(self) -> tuple[Floats, Floats]:
        if self._arrays is None:
            self._arrays = (
                np.array(self._times_s, np.float64),
                np.array(self._rows, np.float64).reshape(-1, 3),
            )
        return self._arrays
