"""Holds what transfer learning tells while it runs, the history that it leaves behind, and what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """Says how far training is; told after every step."""

    epoch: int
    """Counts from 1."""
    num_epochs: int
    step: int
    """Counts from 1 within the epoch."""
    num_steps: int
    loss: float
    accuracy: float | None = None
    """On what is held out; set after the last step of an epoch."""


@dataclass(frozen=True, slots=True)
class TransferEpoch:
    """Holds one epoch of the history."""

    epoch: int
    learning_rate: float
    """At its end."""
    loss: float
    """Cross-entropy, mean over the epoch's pictures as they were varied."""
    train_accuracy: float
    """Share of those pictures that were told right while they were learned."""
    held_out_loss: float
    accuracy: float
    """On what is held out."""


@dataclass(frozen=True, slots=True)
class TransferOutcome:
    """Says what transfer learning made."""

    weights: Path
    backbone: str
    num_frozen: int
    """Stages whose weights stayed as they were."""
    size: int
    classes: tuple[str, ...]
    confusion_CC: NDArray[np.int64]
    """How many held-out pictures of the class of a row were taken for the class of a column."""

    @property
    def accuracy(self) -> float:
        """Share of the held-out pictures that are told right."""
        return float(self.confusion_CC.trace() / self.confusion_CC.sum())

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes of the share that is told right."""
        return float((self.confusion_CC.diagonal() / self.confusion_CC.sum(1)).mean())


def count_confusion(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Count C x C: rows are the true classes, columns what they were taken for."""
    confusion_CC = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion_CC, (labels_N, predicted_N), 1)
    return confusion_CC


def history_json(history: Sequence[TransferEpoch]) -> str:
    """Return the history as JSON text."""
    return json.dumps([asdict(record) for record in history], indent=1)


def parse_history(text: str) -> list[TransferEpoch]:
    """Turn the text of `history_json` back."""
    return [TransferEpoch(**entry) for entry in json.loads(text)]


def read_history(path: Path) -> list[TransferEpoch]:
    """Read `history.json` back.

    Raises:
        ModelError: when it cannot be read.
    """
    try:
        return parse_history(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path} is no history of transfer: {error!r}; give one that training wrote"
        ) from error
