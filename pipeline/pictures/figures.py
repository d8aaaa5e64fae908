"""Holds what charts share: names that fit, and figures written as files.

Uses matplotlib's objects without pyplot, whose global state is not safe between threads.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.files import write_atomically

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


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG."""
    FigureCanvasAgg(figure)
    png = BytesIO()
    figure.savefig(png, format="png")
    write_atomically(path, png.getvalue())
