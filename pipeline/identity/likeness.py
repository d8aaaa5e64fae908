"""Learns what similarity means at a site: how alike different ones look there, through its cameras and in its light.

An embedder brings a line, measured where people are sharp and dressed each their own way: so many nats for so much
similarity. Where crops are blurred, or many wear the same, strangers are as alike as that line takes for proof. So
what a similarity can say for one somebody is limited by how often two that were seen side by side, and so are
certainly two, look as alike or more: a false-alarm rate, measured at the site without a label.
"""

from __future__ import annotations

from math import erfc, log, sqrt
from typing import Final

from pipeline.identity.config import Calibration

PRIOR_COUNT: Final = 50.0
"""Pairs of different ones that weigh as much as what was measured with the embedder."""
MAX_COUNT: Final = 20_000.0
"""From this many on, old pairs count half: light changes with the day."""
UNSEEN: Final = 0.5
"""Pairs that are taken to look more alike than any seen so far (Krichevsky and Trofimov, 1981)."""
FEW: Final = 5.0
"""Pairs from which on the one unseen counts in full."""
CAUTION: Final = 12.0
"""How many times likelier a mistake is than one such pair: a track is compared with all who are known, and the most
alike counts."""
NUM_BINS: Final = 200


class Likeness:
    """Holds how alike different ones look, for one embedder."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._count = 0.0
        self._bins = [0.0] * NUM_BINS

    def learn_other(self, similarity: float, weight: float = 1.0) -> None:
        """Learn how alike two look that are certainly two; weights of all tracks of the same two add up to about 1."""
        self._bins[_bin(similarity)] += weight
        self._count += weight
        if self._count > MAX_COUNT:
            self._bins = [count / 2 for count in self._bins]
            self._count /= 2

    def share_above(self, similarity: float) -> float:
        """Return the share of pairs of different ones that look as alike or more; above 0."""
        expected = PRIOR_COUNT * max(erfc(similarity / self._calibration.other_spread / sqrt(2)) / 2, 1e-12)
        seen = sum(self._bins[_bin(similarity) :])
        unseen = UNSEEN * min(1.0, self._count / FEW)
        return (expected + seen + unseen) / (PRIOR_COUNT + self._count)

    def weigh(self, similarity: float) -> float:
        """Return the log-likelihood ratio of one somebody against two for a similarity."""
        line = self._calibration.slope * (similarity - self._calibration.even)
        if line <= 0:
            return line
        return max(0.0, min(line, -log(CAUTION * self.share_above(similarity))))


def _bin(similarity: float) -> int:
    return min(int((min(max(similarity, -1.0), 1.0) + 1) / 2 * NUM_BINS), NUM_BINS - 1)
