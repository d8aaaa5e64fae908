"""Draws what teaching changed: a frame before and after, people found by another camera, and shares of right answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from models.detector import ImageHW3
from pipeline.pictures.colours import Legend
from pipeline.pictures.figures import plain, write_figure
from pipeline.pictures.views import draw_view
from pipeline.records import Observation

SIZE_IN: Final = (13.0, 9.6)
_DPI: Final = 100
_BEFORE: Final = "#b4bcc6"
_AFTER: Final = "#3b8f6a"
_WRONG: Final = "#c0504d"
_MAX_CORRECTIONS: Final = 5
_CROP: Final = (60, 128)  # width, height


class Shown(NamedTuple):
    """Is a frame, and who is seen in it."""

    image: ImageHW3
    observations: Sequence[Observation]


class Correction(NamedTuple):
    """Is somebody seen by the taught camera, and who was taken for them in another, before and after."""

    query: ImageHW3
    before: ImageHW3
    after: ImageHW3


def draw_lesson(
    before: Shown, after: Shown, corrections: Sequence[Correction], report: Mapping[str, Any], path: Path
) -> None:
    """Write a PNG; `report` is what the demonstration's report says of learning."""
    figure = Figure(figsize=SIZE_IN, dpi=_DPI, facecolor="white")
    top, bottom = _split(figure, (2, 1), height_ratios=[5.4, 4.2])
    name, camera = report["class"]["name"], report["camera"]["name"]
    for axes, words, shown in zip(top.subplots(1, 2), ("before", "after"), (before, after), strict=True):
        axes.imshow(_drawn(shown)[..., ::-1])
        axes.set_title(plain(f"{words} {name!r} was taught"), loc="left")
        axes.set_axis_off()
    top.subplots_adjust(left=0.02, right=0.98, top=0.86, bottom=0.02, wspace=0.04)
    left, right = _split(bottom, (1, 2), width_ratios=[1, 1.15])
    _draw_scores(left, report)
    _draw_corrections(right, corrections[:_MAX_CORRECTIONS], camera)
    served = f"Taught while the site ran; served {report['seconds_to_served']:.0f} s later"
    figure.suptitle(served, x=0.02, y=0.985, ha="left", weight="bold")
    write_figure(figure, path)


def _split(figure: Figure | SubFigure, shape: tuple[int, int], **ratios: list[float]) -> list[SubFigure]:
    parts: Any = figure.subfigures(*shape, squeeze=True, **ratios)  # type: ignore[call-overload]  # ratios by name
    return list(parts)


def _draw_scores(figure: SubFigure, report: Mapping[str, Any]) -> None:
    taught, camera = report["class"], report["camera"]
    counted = taught["after"]
    rows = [
        (f"{taught['name']}: wearer named\n(of {counted['wearers']})", *_share(taught, "wearers")),
        (f"{taught['name']}: others named\nby mistake (of {counted['others']})", *_share(taught, "others")),
        (
            f"camera {camera['name']}: found by the\nother camera (of {camera['questions']})",
            camera["rank1_before"],
            camera["rank1_after"],
        ),
    ]
    axes = figure.subplots()
    for row, (_, was, now) in enumerate(rows):
        for offset, share, colour in ((-0.19, was, _BEFORE), (0.19, now, _AFTER)):
            axes.barh(row + offset, share, 0.34, color=colour)
            axes.text(share + 0.015, row + offset, f"{share:.0%}", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [plain(words) for words, _, _ in rows])
    axes.set_xlim(0, 1.14)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.set_title("grey before, green after", loc="left", fontsize=10)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.subplots_adjust(left=0.36, right=0.98, top=0.86, bottom=0.06)


def _draw_corrections(figure: SubFigure, corrections: Sequence[Correction], camera: str) -> None:
    figure.suptitle(
        plain(f"seen by {camera} (left), taken for by day: before (red), after (green)"),
        x=0.04,
        ha="left",
        fontsize=10,
    )
    if not corrections:
        return
    grid = figure.subplots(1, _MAX_CORRECTIONS, squeeze=False)[0]
    for axes, correction in zip(grid, corrections, strict=False):
        _draw_correction(axes, correction)
    for axes in grid:
        axes.set_axis_off()
    figure.subplots_adjust(left=0.04, right=0.98, top=0.86, bottom=0.04, wspace=0.12)


def _draw_correction(axes: Axes, correction: Correction) -> None:
    query, before, after = (cv2.resize(crop, _CROP)[..., ::-1] for crop in correction)
    width, height = _CROP
    empty = np.full((height, width, 3), 255, np.uint8)
    axes.imshow(np.vstack([np.hstack([query, before]), np.hstack([empty, after])]))
    for row, colour in ((0, _WRONG), (1, _AFTER)):
        corner = (width - 0.5, row * height - 0.5)
        axes.add_patch(_frame(corner, width, height, colour))


def _frame(corner: tuple[float, float], width: int, height: int, colour: str) -> Any:
    return Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=3)


def _drawn(shown: Shown) -> ImageHW3:
    image = shown.image.copy()
    draw_view(image, shown.observations, {}, Legend({}, {}))
    return image


def _share(taught: Mapping[str, Any], who: str) -> tuple[float, float]:
    before, after = (taught[when][f"{who}_named"] / max(taught[when][who], 1) for when in ("before", "after"))
    return before, after
