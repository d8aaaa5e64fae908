"""Checks what comes into a network: settings in their range, images that are images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.detector import ImageHW3
from models.errors import ModelError


def check(holds: bool, field: str, got: object, expected: str) -> None:
    """Refuse a setting that is out of its range.

    Raises:
        ModelError: unless `holds`.
    """
    if not holds:
        raise ModelError(f"{field} is {got!r}, expected {expected}")


def check_images(images: Sequence[ImageHW3]) -> None:
    """Refuse an image that is not 8-bit, H x W x 3, or that is empty.

    Raises:
        ModelError: names the image's index.
    """
    for index, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ModelError(
                f"image {index} is {image.dtype} of shape {image.shape}, expected uint8 of H x W x 3, H and W >= 1"
            )
