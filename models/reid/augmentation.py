"""Varies crops as other cameras would: framing, light, colour, blur, resolution, compression and occlusion.

What is learned on a few cameras must carry over to others, whose crops are smaller, darker, bluer or worse packed.
All functions take and return uint8 H x W x 3, BGR, and draw from the generator that they are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.checks import check
from models.detector import ImageHW3

GREY_BGR: Final = np.array([0.114, 0.587, 0.299], np.float32)
"""ITU-R BT.601 luma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationConfig:
    """Says how strongly crops are varied in training."""

    flip: float = 0.5
    """Probability of mirroring."""
    zoom: tuple[float, float] = (0.88, 1.15)
    """Range of the scale, drawn for height and width apart: detectors' boxes are loose or tight."""
    shift: float = 0.06
    """Largest shift, as a share of height and width."""
    rotation_degrees: float = 5.0
    """Largest rotation."""
    gain: float = 0.25
    """Largest relative change of brightness."""
    white_balance: float = 0.12
    """Largest relative change of each channel apart."""
    contrast: float = 0.25
    """Largest relative change of the distance to the mean colour."""
    saturation: float = 0.4
    """Largest relative change of the distance to grey."""
    gamma: float = 0.25
    """Largest logarithm of the exponent of brightness."""
    grey: float = 0.05
    """Probability of losing all colour, as at night."""
    low_resolution: float = 0.35
    """Probability of having been seen from afar."""
    lowest_height: int = 40
    """Pixels from head to foot of those seen from furthest away."""
    blur: float = 0.15
    """Probability of being out of focus."""
    noise: float = 0.2
    """Probability of a noisy sensor."""
    noise_deviation: float = 8.0
    """Largest standard deviation of that noise, in grey levels."""
    jpeg: float = 0.3
    """Probability of being compressed once more."""
    lowest_quality: int = 25
    """Quality of the strongest compression."""
    erasing: float = 0.5
    """Probability that a rectangle is hidden (Zhong et al., "Random Erasing", AAAI 2020)."""
    erased_area: tuple[float, float] = (0.02, 0.3)
    """Range of the hidden share of the crop."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        for field in ("flip", "grey", "low_resolution", "blur", "noise", "jpeg", "erasing"):
            value = getattr(self, field)
            check(0 <= value <= 1, field, value, "a probability from 0 to 1")
        for field in ("shift", "gain", "white_balance", "contrast", "saturation", "gamma"):
            value = getattr(self, field)
            check(0 <= value < 1, field, value, "at least 0 and below 1")
        check(self.lowest_height >= 1, "lowest_height", self.lowest_height, "at least 1")
        check(1 <= self.lowest_quality <= 100, "lowest_quality", self.lowest_quality, "1 to 100")


def augment(
    crop: ImageHW3, size: tuple[int, int], config: AugmentationConfig, random: np.random.Generator
) -> ImageHW3:
    """Return the crop as another camera might have seen it, of size (height, width)."""
    image = recolour(reframe(crop, size, config, random), config, random)
    image = degrade(image, config, random)
    return erase(image, config, random) if random.random() < config.erasing else image


def reframe(
    crop: ImageHW3, size: tuple[int, int], config: AugmentationConfig, random: np.random.Generator
) -> ImageHW3:
    """Flip, zoom, shift and rotate about the centre while resizing to `size`."""
    height, width = size
    crop_height, crop_width = crop.shape[:2]
    angle = np.deg2rad(random.uniform(-config.rotation_degrees, config.rotation_degrees))
    zoom_x, zoom_y = random.uniform(*config.zoom, 2)
    if random.random() < config.flip:
        zoom_x = -zoom_x
    shift_x, shift_y = random.uniform(-config.shift, config.shift, 2)
    to_size = np.array([width / crop_width, height / crop_height])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = (to_size[:, None] * rotation) @ np.diag([zoom_x, zoom_y])
    centre = np.array([(crop_width - 1) / 2, (crop_height - 1) / 2])
    target = np.array([(width - 1) / 2 + shift_x * width, (height - 1) / 2 + shift_y * height])
    matrix = np.column_stack([linear, target - linear @ centre])
    return cv2.warpAffine(
        crop, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )  # type: ignore[return-value]  # cv2's stub says any dtype


def recolour(image: ImageHW3, config: AugmentationConfig, random: np.random.Generator) -> ImageHW3:
    """Change gain, white balance, gamma, contrast and saturation, or take all colour out."""
    gains = (1 + random.uniform(-config.gain, config.gain)) * (
        1 + random.uniform(-config.white_balance, config.white_balance, 3)
    )
    exponent = np.exp(random.uniform(-config.gamma, config.gamma))
    levels_256 = (np.arange(256) / 255) ** exponent * 255
    table_256x3 = np.clip(levels_256[:, None] * gains, 0, 255).astype(np.uint8)
    pixels = np.asarray(cv2.LUT(image, table_256x3[None]), np.float32)
    contrast = 1 + random.uniform(-config.contrast, config.contrast)
    saturation = 1 + random.uniform(-config.saturation, config.saturation)
    if random.random() < config.grey:
        saturation = 0.0
    luma_HW1 = (pixels @ GREY_BGR)[..., None]
    mean = float(luma_HW1.mean())
    # Contrast about the mean, of a picture that is luma plus scaled chroma.
    changed = mean + (luma_HW1 - mean + (pixels - luma_HW1) * saturation) * contrast
    return np.asarray(np.clip(changed, 0, 255), np.uint8)


def degrade(image: ImageHW3, config: AugmentationConfig, random: np.random.Generator) -> ImageHW3:
    """Lower the resolution, blur, add noise and compress, each with its probability."""
    if random.random() < config.low_resolution:
        image = _seen_from_afar(image, config, random)
    if random.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.5))  # type: ignore[assignment]  # cv2's stub says any dtype
    if random.random() < config.noise:
        deviation = random.uniform(0, config.noise_deviation)
        noisy = image + random.standard_normal(image.shape, np.float32) * deviation
        image = np.clip(noisy, 0, 255).astype(np.uint8)
    if random.random() < config.jpeg:
        quality = int(random.integers(config.lowest_quality, 91))
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)  # type: ignore[assignment]  # cv2's stub says any dtype
    return image


def erase(image: ImageHW3, config: AugmentationConfig, random: np.random.Generator) -> ImageHW3:
    """Hide a rectangle of random place, area and shape behind noise or one colour."""
    height, width = image.shape[:2]
    area = random.uniform(*config.erased_area) * height * width
    aspect = np.exp(random.uniform(np.log(0.3), np.log(3.3)))
    rows = min(height, max(1, round(float(np.sqrt(area * aspect)))))
    columns = min(width, max(1, round(float(np.sqrt(area / aspect)))))
    top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
    shape = (rows, columns, 3) if random.random() < 0.5 else (1, 1, 3)
    hidden = image.copy()
    hidden[top : top + rows, left : left + columns] = random.integers(0, 256, shape, np.uint8)
    return hidden


def _seen_from_afar(image: ImageHW3, config: AugmentationConfig, random: np.random.Generator) -> ImageHW3:
    height, width = image.shape[:2]
    small_height = int(random.integers(min(config.lowest_height, height), height + 1))
    small_width = max(1, round(width * small_height / height))
    small: NDArray[np.uint8] = cv2.resize(image, (small_width, small_height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]  # cv2's stub says any dtype
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]  # cv2's stub says any dtype
