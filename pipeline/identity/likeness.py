"""Learns what similarity means at a site: how alike different ones look there, through its cameras and in its light.

A similarity counts by how far it stands above those of different ones, in their standard deviations (z-norm, as in
speaker verification: Auckenthaler et al., "Score normalization for text-independent speaker verification systems",
2000). So one calibration of an embedder serves sharp crops and blurred ones.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

from pipeline.identity.config import Calibration

PRIOR_COUNT: Final = 100.0
"""Pairs of different ones that weigh as much as what was measured with the embedder."""
MAX_COUNT: Final = 20_000.0
"""From this many on, old pairs count half: light changes with the day."""


class Likeness:
    """Holds mean and spread of the similarities of different ones, for one embedder."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        mean, spread = calibration.other_mean, calibration.other_spread
        self._count = PRIOR_COUNT
        self._sum = PRIOR_COUNT * mean
        self._squares = PRIOR_COUNT * (mean * mean + spread * spread)

    def learn_other(self, similarity: float) -> None:
        """Learn how alike two different ones look."""
        self._count += 1
        self._sum += similarity
        self._squares += similarity * similarity
        if self._count > MAX_COUNT:
            self._count, self._sum, self._squares = self._count / 2, self._sum / 2, self._squares / 2

    @property
    def mean(self) -> float:
        """Return how alike different ones look on average."""
        return self._sum / self._count

    @property
    def spread(self) -> float:
        """Return the standard deviation of that."""
        return sqrt(max(self._squares / self._count - self.mean**2, 1e-8))

    def weigh(self, similarity: float) -> float:
        """Return the log-likelihood ratio of one somebody against two for a similarity."""
        calibration = self._calibration
        if calibration.even_similarity is not None:
            return calibration.slope * (similarity - calibration.even_similarity) / calibration.other_spread
        return calibration.slope * ((similarity - self.mean) / self.spread - calibration.even)
