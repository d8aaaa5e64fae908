"""Draws how the training of an embedder went: the loss, and what held-out people scored.

Uses matplotlib's objects without pyplot, whose global state is not safe between threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from models.files import write_atomically
from models.reid.training_history import EpochRecord

SIZE_IN: Final = (11.0, 4.2)
_DPI: Final = 110
_SCORES: Final = (
    ("market_rank1", "Market-1501 rank-1", "C0"),
    ("market_map", "Market-1501 mAP", "C1"),
    ("cuhk_rank1", "CUHK03 rank-1, single shot", "C2"),
)


def draw_training_curves(history: Sequence[EpochRecord], path: Path) -> None:
    """Write a PNG: loss and learning rate a epoch on the left, validation scores on the right."""
    figure = Figure(figsize=SIZE_IN, dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_loss(left, history)
    _draw_scores(right, history)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
    png = BytesIO()
    figure.savefig(png, format="png")
    write_atomically(path, png.getvalue())


def _draw_loss(axes: Axes, history: Sequence[EpochRecord]) -> None:
    epochs = [record.epoch for record in history]
    axes.set_title("Training loss (identity + triplet)")
    (loss,) = axes.plot(epochs, [record.loss for record in history], color="C3", marker=".", label="loss")
    axes.set_ylabel("loss, mean over the epoch")
    rates = axes.twinx()
    (rate,) = rates.plot(
        epochs,
        [record.learning_rate for record in history],
        color="0.6",
        linestyle=":",
        label="learning rate",
    )
    rates.set_ylim(bottom=0)
    rates.set_ylabel("learning rate at its end", color="0.5")
    axes.legend(handles=[loss, rate], loc="upper right", frameon=False)


def _draw_scores(axes: Axes, history: Sequence[EpochRecord]) -> None:
    scored = [(record.epoch, record.scores) for record in history if record.scores is not None]
    axes.set_title("People held out")
    for field, label, colour in _SCORES:
        values = [getattr(scores, field) for _, scores in scored]
        last = f": {values[-1]:.1%}" if values else ""
        axes.plot([epoch for epoch, _ in scored], values, color=colour, marker=".", label=f"{label}{last}")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="lower right", frameon=False)
