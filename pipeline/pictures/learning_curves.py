"""Draws how well something is done after how many examples, one line a way of learning it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from pipeline.pictures.figures import write_figure

PANEL_IN: Final = (5.5, 4.2)
_DPI: Final = 110


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Is one line of a picture."""

    label: str
    panel: str
    """Title of the part of the picture that it is drawn in."""
    scores: Mapping[int, float]
    """Share in [0, 1] by number of examples."""


def draw_learning_curves(
    curves: Sequence[LearningCurve], path: Path, *, title: str, x_label: str = "examples"
) -> None:
    """Write a PNG: a panel for each of those named, examples on a logarithmic axis."""
    panels = list(dict.fromkeys(curve.panel for curve in curves))
    width, height = PANEL_IN
    figure = Figure(figsize=(width * len(panels), height), dpi=_DPI, layout="constrained", facecolor="white")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_panel(axes, [curve for curve in curves if curve.panel == panel], x_label)
        axes.set_title(f"{panel}: {title}")
    write_figure(figure, path)


def _draw_panel(axes: Axes, curves: Sequence[LearningCurve], x_label: str) -> None:
    for number, curve in enumerate(curves):
        nums = sorted(curve.scores)
        axes.plot(
            nums, [curve.scores[num] for num in nums], color=f"C{number}", marker=".", label=curve.label
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({num for curve in curves for num in curve.scores})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(x_label)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False)
