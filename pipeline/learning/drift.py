"""Notices when a camera no longer sees as it used to, from its looks and the detector's scores.

A camera's first tracks are its reference; its last ones are compared with them by the energy distance (Szekely and
Rizzo, "Energy statistics", JSPI 2013), which is zero for equal distributions of any shape. How much of it chance alone
would give is found by permuting the two samples (the test of the same paper).

Legend of shape suffixes: N tracks, F features.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import distance

from models.checks import check

SCORE_WEIGHT: Final = 1.0
"""Of the detector's score beside the embedding, both of about unit scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftConfig:
    """Says how much must change before it counts as drift."""

    window: int = 40
    """Tracks of the reference, and of what is compared with it."""
    every: int = 10
    """Tracks between two comparisons."""
    permutations: int = 200
    """Of each comparison."""
    max_p: float = 0.005
    """Chance of such a difference without any drift, above which it does not count."""
    min_distance: float = 0.05
    """Energy distance below which a difference does not matter, however sure it is: of people who come and go by day
    up to 0.05 was measured, from day to dusk 0.06 to 0.14."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        check(self.window >= 8, "window", self.window, "at least 8")
        check(self.every >= 1, "every", self.every, "at least 1")
        check(self.permutations * self.max_p >= 1, "permutations", self.permutations, "at least 1 / max_p")


@dataclass(frozen=True, slots=True)
class Drift:
    """Says how far a camera is from its reference."""

    camera: str
    distance: float
    """Energy distance; 0 for equal distributions."""
    p: float
    """Share of permutations that are as far."""
    drifted: bool


@dataclass(slots=True)
class _Watched:
    reference: list[NDArray[np.float32]] = field(default_factory=list)
    recent: deque[NDArray[np.float32]] = field(default_factory=deque)
    since: int = 0


class DriftWatch:
    """Watches all cameras of a site; after a drift was told, what comes then becomes the reference."""

    def __init__(self, config: DriftConfig, rng: np.random.Generator) -> None:
        self._config = config
        self._rng = rng
        self._cameras: dict[str, _Watched] = {}

    def see(self, camera: str, embedding_D: NDArray[np.float32], score: float) -> Drift | None:
        """Take in one track; return a comparison when one is due."""
        watched = self._cameras.setdefault(camera, _Watched())
        row_F = np.append(embedding_D, np.float32(SCORE_WEIGHT * score))
        if len(watched.reference) < self._config.window:
            watched.reference.append(row_F)
            return None
        watched.recent.append(row_F)
        watched.since += 1
        if len(watched.recent) > self._config.window:
            watched.recent.popleft()
        if len(watched.recent) < self._config.window or watched.since < self._config.every:
            return None
        return self._compare(camera, watched)

    def _compare(self, camera: str, watched: _Watched) -> Drift:
        watched.since = 0
        rows_NF = np.stack([*watched.reference, *watched.recent])
        far, p = energy_test(rows_NF, len(watched.reference), self._config.permutations, self._rng)
        drifted = p <= self._config.max_p and far >= self._config.min_distance
        if drifted:
            # What was seen last is half of before: the new reference begins with what comes.
            watched.reference.clear()
            watched.recent.clear()
        return Drift(camera, far, p, drifted)


def energy_test(
    rows_NF: NDArray[np.float32], num_first: int, permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the energy distance between the first rows and the rest, and the share of permutations as far.

    The distance is the unbiased estimate: around 0 for samples of one distribution, however small they are.
    """
    gaps_NN = distance.squareform(distance.pdist(rows_NF.astype(np.float64)))
    num_rest = len(rows_NF) - num_first
    is_first_N = np.arange(len(rows_NF)) < num_first
    first_PN = np.stack([is_first_N, *(rng.permutation(is_first_N) for _ in range(permutations))]).astype(
        float
    )
    rest_PN = 1.0 - first_PN
    to_first_PN, to_rest_PN = first_PN @ gaps_NN, rest_PN @ gaps_NN
    between_P = (to_first_PN * rest_PN).sum(1) / (num_first * num_rest)
    within_first_P = (to_first_PN * first_PN).sum(1) / (num_first * (num_first - 1))
    within_rest_P = (to_rest_PN * rest_PN).sum(1) / (num_rest * (num_rest - 1))
    distances_P = 2 * between_P - within_first_P - within_rest_P
    return float(distances_P[0]), float((1 + (distances_P[1:] >= distances_P[0]).sum()) / (1 + permutations))
