"""Sets text as small cached pictures with soft edges, and lays them into images.

The letters are DejaVu Sans, which matplotlib carries, so that pictures look the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.detector import ImageHW3
from pipeline.pictures.colours import Colour

_FINER: Final = 4  # corners are drawn this many times larger, then shrunk: that makes their edges soft


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """Holds a picture with transparency, ready to be laid over an image."""

    paint_HW3: ImageHW3  # colour already multiplied by its opacity
    keep_HW3: ImageHW3  # how much of the image below shows through: 255 all, 0 nothing

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.paint_HW3.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.paint_HW3.shape[0])


def stamp(image: ImageHW3, sprite: Sprite, left: int, top: int) -> None:
    """Lay a sprite into `image`, cut off at the image's edges."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + sprite.width, image.shape[1]), min(top + sprite.height, image.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    below = image[y0:y1, x0:x1]
    shown = cv2.multiply(below, sprite.keep_HW3[part], scale=1 / 255)
    image[y0:y1, x0:x1] = cv2.add(shown, sprite.paint_HW3[part])


def tinted(alpha_HW: NDArray[np.uint8], colour: Colour) -> Sprite:
    """Make a sprite of one colour whose opacity is `alpha_HW`, 0 to 255."""
    keep_HW = cv2.bitwise_not(alpha_HW)
    paint_HW3 = cv2.merge([cv2.convertScaleAbs(alpha_HW, alpha=channel / 255) for channel in colour])
    return Sprite(np.asarray(paint_HW3, np.uint8), np.asarray(cv2.merge([keep_HW] * 3), np.uint8))


@lru_cache(maxsize=1024)
def text(words: str, size: int, ink: Colour, bold: bool = False) -> Sprite:
    """Set `words` without a ground, `size` pixels to the em; all sprites of a size are of one height."""
    return tinted(_letters(words, size, bold), ink)


@lru_cache(maxsize=1024)
def label(words: str, size: int, ink: Colour, ground: Colour, opacity: float = 1.0) -> Sprite:
    """Set bold `words` on a ground with round corners."""
    letters_HW = _letters(words, size, bold=True)
    margin_x, margin_y = round(size * 0.40), round(size * 0.12)
    height, width = letters_HW.shape[0] + 2 * margin_y, letters_HW.shape[1] + 2 * margin_x
    ground_HW = round_rectangle(width, height, radius=round(size * 0.28))
    below, over = tinted(np.asarray(ground_HW * opacity, np.uint8), ground), tinted(letters_HW, ink)
    inside = slice(margin_y, margin_y + over.height), slice(margin_x, margin_x + over.width)
    stamp(below.paint_HW3, over, margin_x, margin_y)
    below.keep_HW3[inside] = cv2.multiply(below.keep_HW3[inside], over.keep_HW3, scale=1 / 255)
    return below


@lru_cache(maxsize=256)
def round_rectangle(width: int, height: int, radius: int) -> NDArray[np.uint8]:
    """Return the opacity, H x W and 0 to 255, of a filled rectangle with round, soft corners."""
    size = width * _FINER, height * _FINER
    canvas = Image.new("L", size)
    ImageDraw.Draw(canvas).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius * _FINER, fill=255)
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX))


def _letters(words: str, size: int, bold: bool) -> NDArray[np.uint8]:
    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    canvas = Image.new("L", (max(1, round(font.getlength(words))), ascent + descent))
    ImageDraw.Draw(canvas).text((0, 0), words, fill=255, font=font)
    return np.asarray(canvas)


@lru_cache(maxsize=32)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)
