"""Describes appearance without any network: colour histograms in horizontal stripes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.checks import check, check_images
from models.detector import ImageHW3

# Legend of shape suffixes: N crops, H rows, W columns, S stripes, B bins, D = S x (hue x saturation + value bins).
HEIGHT: Final = 48
WIDTH: Final = 16
GREY_LEVEL: Final = 110.0
ALGORITHM: Final = "stripes-1"
"""Part of the version: raise the number when the same settings would give other embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StripesConfig:
    """Says how colours are counted."""

    num_stripes: int = 8
    """Stripes from head to foot."""
    hue_bins: int = 8
    """Bins of hue, which is a circle."""
    saturation_bins: int = 4
    """Bins of saturation, taken jointly with hue."""
    value_bins: int = 8
    """Bins of brightness, taken alone."""
    ignored_width: float = 0.2
    """Share of the width left out on each side, where there is mostly background."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        check(1 <= self.num_stripes <= HEIGHT, "num_stripes", self.num_stripes, f"1 to {HEIGHT}")
        for field in ("hue_bins", "saturation_bins", "value_bins"):
            check(1 <= getattr(self, field) <= 64, field, getattr(self, field), "1 to 64")
        check(0 <= self.ignored_width < 0.5, "ignored_width", self.ignored_width, "at least 0 and below 0.5")


class StripeHistogram:
    """Embeds a crop as histograms of hue and saturation, and of brightness, in stripes from head to foot.

    Colours are first divided by the crop's own mean colour (grey world; Buchsbaum, 1980), which takes out a camera's
    gain and white balance; each pixel votes into the two nearest bins; the square root makes the inner product the
    Bhattacharyya coefficient of the histograms (Hellinger kernel). Stripes after Gray and Tao, ECCV 2008.
    """

    def __init__(self, config: StripesConfig) -> None:
        self._config = config
        digest = hashlib.sha256(f"{ALGORITHM} {asdict(config)}".encode()).hexdigest()
        self._version = f"stripes@{digest[:12]}"
        self._stripes_H = np.arange(HEIGHT) * config.num_stripes // HEIGHT

    @property
    def version(self) -> str:
        """Name and digest of the settings; embeddings of different versions are never compared."""
        return self._version

    @property
    def dimension(self) -> int:
        """Length D of an embedding."""
        config = self._config
        return config.num_stripes * (config.hue_bins * config.saturation_bins + config.value_bins)

    def embed(self, crops: Sequence[ImageHW3]) -> NDArray[np.float32]:
        """Embed crops, uint8 BGR, each H x W x 3 of any size >= 1; returns N x D rows of unit length.

        Raises:
            ModelError: when a crop is empty or of another type; names its index.
        """
        check_images(crops)
        if not crops:
            return np.zeros((0, self.dimension), np.float32)
        pixels_NHW3 = _grey_world(np.stack([self._shrink(crop) for crop in crops]))
        rows = pixels_NHW3.reshape(-1, WIDTH, 3)
        hsv_NHW3 = cv2.cvtColor(rows, cv2.COLOR_BGR2HSV).reshape(pixels_NHW3.shape)
        hue = _votes(hsv_NHW3[..., 0] / 360, self._config.hue_bins, circular=True)
        saturation = _votes(hsv_NHW3[..., 1], self._config.saturation_bins, circular=False)
        value = _votes(hsv_NHW3[..., 2], self._config.value_bins, circular=False)
        histograms = np.concatenate([self._histogram(hue, saturation), self._histogram(value)], axis=1)
        embeddings_ND = np.sqrt(histograms)
        norms_N1 = np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
        return np.asarray(embeddings_ND / norms_N1, np.float32)

    def _shrink(self, crop: ImageHW3) -> ImageHW3:
        width = crop.shape[1]
        left = min(int(width * self._config.ignored_width), (width - 1) // 2)
        inner = crop[:, left : width - left]
        return cv2.resize(inner, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]  # cv2's stub says any dtype

    def _histogram(self, *channels: _Votes) -> NDArray[np.float64]:
        """Count the joint votes of some channels in each stripe; N x (S x B)."""
        num_crops = len(channels[0].lower_NHW)
        num_bins = int(np.prod([channel.num_bins for channel in channels]))
        stripe_NH = np.arange(num_crops)[:, None] * self._config.num_stripes + self._stripes_H
        total = np.zeros(num_crops * self._config.num_stripes * num_bins)
        corners: list[tuple[NDArray[np.intp], NDArray[np.float64] | float]] = [(stripe_NH[..., None], 1.0)]
        for channel in channels:
            corners = [
                (index * channel.num_bins + side, weight * share)
                for index, weight in corners
                for side, share in (
                    (channel.lower_NHW, 1 - channel.share_NHW),
                    (channel.upper_NHW, channel.share_NHW),
                )
            ]
        for index, weight in corners:
            total += np.bincount(index.ravel(), np.ravel(weight), total.size)
        return total.reshape(num_crops, -1)


@dataclass(frozen=True, slots=True, eq=False)
class _Votes:
    """Holds the two bins that each pixel votes for; the upper one gets `share`, the lower one the rest."""

    lower_NHW: NDArray[np.intp]
    upper_NHW: NDArray[np.intp]
    share_NHW: NDArray[np.float64]
    num_bins: int


def _votes(values: NDArray[Any], num_bins: int, *, circular: bool) -> _Votes:
    """Split values in [0, 1] between the two nearest bin centres."""
    position = values * num_bins - 0.5
    lower = np.floor(position)
    share = position - lower
    lower_bin = lower.astype(np.intp)
    upper_bin = lower_bin + 1
    if circular:
        return _Votes(lower_bin % num_bins, upper_bin % num_bins, share, num_bins)
    return _Votes(lower_bin.clip(0, num_bins - 1), upper_bin.clip(0, num_bins - 1), share, num_bins)


def _grey_world(pixels_NHW3: ImageHW3) -> NDArray[np.float32]:
    """Scale each channel of each crop to the same mean; returns values in [0, 1]."""
    pixels = pixels_NHW3.astype(np.float32)
    mean_N113 = np.maximum(pixels.mean(axis=(1, 2), keepdims=True), 1.0)
    return np.asarray(np.minimum(pixels * (GREY_LEVEL / 255 / mean_N113), 1.0), np.float32)
