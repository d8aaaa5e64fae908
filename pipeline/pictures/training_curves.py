"""Draws how the training of an embedder went: the loss, and what held-out people scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from models.reid.training_history import EpochRecord
from pipeline.pictures.figures import draw_rates, epoch_figure, write_figure

SIZE_IN: Final = (11.0, 4.2)
_DPI: Final = 110
_SCORES: Final = (
    ("market_rank1", "Market-1501 rank-1", "C0"),
    ("market_map", "Market-1501 mAP", "C1"),
    ("cuhk_rank1", "CUHK03 rank-1, single shot", "C2"),
)


def draw_training_curves(history: Sequence[EpochRecord], path: Path) -> None:
    """Write a PNG: loss and learning rate a epoch on the left, validation scores on the right."""
    figure, left, right = epoch_figure()
    _draw_loss(left, history)
    _draw_scores(right, history)
    write_figure(figure, path)


def _draw_loss(axes: Axes, history: Sequence[EpochRecord]) -> None:
    epochs = [record.epoch for record in history]
    axes.set_title("Training loss (identity + triplet)")
    (loss,) = axes.plot(epochs, [record.loss for record in history], color="C3", marker=".", label="loss")
    axes.set_ylabel("loss, mean over the epoch")
    rate = draw_rates(axes, epochs, [record.learning_rate for record in history])
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
