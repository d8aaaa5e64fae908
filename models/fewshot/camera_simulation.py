"""Shows crops as another camera might have taken them, so that there are many cameras to learn about cameras from.

Legend of shape suffixes: N crops, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

MAX_PIXEL: Final = 255.0
SHARP: Final = 0.2
"""A blur of fewer pixels than this is none."""
VIGNETTE: Final = 0.25
"""How much darker a bent picture is at its edges, as a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualCamera:
    """Says how a camera differs from the one that took the crops."""

    gain: float = 1.0
    """What brightness is multiplied by, after `gamma`."""
    gamma: float = 1.0
    """Exponent of brightness in [0, 1]; above 1 the shadows are lost."""
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """What blue, green and red are multiplied by."""
    saturation: float = 1.0
    """Of colours; 0 is grey."""
    haze: float = 0.0
    """What is added to every pixel, of 255."""
    noise: float = 0.0
    """Standard deviation, of 255."""
    blur: float = 0.0
    """Standard deviation in pixels."""
    resolution: float = 1.0
    """Share of the lines that the camera has, at most 1."""
    bend: float = 0.0
    """By how much corners are drawn in, as in a fisheye lens; 0 is straight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRange:
    """Says how far virtual cameras differ."""

    darkest: float
    """Least gain."""
    cast: float
    """Standard deviation of the logarithm of each colour's factor."""
    greyest: float
    """Least saturation."""
    bend: float
    """Largest."""


DAYLIGHT: Final = CameraRange(darkest=0.4, cast=0.18, greyest=0.2, bend=0.0)
"""Other makes, settings and weather, in colour and by day."""
ANY_LIGHT: Final = CameraRange(darkest=0.12, cast=0.35, greyest=0.0, bend=0.5)
"""The same, and night, lamplight, grey pictures and bent ones."""


def draw_camera(spread: CameraRange, rng: np.random.Generator) -> VirtualCamera:
    """Draw a camera: some of its properties differ from the real one's, others not."""
    blue, green, red = np.exp(rng.normal(0, spread.cast, 3))
    return VirtualCamera(
        gain=float(np.exp(rng.uniform(np.log(spread.darkest), 0.35))),
        gamma=float(np.exp(rng.uniform(-0.35, 0.35))),
        cast=(float(blue), float(green), float(red)),
        saturation=float(rng.uniform(spread.greyest, 1.3)),
        haze=float(rng.uniform(0, 30) * (rng.random() < 0.4)),
        noise=float(rng.uniform(0, 8)),
        blur=float(rng.uniform(0, 2) * (rng.random() < 0.6)),
        resolution=float(rng.uniform(0.25, 1) if rng.random() < 0.5 else 1),
        bend=float(rng.uniform(0, spread.bend) * (rng.random() < 0.3)),
    )


def taken_by(camera: VirtualCamera, crops_NHW3: Pixels, rng: np.random.Generator) -> Pixels:
    """Return crops of one size, blue green red, as the camera would have taken them."""
    seen_NHW3 = np.stack([_through_lens(camera, crop_HW3) for crop_HW3 in crops_NHW3]).astype(np.float32)
    grey_NHW1 = seen_NHW3.mean(-1, keepdims=True)
    seen_NHW3 = grey_NHW1 + (seen_NHW3 - grey_NHW1) * camera.saturation
    seen_NHW3 = np.clip(seen_NHW3 / MAX_PIXEL, 0, 1) ** camera.gamma * MAX_PIXEL * camera.gain
    seen_NHW3 = seen_NHW3 * np.asarray(camera.cast, np.float32) + camera.haze
    seen_NHW3 += camera.noise * rng.standard_normal(seen_NHW3.shape, np.float32)
    taken_NHW3: Pixels = np.clip(seen_NHW3, 0, MAX_PIXEL).astype(np.uint8)
    return taken_NHW3


def _through_lens(camera: VirtualCamera, crop_HW3: Pixels) -> Pixels:
    height, width = crop_HW3.shape[:2]
    if camera.resolution < 1:
        size = (max(1, round(width * camera.resolution)), max(1, round(height * camera.resolution)))
        crop_HW3 = cv2.resize(cv2.resize(crop_HW3, size, interpolation=cv2.INTER_AREA), (width, height))  # type: ignore[assignment]  # cv2's stub says any dtype
    if camera.blur > SHARP:
        crop_HW3 = cv2.GaussianBlur(crop_HW3, (0, 0), camera.blur)  # type: ignore[assignment]  # cv2's stub says any dtype
    return _bent(crop_HW3, camera.bend) if camera.bend else crop_HW3


def _bent(crop_HW3: Pixels, bend: float) -> Pixels:
    """Draw the corners in: a radial map of the second order, and a darker edge."""
    height, width = crop_HW3.shape[:2]
    y_HW, x_HW = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    radius_HW = x_HW**2 + y_HW**2
    factor_HW = (1 + bend * radius_HW) / (1 + bend)
    from_x_HW, from_y_HW = (x_HW * factor_HW + 1) * (width - 1) / 2, (y_HW * factor_HW + 1) * (height - 1) / 2
    bent_HW3 = cv2.remap(crop_HW3, from_x_HW, from_y_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    darker_HW3: Pixels = (bent_HW3 * (1 - VIGNETTE * radius_HW[..., None] / 2)).astype(np.uint8)
    return darker_HW3
