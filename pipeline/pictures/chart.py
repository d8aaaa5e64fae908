"""Charts journeys: a row for each identity, time to the right, a bar for each stay in a camera's view.

Uses matplotlib's objects without pyplot, whose global state is not safe between threads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Final, NamedTuple

import cv2
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from models.detector import ImageHW3
from pipeline.journeys import Sighting, first_seen, summarise_journeys
from pipeline.pictures.colours import CAMERA_COLOURS, Colour, Legend, ink_on

MAX_ROWS: Final = 40
"""More rows than that do not fit on a screen at a readable size."""

Crops = Mapping[str, Sequence[tuple[str, ImageHW3]]]
"""By identity: (camera, cut-out of the person)."""

_INK: Final = "#22272e"
_FAINT: Final = "#6b7480"
_RULE: Final = "#e4e7eb"
_WIDTH_IN: Final = 14.0
_DPI: Final = 110
_MAX_CROPS: Final = 4
_SHORTEST: Final = 0.004  # of the time axis: a sighting of a single frame still shows as a bar


class _Row(NamedTuple):
    identity: str
    sightings: list[Sighting]
    cross_camera: bool


def journeys_png(
    seen: Sequence[Sighting],
    legend: Legend | None = None,
    *,
    cameras: Sequence[str] | None = None,
    crops: Crops | None = None,
    title: str = "Journeys",
    note: str = "",
    max_rows: int = MAX_ROWS,
) -> bytes:
    """Return a PNG that shows who was where when.

    Those seen by two cameras or more stand above the others, each group by first sighting. Where there are
    more than `max_rows` identities, those of two cameras come first and then the longest seen; the chart
    says how many are left out. `legend` is the mosaic's; `crops` adds cut-outs beside each row; `note` ends the
    summary.
    """
    figure = journeys_figure(
        seen, legend or Legend.of(first_seen(seen)), cameras=cameras, crops=crops or {}, title=title, note=note,
        max_rows=max_rows,
    )  # fmt: skip
    png = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png")
    return png.getvalue()


def journeys_figure(
    seen: Sequence[Sighting],
    legend: Legend,
    *,
    cameras: Sequence[str] | None,
    crops: Crops,
    title: str,
    note: str = "",
    max_rows: int,
) -> Figure:
    """Draw the chart of `journeys_png` as a figure."""
    rows = _choose_rows(seen, max_rows)
    row_in = 0.62 if crops else 0.34
    head_in, foot_in = 1.15, 0.75
    height_in = head_in + foot_in + max(len(rows), 3) * row_in
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, facecolor="white")
    right = 0.985 - (0.115 if crops else 0.0)
    bottom, top = foot_in / height_in, 1 - head_in / height_in
    axes = figure.add_axes((0.065, bottom, right - 0.065, top - bottom))
    met = sorted(
        {sighting.camera for sighting in seen} | {camera for row in crops.values() for camera, _ in row}
    )
    names = list(dict.fromkeys([*(cameras or ()), *met]))
    colour_of = {camera: CAMERA_COLOURS[i % len(CAMERA_COLOURS)] for i, camera in enumerate(names)}
    end_s = max((sighting.end_s for sighting in seen), default=1.0)
    _set_up_axes(axes, rows, max(end_s, 1.0))
    for index, row in enumerate(rows):
        _draw_row(axes, index, row, colour_of, legend)
        _draw_crops(axes, index, crops.get(row.identity, ()), colour_of)
    _draw_groups(axes, rows)
    _draw_head(figure, height_in, title, _summary(seen, len(rows), note), colour_of)
    return figure


def _choose_rows(seen: Sequence[Sighting], max_rows: int) -> list[_Row]:
    """Choose which identities to show, and order them: cross-camera ones first, then by first sighting."""
    by_identity: defaultdict[str, list[Sighting]] = defaultdict(list)
    for sighting in sorted(seen):
        by_identity[sighting.identity].append(sighting)
    rows = [
        _Row(identity, stays, len({stay.camera for stay in stays}) >= 2)
        for identity, stays in by_identity.items()
    ]
    rows.sort(
        key=lambda row: (not row.cross_camera, -sum(stay.end_s - stay.start_s for stay in row.sightings))
    )
    return sorted(rows[:max_rows], key=lambda row: (not row.cross_camera, row.sightings[0]))


def _handovers(stays: Sequence[Sighting]) -> list[tuple[Sighting, Sighting]]:
    """Pair the stay that ended last with the next one, wherever no camera saw the identity in between."""
    found: list[tuple[Sighting, Sighting]] = []
    latest = stays[0]
    for stay in stays[1:]:
        if stay.start_s >= latest.end_s:
            found.append((latest, stay))
        latest = max(latest, stay, key=lambda one: one.end_s)
    return found


def _lanes(stays: Sequence[Sighting], cameras: Iterable[str]) -> dict[str, int]:
    """Give each camera of a row its lane: all the same while no two see it at once, else one each, in order."""
    present = {stay.camera for stay in stays}
    overlap = len(_handovers(stays)) < len(stays) - 1
    ordered = [camera for camera in cameras if camera in present]
    return {camera: lane if overlap else 0 for lane, camera in enumerate(ordered)}


def _set_up_axes(axes: Axes, rows: Sequence[_Row], end_s: float) -> None:
    axes.set_xlim(0, end_s * 1.005)
    axes.set_ylim(max(len(rows), 3) - 0.4, -0.6)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    minutes = end_s >= 180
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda s, _: f"{int(s) // 60}:{int(s) % 60:02d}" if minutes else f"{s:g}")
    )
    axes.tick_params(axis="x", colors=_FAINT, labelsize=9, length=3)
    axes.set_xlabel("time (minutes:seconds)" if minutes else "time (seconds)", color=_FAINT, fontsize=10)
    axes.grid(axis="x", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_row(axes: Axes, index: int, row: _Row, colour_of: Mapping[str, str], legend: Legend) -> None:
    lane_of = _lanes(row.sightings, colour_of)
    height = 0.74 / (max(lane_of.values()) + 1)
    middle_of = {camera: index - 0.37 + height * (lane + 0.5) for camera, lane in lane_of.items()}
    axes.axhline(index + 0.5, color=_RULE, linewidth=0.8, zorder=0)
    for before, after in _handovers(row.sightings):
        ends = middle_of[before.camera], middle_of[after.camera]
        axes.plot([before.end_s, after.start_s], ends, color="#aab2bc", linewidth=1.2, zorder=2)
    for stay in row.sightings:
        length = max(stay.end_s - stay.start_s, _SHORTEST * axes.get_xlim()[1])
        axes.barh(
            middle_of[stay.camera], length, left=stay.start_s, height=height * 0.92,
            color=colour_of[stay.camera], edgecolor="white", linewidth=0.6, zorder=3,
        )  # fmt: skip
    colour = legend.colour(row.identity)
    axes.text(
        -0.012, index, legend.name(row.identity), transform=axes.get_yaxis_transform(), ha="right", va="center",
        fontsize=9, fontweight="bold", color=_hex(ink_on(colour)),
        bbox={"boxstyle": "round,pad=0.28,rounding_size=0.25", "facecolor": _hex(colour), "edgecolor": "none"},
    )  # fmt: skip


def _draw_crops(
    axes: Axes, index: int, crops: Sequence[tuple[str, ImageHW3]], colour_of: Mapping[str, str]
) -> None:
    """Put one cut-out a camera to the right of the row, framed in the camera's colour."""
    firsts: dict[str, ImageHW3] = {}
    for camera, crop in sorted(crops, key=lambda pair: list(colour_of).index(pair[0])):
        firsts.setdefault(camera, crop)
    height = 56
    for place, (camera, crop) in enumerate(list(firsts.items())[:_MAX_CROPS]):
        width = min(max(1, round(crop.shape[1] * height / crop.shape[0])), 36)
        small = cv2.cvtColor(
            cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB
        )
        picture = AnnotationBbox(
            OffsetImage(small, zoom=72 / _DPI), (1.018 + 0.034 * place, index), xycoords=axes.get_yaxis_transform(),
            frameon=True, pad=0.12, bboxprops={"edgecolor": colour_of[camera], "linewidth": 1.6}, annotation_clip=False,
        )  # fmt: skip
        axes.add_artist(picture)


