"""Draws identities into one camera's view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Final

import cv2
import numpy as np

from models.detector import ImageHW3
from pipeline.pictures.colours import BLACK, WHITE, Colour, Legend, ink_on
from pipeline.pictures.lettering import label, stamp, tinted
from pipeline.pictures.trails import Footstep, Trails
from pipeline.records import Observation

MIN_SHOWN_SCORE: Final = 0.35
UNIDENTIFIED: Final[Colour] = (190, 190, 190)
"""The grey of boxes that belong to no identity (yet)."""
TAUGHT: Final[Colour] = (60, 190, 255)
"""The amber of boxes that are of a class taught at the site, and of no identity (yet)."""

_CASING: Final[Colour] = (24, 24, 24)  # a dark edge keeps a colour readable on any ground
_TRAIL_OPACITY: Final = 0.85
_TRAIL_PIECES: Final = 6
_TRAIL_MARGIN: Final = 3
_SUBPIXEL_BITS: Final = 3  # cv2 draws in fixed point: 3 bits place a line to an eighth of a pixel

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture


def draw_view(
    image: ImageHW3,
    observations: Iterable[Observation],
    identity_of_track: Mapping[str, str],
    legend: Legend,
    *,
    caption: str = "",
    trails: Trails | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
) -> None:
    """Draw boxes, names and trails into `image`, in place.

    `scale` is (x, y) pixels of `image` per pixel of the source frame that the boxes and trails refer to. The
    far ones are drawn first, so that who stands nearer covers who stands behind. What has no identity is shown
    only where it is likely to be somebody: a detector's weak guesses are for the tracker, not for people.
    """
    size = _letter_size(image)
    width, height = image.shape[1] - 1, image.shape[0] - 1
    if trails is not None:
        for track, steps in trails:
            if track in identity_of_track:
                _draw_trail(image, trails, steps, legend.colour(identity_of_track[track]), scale)
    named: list[tuple[str, Colour, Box]] = []
    for seen in sorted(observations, key=lambda seen: seen.box[3]):
        box = _clipped(seen.box, scale, width, height)
        identity = identity_of_track.get(seen.track or "")
        if identity is None and not seen.taught and seen.score < MIN_SHOWN_SCORE:
            continue
        words = [] if identity is None else [legend.name(identity)]
        words += sorted(seen.taught)
        if not words:
            cv2.rectangle(image, box[:2], box[2:], UNIDENTIFIED, 1)
            continue
        colour = TAUGHT if identity is None else legend.colour(identity)
        _draw_box(image, box, colour)
        named.append((", ".join(words), colour, box))
    taken = [_draw_caption(image, caption, size)] if caption else []
    for name, colour, box in reversed(named):  # the nearest one chooses its place first
        taken.append(_draw_name(image, box, name, colour, size, taken))


def _letter_size(image: ImageHW3) -> int:
    return max(10, round(int(image.shape[0]) / 33))


def _clipped(box: tuple[float, ...], scale: tuple[float, float], width: int, height: int) -> Box:
    left, right = (min(max(round(x * scale[0]), 0), width) for x in (box[0], box[2]))
    top, bottom = (min(max(round(y * scale[1]), 0), height) for y in (box[1], box[3]))
    return left, top, right, bottom


def _draw_box(image: ImageHW3, box: Box, colour: Colour) -> None:
    # Upright lines on whole pixels have no jagged edges to smooth, and plain ones cost a third.
    cv2.rectangle(image, box[:2], box[2:], _CASING, 4)
    cv2.rectangle(image, box[:2], box[2:], colour, 2)


def _draw_caption(image: ImageHW3, caption: str, size: int) -> Box:
    sprite = label(caption, size, WHITE, BLACK, opacity=0.62)
    stamp(image, sprite, size // 2, size // 2)
    return size // 2, size // 2, size // 2 + sprite.width, size // 2 + sprite.height


def _draw_name(image: ImageHW3, box: Box, name: str, colour: Colour, size: int, taken: list[Box]) -> Box:
    sprite = label(name, size, ink_on(colour), colour)
    left, top, right, bottom = box
    flush_right = right + 2 - sprite.width
    places = [
        (left - 1, top - sprite.height),
        (flush_right, top - sprite.height),
        (left - 1, bottom),
        (flush_right, bottom),
        (left - 1, top),
    ]
    spots = [_inside(image, sprite.width, sprite.height, x, y) for x, y in places]
    spot = next((spot for spot in spots if not any(_overlap(spot, other) for other in taken)), spots[0])
    stamp(image, sprite, spot[0], spot[1])
    return spot


def _inside(image: ImageHW3, width: int, height: int, left: int, top: int) -> Box:
    x = min(max(left, 0), max(image.shape[1] - width, 0))
    y = min(max(top, 0), max(image.shape[0] - height, 0))
    return x, y, x + width, y + height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw_trail(
    image: ImageHW3, trails: Trails, steps: Sequence[Footstep], colour: Colour, scale: tuple[float, float]
) -> None:
    """Draw a line that fades with age, in few pieces; only the rectangle around it is touched."""
    if len(steps) < 2:
        return
    points = np.array([step[1:] for step in steps]) * scale
    x0, y0 = np.maximum(points.min(axis=0).astype(int) - _TRAIL_MARGIN, 0).tolist()
    x1, y1 = np.minimum(points.max(axis=0).astype(int) + _TRAIL_MARGIN, image.shape[1::-1]).tolist()
    if x0 >= x1 or y0 >= y1:
        return  # all of it lies outside the picture
    alpha_HW = np.zeros((y1 - y0, x1 - x0), np.uint8)
    fixed = ((points - (x0, y0)) * (1 << _SUBPIXEL_BITS)).round().astype(np.int32)
    length = ceil((len(steps) - 1) / _TRAIL_PIECES)
    for start in range(0, len(steps) - 1, length):
        opacity = 255 * _TRAIL_OPACITY * trails.freshness(steps[min(start + length, len(steps) - 1)])
        piece = fixed[start : start + length + 1]
        cv2.polylines(alpha_HW, [piece], False, (opacity,), 2, cv2.LINE_AA, _SUBPIXEL_BITS)
    stamp(image, tinted(alpha_HW, colour), x0, y0)
