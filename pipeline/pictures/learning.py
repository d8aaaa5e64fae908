"""Draws what the gate decided: for each task how well it was answered before, and how well by the candidate."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from pipeline.learning.gate import CURRENT
from pipeline.pictures.figures import plain, short_name, write_figure
from pipeline.records import ModelAnnouncement, TaskScore, VersionAction

MAX_ROWS: Final = 30
"""More tasks than that do not fit on a screen at a readable size."""

_INK: Final = "#22272e"
_FAINT: Final = "#6b7480"
_RULE: Final = "#e4e7eb"
_BEFORE: Final = "#b4bcc6"
_BETTER: Final = "#3b8f6a"
_SAME: Final = "#3b6fb6"
_WORSE: Final = "#c0504d"
_METHOD_STYLES: Final = (
    ("D", "#8064a2"), ("^", "#e39b33"), ("o", "#3aa6b9"), ("s", "#d081b4"), ("v", "#7f8c3a"), ("P", "#5b6b7b"),
)  # fmt: skip
"""Marker and colour of each method that was compared, in turn."""
_TITLES: Final = {
    VersionAction.PROMOTED: ("promoted", _BETTER),
    VersionAction.REJECTED: ("rejected", _WORSE),
    VersionAction.ROLLED_BACK: ("served again", _SAME),
}
_WIDTH_IN: Final = 12.0
_DPI: Final = 110
_ROW_IN: Final = 0.66
_FOOT_IN: Final = 0.95
_HEAD_IN: Final = 0.85
_LINE_IN: Final = 0.21
_LEFT, _RIGHT = 0.225, 0.80  # of the width: names stand left of the bars, figures right of them
_REASON_LINE: Final = 120  # characters
_MAX_REASON_LINES: Final = 3
_BAR: Final = 0.27  # of a row, as are the places below
_BEFORE_AT, _AFTER_AT, _METHODS_AT, _METHODS_HEIGHT = -0.27, 0.02, 0.215, 0.22


def draw_verdict(announcement: ModelAnnouncement, path: Path) -> None:
    """Write the chart of `verdict_figure` as a PNG."""
    write_figure(verdict_figure(announcement), path)


def verdict_figure(announcement: ModelAnnouncement) -> Figure:
    """Chart the tasks that a version was judged by: what served before, the candidate, and all that was compared.

    New tasks stand above the others, each group with the greatest loss first. Where there are more than `MAX_ROWS`,
    the chart leaves out old tasks that change least, and says how many.
    """
    rows = choose_rows(announcement.scores)
    lines = _reason_lines(announcement.reason)
    head_in = _HEAD_IN + _LINE_IN * len(lines)
    height_in = head_in + max(len(rows), 2) * _ROW_IN + _FOOT_IN
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, facecolor="white")
    bottom, top = _FOOT_IN / height_in, 1 - head_in / height_in
    axes = figure.add_axes((_LEFT, bottom, _RIGHT - _LEFT, top - bottom))
    methods = list(dict.fromkeys(name for row in rows for name in row.scores if name != CURRENT))
    _set_up_axes(axes, rows)
    for index, row in enumerate(rows):
        _draw_row(axes, index, row, methods)
    _draw_head(figure, height_in, announcement, lines)
    _draw_legend(figure, height_in, methods, len(announcement.scores) - len(rows))
    return figure


def choose_rows(scores: Sequence[TaskScore]) -> list[TaskScore]:
    """Choose which tasks to chart, and order them: new ones first, then by gain, the greatest loss first."""
    weighty = sorted(scores, key=lambda score: (not score.is_new, -abs(_gain(score) or 0.0)))
    return sorted(weighty[:MAX_ROWS], key=lambda score: (not score.is_new, _gain(score) or 0.0, score.name))


def _gain(score: TaskScore) -> float | None:
    before, after = score.scores.get(CURRENT), score.scores.get(score.chosen)
    return None if before is None or after is None else after - before


def _set_up_axes(axes: Axes, rows: Sequence[TaskScore]) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(max(len(rows), 2) - 0.5, -0.5)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(axis="x", colors=_FAINT, labelsize=9, length=3)
    axes.grid(axis="x", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    num_new = sum(row.is_new for row in rows)
    if 0 < num_new < len(rows):
        axes.axhline(
            num_new - 0.5, color=_FAINT, linewidth=0.8, linestyle=(0, (4, 3)), xmin=-0.38, clip_on=False
        )
    if not rows:
        axes.text(0.5, 0.5, "no task was judged", ha="center", va="center", color=_FAINT, fontsize=12)


def _draw_row(axes: Axes, index: int, row: TaskScore, methods: Sequence[str]) -> None:
    before, after, gain = row.scores.get(CURRENT), row.scores.get(row.chosen), _gain(row)
    if before is not None:
        axes.barh(index + _BEFORE_AT, before, _BAR, color=_BEFORE)
    if after is not None:
        axes.barh(index + _AFTER_AT, after, _BAR, color=_colour(gain))
    for place, method in enumerate(methods):
        if method in row.scores:
            marker, colour = _METHOD_STYLES[place % len(_METHOD_STYLES)]
            at = index + _METHODS_AT + _METHODS_HEIGHT * place / max(len(methods) - 1, 1)
            axes.plot(row.scores[method], at, marker, color=colour, markersize=4.5, clip_on=False, zorder=3)
    _name_row(axes, index, row)
    _write_figures(axes, index, row, gain)


def _name_row(axes: Axes, index: int, row: TaskScore) -> None:
    beside: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "ha": "right",
        "va": "center",
        "clip_on": False,
    }
    name = plain(short_name(row.name))
    axes.text(
        -0.015,
        index - 0.14,
        name,
        fontsize=10.5,
        color=_INK,
        weight="bold" if row.is_new else "normal",
        **beside,
    )
    queries = f"{row.num_queries} quer{'y' if row.num_queries == 1 else 'ies'}" if row.num_queries else ""
    words = ", ".join(filter(None, ("new" if row.is_new else "", row.kind.value, queries)))
    axes.text(-0.015, index + 0.2, words, fontsize=8.5, color=_BETTER if row.is_new else _FAINT, **beside)


def _write_figures(axes: Axes, index: int, row: TaskScore, gain: float | None) -> None:
    beside: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "ha": "left",
        "va": "center",
        "clip_on": False,
    }
    before, after = (_percent(row.scores.get(name)) for name in (CURRENT, row.chosen))
    axes.text(1.025, index - 0.14, f"{before} → {after}", fontsize=10, color=_INK, **beside)
    points = "" if gain is None else f"{100 * gain:+.1f} points"
    chosen = f"by {plain(short_name(row.chosen))}" if row.chosen else ""
    words = ", ".join(filter(None, (points, chosen)))
    axes.text(1.025, index + 0.2, words, fontsize=8.5, color=_colour(gain), **beside)


def _draw_head(
    figure: Figure, height_in: float, announcement: ModelAnnouncement, lines: Sequence[str]
) -> None:
    verdict, colour = _TITLES[announcement.action]
    version = announcement.version or "no version"
    title = f"{plain(short_name(version, 40))}: {verdict}"
    figure.text(0.02, 1 - 0.34 / height_in, title, fontsize=15, fontweight="bold", color=colour, va="center")
    for number, line in enumerate(lines):
        at_in = 0.68 + _LINE_IN * number
        figure.text(0.02, 1 - at_in / height_in, plain(line), fontsize=10, color=_FAINT, va="center")


def _draw_legend(figure: Figure, height_in: float, methods: Sequence[str], num_left_out: int) -> None:
    handles: list[Patch | Line2D] = [Patch(color=_BEFORE, label="served before")]
    handles += [
        Patch(color=colour, label=f"candidate: {words}")
        for colour, words in ((_BETTER, "better"), (_SAME, "as good"), (_WORSE, "worse"))
    ]
    for place, method in enumerate(methods):
        marker, colour = _METHOD_STYLES[place % len(_METHOD_STYLES)]
        label = plain(short_name(method))
        handles.append(Line2D([], [], marker=marker, color=colour, linestyle="", markersize=5, label=label))
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.015, 0.06 / height_in), frameon=False, ncols=5, fontsize=9,
        labelcolor=_INK, handlelength=1.2, handleheight=0.9, columnspacing=1.6,
    )  # fmt: skip
    if num_left_out:
        words = f"not charted: {num_left_out}, those that change least"
        figure.text(0.98, 0.16 / height_in, words, fontsize=9, color=_FAINT, ha="right", va="center")


def _reason_lines(reason: str) -> list[str]:
    return textwrap.wrap(reason, _REASON_LINE, max_lines=_MAX_REASON_LINES, placeholder=" …")


def _colour(gain: float | None) -> str:
    if gain is None or round(gain, 4) == 0:
        return _SAME
    return _BETTER if gain > 0 else _WORSE


def _percent(score: float | None) -> str:
    return "–" if score is None else f"{100 * score:.1f} %"