def _draw_groups(axes: Axes, rows: Sequence[_Row]) -> None:
    """Rule off those seen by several cameras from those seen by one, and name both groups."""
    if not rows:
        axes.text(
            0.5,
            0.5,
            "nobody was identified",
            transform=axes.transAxes,
            ha="center",
            color=_FAINT,
            fontsize=12,
        )
        return
    num_cross = sum(row.cross_camera for row in rows)
    if 0 < num_cross < len(rows):
        axes.axhline(
            num_cross - 0.5, color=_FAINT, linewidth=0.8, linestyle=(0, (4, 3)), xmin=-0.06, clip_on=False
        )
    for words, start, stop in (("two cameras or more", 0, num_cross), ("one camera", num_cross, len(rows))):
        if stop > start:
            axes.text(
                -0.052, (start + stop - 1) / 2, words, transform=axes.get_yaxis_transform(), rotation=90,
                ha="center", va="center", fontsize=9, color=_FAINT, clip_on=False,
            )  # fmt: skip


def _summary(seen: Sequence[Sighting], num_shown: int, note: str) -> str:
    summary = summarise_journeys(seen)
    words = (
        f"{summary.num_identities} identities, {summary.num_cross_camera} of them seen by two cameras or more"
    )
    left_out = summary.num_identities - num_shown
    if left_out:
        words += f"; not charted: {left_out}, the ones in view for the shortest time"
    return f"{words}; {note}" if note else words


def _draw_head(
    figure: Figure,
    height_in: float,
    title: str,
    words: str,
    colour_of: Mapping[str, str],
) -> None:
    figure.text(0.02, 1 - 0.38 / height_in, title, fontsize=16, fontweight="bold", color=_INK, va="center")
    figure.text(0.02, 1 - 0.74 / height_in, words, fontsize=10.5, color=_FAINT, va="center")
    handles = [Patch(facecolor=colour, label=camera) for camera, colour in colour_of.items()]
    if handles:
        figure.legend(
            handles=handles, loc="center right", bbox_to_anchor=(0.985, 1 - 0.42 / height_in), frameon=False,
            ncols=min(len(handles), 6), fontsize=10, labelcolor=_INK, handlelength=1.2, handleheight=1.0,
        )  # fmt: skip


def _hex(colour: Colour) -> str:
    blue, green, red = colour
    return f"#{red:02x}{green:02x}{blue:02x}"
