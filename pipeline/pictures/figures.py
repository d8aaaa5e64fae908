"""Holds what charts share: names that fit, charts over epochs, and figures written as files.

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
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from models.files import write_atomically

EPOCHS_SIZE_IN: Final = (11.0, 4.2)
EPOCHS_DPI: Final = 110
MAX_NAME: Final = 22
"""Characters of a name beside a chart."""


def short_name(name: str, length: int = MAX_NAME) -> str:
    """Shorten a name in its middle to at most `length` characters: its beginning and its end tell it apart."""
    name = " ".join(name.split())
    if len(name) <= length:
        return name
    tail = (length - 1) // 3
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def plain(text: str) -> str:
    """Keep matplotlib from reading a dollar as the start of a formula."""
    return text.replace("$", r"\$")


def epoch_figure() -> tuple[Figure, Axes, Axes]:
    """Return a figure of two charts side by side, both over epochs."""
    figure = Figure(figsize=EPOCHS_SIZE_IN, dpi=EPOCHS_DPI, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
    return figure, left, right


def draw_rates(axes: Axes, epochs: Sequence[int], rates: Sequence[float]) -> Line2D:
    """Draw the learning rate of each epoch against an axis of its own, on the right; returns its line."""
    own = axes.twinx()
    (line,) = own.plot(epochs, rates, color="0.6", linestyle=":", label="learning rate")
    own.set_ylim(bottom=0)
    own.set_ylabel("learning rate at its end", color="0.5")
    return line


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG."""
    FigureCanvasAgg(figure)
    png = BytesIO()
    figure.savefig(png, format="png")
    write_atomically(path, png.getvalue())
