"""Trains an image classifier by transfer as a command does: with progress, curves and a confusion matrix."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from cluster.train import CURVES_NAME, Interrupted, OnProgress, counted, how_to_go_on, refuse_to_overwrite
from models.files import write_atomically
from models.training_run import HISTORY_NAME
from models.transfer.config import TransferTrainingConfig
from models.transfer.history import TransferOutcome, TransferProgress, read_history
from models.transfer.training import train_transfer
from pipeline.pictures.classification import draw_confusion, draw_transfer_curves

CONFUSION_NAME: Final = "confusion"


def run_transfer(config: TransferTrainingConfig, on_progress: OnProgress) -> dict[str, Any]:
    """Train, draw curves and confusion matrix, and return what came out.

    Raises:
        BadConfig: the out folder holds a checkpoint and nobody said to resume.
        ModelError: the pictures, the weights, the settings or the checkpoint cannot be used.
        Interrupted: Ctrl-C; the message says how to go on.
    """
    refuse_to_overwrite(config.out, config.resume)
    start_s = time.monotonic()
    note = _Note()
    try:
        outcome = train_transfer(config, lambda at: on_progress(*counted(at), note.of(at, config.out)))
    except KeyboardInterrupt as error:
        raise Interrupted(how_to_go_on(config.out, config.epochs)) from error
    history = read_history(config.out / HISTORY_NAME)
    draw_transfer_curves(history, config.out / CURVES_NAME)
    draw_confusion(outcome.classes, outcome.confusion_CC, config.out / f"{CONFUSION_NAME}.png")
    report = confusion_report(outcome)
    write_atomically(config.out / f"{CONFUSION_NAME}.json", json.dumps(report, indent=1).encode())
    return {
        "weights": str(outcome.weights),
        "weights_bytes": outcome.weights.stat().st_size,
        "curves": str(config.out / CURVES_NAME),
        "confusion": str(config.out / f"{CONFUSION_NAME}.png"),
        "history": str(config.out / HISTORY_NAME),
        "backbone": outcome.backbone,
        "pretrained": config.pretrained,
        "frozen_stages": outcome.num_frozen,
        "size": outcome.size,
        "classes": len(outcome.classes),
        "epochs": len(history),
        "seed": config.seed,
        "seconds": round(time.monotonic() - start_s, 1),
        "scores": {name: report[name] for name in ("held_out", "accuracy", "balanced_accuracy")},
    }


def confusion_report(outcome: TransferOutcome) -> dict[str, Any]:
    """Return the counts and what follows from them as plain values: rows are true, columns what was taken for it."""
    right_C = outcome.confusion_CC.diagonal()
    recall_C = right_C / outcome.confusion_CC.sum(1)
    precision_C = right_C / np.maximum(outcome.confusion_CC.sum(0), 1)
    return {
        "held_out": int(outcome.confusion_CC.sum()),
        "accuracy": round(outcome.accuracy, 4),
        "balanced_accuracy": round(outcome.balanced_accuracy, 4),
        "classes": list(outcome.classes),
        "confusion": outcome.confusion_CC.tolist(),
        "recall": [round(float(share), 4) for share in recall_C],
        "precision": [round(float(share), 4) for share in precision_C],
    }


class _Note:
    """Writes what stands beside the bar: epoch, loss, and the last accuracy."""

    def __init__(self) -> None:
        self._accuracy = ""

    def of(self, at: TransferProgress, out: Path) -> str:
        if at.accuracy is not None:
            self._accuracy = f", accuracy {at.accuracy:.3f}"
            draw_transfer_curves(read_history(out / HISTORY_NAME), out / CURVES_NAME)
        return f"epoch {at.epoch} of {at.num_epochs}, loss {at.loss:.2f}{self._accuracy}"
