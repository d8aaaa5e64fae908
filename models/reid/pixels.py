"""Brings crops to what the network takes: one size, red green blue, channels-last."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detector import ImageHW3


def fit(crop: ImageHW3, size: tuple[int, int]) -> ImageHW3:
    """Stretch a crop to (height, width): by area where it shrinks, bilinearly where it grows."""
    height, width = crop.shape[:2]
    if (height, width) == size:
        return crop
    shrinks = height * width > size[0] * size[1]
    return cv2.resize(crop, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)  # type: ignore[return-value]  # cv2's stub says any dtype


def to_input(pixels_NHW3: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Turn BGR pixels into the network's input: N x 3 x H x W, RGB, 0 to 255, laid out channels-last."""
    # A permuted view of N x H x W x 3 is exactly channels-last.
    rgb_NHW3 = np.ascontiguousarray(pixels_NHW3[..., ::-1])
    return torch.from_numpy(rgb_NHW3).to(device).permute(0, 3, 1, 2).float()
