"""Decodes pictures that somebody gives us, bounded and strictly, and makes small JPEGs of them."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from models.detector import ImageHW3
from pipeline.association import buffered_iou
from pipeline.detections import Box
from pipeline.errors import BadTask

MAX_FILE_BYTES: Final = 32 << 20
"""Of a picture's file; a camera's largest JPEG has about 25 MB."""
MAX_PIXELS: Final = 50_000_000
"""Checked in the header, so that a small file cannot ask for gigabytes when decoded; a phone's picture has 12 to 48
million."""
CROP_SIDE: Final = 256
"""Pixels of a crop's longer side at most: four times what the embedder sees of a person's width."""
PICTURE_SIDE: Final = 1280
"""Pixels of a whole picture's longer side at most: nearly three times what the detector sees."""
JPEG_QUALITY: Final = 92
EDGE: Final = 1.0
"""Pixels that a box may reach beyond its picture: formats count from 0 or from 1, and round."""
_FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP")
_DAMAGE: Final = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, struct.error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Is an example on its way into a task; the fields that a task has too mean the same there."""

    place: str
    """Where it is from, for messages."""
    jpeg: bytes
    label: str = ""
    camera: str = ""
    boxes: tuple[Box, ...] = ()
    query: bool = False
    """Whether its source says that it is to be held out."""
    group: str = ""
    """Pictures that look alike because they show the same (one track, one person): none of them is held out from the
    others. Empty where it stands alone."""


class SmallJpeg(NamedTuple):
    """Is a picture as a task holds it."""

    jpeg: bytes
    scale_x: float  # of its pixels to those of the original
    scale_y: float


def decode_strictly(content: bytes, place: str, size: tuple[int, int] | None = None) -> Image.Image:
    """Decode a whole picture, turned upright as its EXIF data says.

    Args:
        content: of the file.
        place: what messages call it.
        size: width and height that its annotations speak of. Where they are those of the picture before it is
            turned upright, it stays as it is.

    Raises:
        BadTask: it is no JPEG, PNG, BMP or WebP, is damaged, cut short, has more than `MAX_PIXELS`, or another size
            than its annotations say.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(content), formats=_FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadTask(f"{place} has {width} x {height} pixels, expected at most {MAX_PIXELS}; shrink it")
        image.load()
        if image.size != size:
            ImageOps.exif_transpose(image, in_place=True)
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    except _DAMAGE as error:
        raise BadTask(
            f"{place} is no picture that can be decoded ({error}), expected a whole JPEG, PNG, BMP or WebP; "
            "replace or remove it"
        ) from error
    if size is not None and rgb.size != size:
        raise BadTask(
            f"{place} has {rgb.width} x {rgb.height} pixels, its annotations are for {size[0]} x {size[1]}; "
            "give the picture that was annotated"
        )
    return rgb


def shrink(image: Image.Image, max_side: int) -> SmallJpeg:
    """Encode a picture as JPEG, scaled down so that its longer side has at most so many pixels."""
    width, height = image.size
    scale = min(1.0, max_side / max(width, height))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    image.info.clear()  # comments and the like would be saved with it
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return SmallJpeg(stream.getvalue(), image.width / width, image.height / height)


def shrink_crop(content: bytes, place: str) -> bytes:
    """Decode a crop's file, and encode it as a task holds it; see `decode_strictly` for what it raises."""
    return shrink(decode_strictly(content, place), CROP_SIDE).jpeg


def shrink_array(image: ImageHW3) -> bytes:
    """Encode a crop as a task holds it; uint8 BGR."""
    return shrink(Image.fromarray(image[..., ::-1].copy()), CROP_SIDE).jpeg


def within(box: Box, size: tuple[int, int]) -> Box | None:
    """Clip a box that reaches beyond a picture by a rounding error; None where it lies outside, or has no area.

    `size` is (width, height); a coordinate that is no number lies outside.
    """
    left, top, right, bottom = box
    width, height = size
    inside = -EDGE <= left < right <= width + EDGE and -EDGE <= top < bottom <= height + EDGE
    clipped = (max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))
    return clipped if inside and clipped[0] < clipped[2] and clipped[1] < clipped[3] else None


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0 where one has no area."""
    return float(buffered_iou(np.array([one]), np.array([other]))[0, 0])
