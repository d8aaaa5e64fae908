"""Gathers, over the samples of a track, which of the classes taught at the site it seems to be of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from pipeline.looks import TaughtLogits

MIN_PROBABILITY: Final = 0.5
"""A class less likely than this is not named in results."""
MAX_LOGIT: Final = 30.0
"""Beyond it a probability is 0 or 1 in all the digits that are written."""


@dataclass(slots=True)
class TaughtBelief:
    """Holds the weighted mean of a track's logits; it begins anew when the learned parts change."""

    _version: str = ""
    _weight: float = 0.0
    _sums: dict[str, float] = field(default_factory=dict)

    def add(self, taught: TaughtLogits, row: int, weight: float) -> None:
        """Fold in one sample: a row of the logits, weighing `weight`."""
        if taught.version != self._version:
            self._version, self._weight, self._sums = taught.version, 0.0, {}
        self._weight += weight
        for name, logit in zip(taught.classes, taught.logits_NC[row], strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + weight * float(logit)

    def probable(self) -> dict[str, float]:
        """Return the classes that are more likely than not, with their probability."""
        if not self._weight:
            return {}
        probabilities = {name: _sigmoid(total / self._weight) for name, total in self._sums.items()}
        return {name: round(value, 3) for name, value in probabilities.items() if value >= MIN_PROBABILITY}


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -MAX_LOGIT), MAX_LOGIT)))
