"""Trains the embedder as a command does: with progress, curves, and a word on how to go on after an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from cluster.errors import BadConfig
from models.reid.training import CHECKPOINT_NAME, HISTORY_NAME, EmbedderTrainingConfig, train_embedder
from models.reid.training_history import TrainingProgress, read_history
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
    _refuse_to_overwrite(config)
    start_s = time.monotonic()
    note = _Note()
    try:
        weights = train_embedder(config, lambda at: on_progress(*_counted(at), note.of(at, config.out)))
    except KeyboardInterrupt as error:
        raise Interrupted(_how_to_go_on(config)) from error
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


def _counted(at: TrainingProgress) -> tuple[int, int]:
    return (at.epoch - 1) * at.num_steps + at.step, at.num_epochs * at.num_steps


def _refuse_to_overwrite(config: EmbedderTrainingConfig) -> None:
    checkpoint = config.out / CHECKPOINT_NAME
    if checkpoint.exists() and not config.resume:
        raise BadConfig(
            f"{checkpoint} is the checkpoint of an earlier training; add --resume to go on from it, or give another "
            "folder with --out DIR"
        )


def _how_to_go_on(config: EmbedderTrainingConfig) -> str:
    if not (config.out / CHECKPOINT_NAME).exists():
        return "stopped before the first epoch was over: nothing is kept, start again"
    num_done = len(read_history(config.out / HISTORY_NAME))
    return (
        f"stopped; {num_done} of {config.epochs} epochs are kept in {config.out / CHECKPOINT_NAME}: the same command "
        "with --resume goes on from there"
    )
