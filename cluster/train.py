"""Trains the embedder as a command does: with progress, curves, and a word on how to go on after an interruption."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

from cluster.errors import BadConfig
from models.reid.training import EmbedderTrainingConfig, train_embedder
from models.reid.training_history import TrainingProgress, read_history
from models.training_run import CHECKPOINT_NAME, HISTORY_NAME
from pipeline.pictures.training_curves import draw_training_curves

CURVES_NAME: Final = "curves.png"

OnProgress = Callable[[int, int, str], None]
"""Is told how many steps of how many are done, and what to note beside."""


class Interrupted(Exception):
    """Says that training was stopped, and how it goes on."""


def run_training(config: EmbedderTrainingConfig, on_progress: OnProgress) -> dict[str, Any]:
    """Train, draw the curves after each validation, and return what came out.

    Raises:
        BadConfig: the out folder holds a checkpoint and nobody said to resume.
        ModelError: the data, the trunk's weights or the checkpoint cannot be used.
        Interrupted: Ctrl-C; the message says how to go on.
    """
    refuse_to_overwrite(config.out, config.resume)
    start_s = time.monotonic()
    note = _Note()
    try:
        weights = train_embedder(config, lambda at: on_progress(*counted(at), note.of(at, config.out)))
    except KeyboardInterrupt as error:
        raise Interrupted(how_to_go_on(config.out, config.epochs)) from error
    history = read_history(config.out / HISTORY_NAME)
    draw_training_curves(history, config.out / CURVES_NAME)
    scores = next((record.scores for record in reversed(history) if record.scores is not None), None)
    return {
        "weights": str(weights),
        "weights_bytes": weights.stat().st_size,
        "curves": str(config.out / CURVES_NAME),
        "history": str(config.out / HISTORY_NAME),
        "epochs": len(history),
        "seed": config.seed,
        "seconds": round(time.monotonic() - start_s, 1),
        "scores": {} if scores is None else {name: round(value, 4) for name, value in asdict(scores).items()},
    }


class _Note:
    """Writes what stands beside the bar: epoch, loss, and the scores of the last validation."""

    def __init__(self) -> None:
        self._scores = ""

    def of(self, at: TrainingProgress, out: Path) -> str:
        if at.scores is not None:
            self._scores = f", rank-1 {at.scores.market_rank1:.3f}, mAP {at.scores.market_map:.3f}"
            draw_training_curves(read_history(out / HISTORY_NAME), out / CURVES_NAME)
        return f"epoch {at.epoch} of {at.num_epochs}, loss {at.loss:.2f}{self._scores}"


class HasSteps(Protocol):
    """Says how far a training is."""

    @property
    def epoch(self) -> int:
        """Counts from 1."""

    @property
    def num_epochs(self) -> int:
        """How many there are to be."""

    @property
    def step(self) -> int:
        """Counts from 1 within the epoch."""

    @property
    def num_steps(self) -> int:
        """Of an epoch."""


def counted(at: HasSteps) -> tuple[int, int]:
    """Return how many steps of how many are done, over all epochs."""
    return (at.epoch - 1) * at.num_steps + at.step, at.num_epochs * at.num_steps


def refuse_to_overwrite(out: Path, resume: bool) -> None:
    """Refuse a folder that holds the checkpoint of an earlier training, unless that is to be resumed.

    Raises:
        BadConfig: names both ways on.
    """
    checkpoint = out / CHECKPOINT_NAME
    if checkpoint.exists() and not resume:
        raise BadConfig(
            f"{checkpoint} is the checkpoint of an earlier training; add --resume to go on from it, or give another "
            "folder with --out DIR"
        )


def how_to_go_on(out: Path, num_epochs: int) -> str:
    """Say what a stopped training has kept, and how it goes on."""
    if not ((out / CHECKPOINT_NAME).exists() and (out / HISTORY_NAME).exists()):
        return "stopped before the first epoch was over: nothing is kept, start again"
    num_done = len(json.loads((out / HISTORY_NAME).read_text(encoding="utf-8")))
    return (
        f"stopped; {num_done} of {num_epochs} epochs are kept in {out / CHECKPOINT_NAME}: the same command "
        "with --resume goes on from there"
    )
