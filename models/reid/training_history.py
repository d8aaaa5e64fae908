"""Holds what training tells while it runs, and the history that it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.reid.validation import ValidationScores


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Says how far training is; told after every step."""

    epoch: int
    """Counts from 1."""
    num_epochs: int
    step: int
    """Counts from 1 within the epoch."""
    num_steps: int
    loss: float
    scores: ValidationScores | None = None
    """Set after the last step of an epoch that was validated."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Holds one epoch of the history."""

    epoch: int
    loss: float
    """Mean over the epoch's steps."""
    learning_rate: float
    scores: ValidationScores | None


def history_json(history: Sequence[EpochRecord]) -> str:
    """Return the history as JSON text."""
    return json.dumps([asdict(record) for record in history], indent=1)


def parse_history(text: str) -> list[EpochRecord]:
    """Turn the text of `history_json` back."""
    return [_record(entry) for entry in json.loads(text)]


def read_history(path: Path) -> list[EpochRecord]:
    """Read `history.json` back.

    Raises:
        ModelError: when it cannot be read.
    """
    try:
        return parse_history(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} is no training history: {error!r}; give one that training wrote") from error


def _record(entry: dict[str, Any]) -> EpochRecord:
    scores = entry["scores"]
    return EpochRecord(**{**entry, "scores": None if scores is None else ValidationScores(**scores)})
