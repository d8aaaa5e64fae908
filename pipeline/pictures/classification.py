"""Draws how a classifier learned, and what it takes for what.

Legend of shape suffixes: C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from models.transfer.history import TransferEpoch
from pipeline.errors import BadInput
from pipeline.pictures.figures import draw_rates, epoch_figure, plain, short_name, write_figure

MAX_COUNTED: Final = 25
"""Classes up to which each cell of the matrix shows its count: more would not be legible."""
MAX_NAMED: Final = 120
"""Classes up to which rows and columns are named."""
_DPI: Final = 110
_MIN_SIZE_IN: Final = 5.2
_MAX_SIZE_IN: Final = 24.0
_CELL_IN: Final = 0.55
_SMALL_CELL_IN: Final = 0.2
_MARGIN_IN: Final = 3.0


def draw_transfer_curves(history: Sequence[TransferEpoch], path: Path) -> None:
    """Write a PNG: losses and learning rate an epoch on the left, accuracies on the right."""
    figure, left, right = epoch_figure()
    _draw_losses(left, history)
    _draw_accuracies(right, history)
    write_figure(figure, path)


def draw_confusion(classes: Sequence[str], confusion_CC: NDArray[np.int64], path: Path) -> None:
    """Write the chart of `confusion_figure` as a PNG.

    Raises:
        BadInput: when the counts are not C x C.
    """
    write_figure(confusion_figure(classes, confusion_CC), path)


def confusion_figure(classes: Sequence[str], confusion_CC: NDArray[np.int64]) -> Figure:
    """Chart counts: a row for each true class, a column for each that it was taken for, shaded by share of the row.

    Raises:
        BadInput: when the counts are not C x C.
    """
    num_classes = len(classes)
    if confusion_CC.shape != (num_classes, num_classes):
        raise BadInput(
            f"confusion_CC is of shape {confusion_CC.shape}, expected {(num_classes, num_classes)} for "
            f"{num_classes} classes; count it with models.transfer.history.count_confusion"
        )
    cell_in = _CELL_IN if num_classes <= MAX_COUNTED else _SMALL_CELL_IN
    side_in = min(max(num_classes * cell_in + _MARGIN_IN, _MIN_SIZE_IN), _MAX_SIZE_IN)
    figure = Figure(figsize=(side_in + 0.6, side_in), dpi=_DPI, layout="constrained", facecolor="white")
    axes = figure.subplots()
    row_sums_C1 = confusion_CC.sum(1, keepdims=True)
    shares_CC = confusion_CC / np.maximum(row_sums_C1, 1)
    picture = axes.imshow(shares_CC, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, format=PercentFormatter(1), label="share of the row", shrink=0.8)
    right, total = int(confusion_CC.trace()), int(confusion_CC.sum())
    axes.set_title(f"{right} of {total} told right: {right / max(total, 1):.1%}")
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    _name_classes(axes, classes)
    if num_classes <= MAX_COUNTED:
        _write_counts(axes, confusion_CC, shares_CC)
    return figure


def _draw_losses(axes: Axes, history: Sequence[TransferEpoch]) -> None:
    epochs = [record.epoch for record in history]
    axes.set_title("Cross-entropy")
    (learned,) = axes.plot(
        epochs, [record.loss for record in history], color="C3", marker=".", label="learned from, varied"
    )
    (held_out,) = axes.plot(
        epochs, [record.held_out_loss for record in history], color="C0", marker=".", label="held out"
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("loss, mean over the epoch")
    rate = draw_rates(axes, epochs, [record.learning_rate for record in history])
    axes.legend(handles=[learned, held_out, rate], loc="upper right", frameon=False)


def _draw_accuracies(axes: Axes, history: Sequence[TransferEpoch]) -> None:
    epochs = [record.epoch for record in history]
    axes.set_title("Told right")
    for field, label, colour in (
        ("train_accuracy", "learned from, varied", "C3"),
        ("accuracy", "held out", "C0"),
    ):
        values = [getattr(record, field) for record in history]
        last = f": {values[-1]:.1%}" if values else ""
        axes.plot(epochs, values, color=colour, marker=".", label=f"{label}{last}")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="lower right", frameon=False)


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    if len(classes) > MAX_NAMED:
        return
    size = 9 if len(classes) <= MAX_COUNTED else 6
    names = [plain(short_name(name)) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)


def _write_counts(axes: Axes, confusion_CC: NDArray[np.int64], shares_CC: NDArray[np.float64]) -> None:
    for row, column in np.argwhere(confusion_CC):
        axes.text(
            column, row, f"{confusion_CC[row, column]}", ha="center", va="center", fontsize=9,
            color="white" if shares_CC[row, column] > 0.5 else "black",
        )  # fmt: skip
