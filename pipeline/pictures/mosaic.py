"""Joins the views of a site into one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Final, NamedTuple

import cv2
import numpy as np

from models.detector import ImageHW3
from pipeline.errors import BadInput
from pipeline.pictures.colours import Colour
from pipeline.pictures.lettering import stamp, text

SEPARATOR: Final = 4
"""Pixels between views."""

_GROUND: Final[Colour] = (26, 23, 20)
_PANEL: Final[Colour] = (44, 40, 36)
_BRIGHT: Final[Colour] = (245, 245, 245)
_FAINT: Final[Colour] = (170, 165, 158)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Holds what stands above the views."""

    site: str
    at_s: float
    """Seconds since the run's first frame."""
    num_people: int
    """Distinct identities in view now."""


class Layout(NamedTuple):
    """Says where the views of a mosaic stand, in pixels; all sizes are even, as video needs them."""

    cameras: tuple[str, ...]
    num_columns: int
    cell_width: int
    cell_height: int
    header_height: int

    @property
    def width(self) -> int:
        """Width of the whole picture."""
        return self.num_columns * (self.cell_width + SEPARATOR) - SEPARATOR

    @property
    def height(self) -> int:
        """Height of the whole picture."""
        num_rows = ceil(len(self.cameras) / self.num_columns)
        return self.header_height + num_rows * (self.cell_height + SEPARATOR) - SEPARATOR

    @classmethod
    def grid(cls, cameras: Sequence[str], width: int = 1280, aspect: float = 4 / 3) -> Layout:
        """Lay views of `aspect` (width / height) out in a near-square grid, row by row, about `width` wide.

        Raises:
            BadInput: there is no camera, or no room for a view.
        """
        if not cameras:
            raise BadInput("a mosaic needs at least one camera, got none")
        num_columns = ceil(sqrt(len(cameras)))
        cell_width = _even((width + SEPARATOR) / num_columns - SEPARATOR)
        if cell_width < 64:
            raise BadInput(
                f"{len(cameras)} views in {width} pixels leave {cell_width} each; give a larger width"
            )
        return cls(tuple(cameras), num_columns, cell_width, _even(cell_width / aspect), _even(width / 26))

    def origin(self, index: int) -> tuple[int, int]:
        """Return the (left, top) of the view at `index`."""
        row, column = divmod(index, self.num_columns)
        return (
            column * (self.cell_width + SEPARATOR),
            self.header_height + row * (self.cell_height + SEPARATOR),
        )


class Mosaic:
    """Is a picture under construction: cells to draw into, and a header."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.image: ImageHW3 = np.full((layout.height, layout.width, 3), _GROUND, np.uint8)

    def cell(self, camera: str) -> ImageHW3:
        """Return the part of the picture that shows `camera`; drawing into it draws into the mosaic."""
        left, top = self.layout.origin(self.layout.cameras.index(camera))
        return self.image[top : top + self.layout.cell_height, left : left + self.layout.cell_width]

    def place(self, camera: str, view: ImageHW3 | None) -> ImageHW3:
        """Fill a camera's cell with its view, whole and undistorted, or with a panel if there is none."""
        cell = self.cell(camera)
        if view is None:
            _draw_no_signal(cell, camera)
            return cell
        if view.shape == cell.shape:
            cell[:] = view
            return cell
        scale = min(cell.shape[1] / view.shape[1], cell.shape[0] / view.shape[0])
        width, height = round(view.shape[1] * scale), round(view.shape[0] * scale)
        left, top = (cell.shape[1] - width) // 2, (cell.shape[0] - height) // 2
        cell[:] = 0
        inner = cell[top : top + height, left : left + width]
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        inner[:] = cv2.resize(view, (width, height), interpolation=way)
        return inner

    def draw_header(self, header: Header) -> None:
        """Draw the strip above the views: site, people in view, time."""
        height, width = self.layout.header_height, self.layout.width
        strip = self.image[:height]
        cv2.rectangle(strip, (0, 0), (width, height), _GROUND, cv2.FILLED)
        size, margin = round(height * 0.42), round(height * 0.35)
        name = text(header.site, size, _BRIGHT, bold=True)
        top = (height - name.height) // 2
        stamp(strip, name, margin, top)
        clock = text(clock_time(header.at_s), size, _BRIGHT, bold=True)
        stamp(strip, clock, width - margin - clock.width, top)
        people = "person" if header.num_people == 1 else "people"
        count = text(f"{header.num_people} {people} in view", size, _FAINT)
        stamp(strip, count, (width - count.width) // 2, top)


def mosaic(views: Mapping[str, ImageHW3 | None], layout: Layout, header: Header) -> ImageHW3:
    """Join drawn views into one H x W x 3 picture; a camera of the layout without a view shows "no signal"."""
    picture = Mosaic(layout)
    for camera in layout.cameras:
        picture.place(camera, views.get(camera))
    picture.draw_header(header)
    return picture.image


def clock_time(at_s: float) -> str:
    """Write seconds as minutes, seconds and tenths, with hours where there are any."""
    tenths = max(0, round(at_s * 10))
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{minutes:02d}:{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{seconds}" if hours else seconds


def _draw_no_signal(cell: ImageHW3, camera: str) -> None:
    cell[:] = _PANEL
    size = max(10, round(cell.shape[0] / 24))
    words, name = text("no signal", size, _FAINT), text(camera, size, _BRIGHT, bold=True)
    middle = cell.shape[0] // 2
    stamp(cell, name, (cell.shape[1] - name.width) // 2, middle - name.height)
    stamp(cell, words, (cell.shape[1] - words.width) // 2, middle)


def _even(pixels: float) -> int:
    return int(pixels) // 2 * 2
