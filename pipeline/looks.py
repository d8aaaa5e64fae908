"""Holds what crops look like, and how much each is worth: a sharp crop says more than a blurred one."""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detector import ImageHW3

SIZE: Final = (64, 128)
"""Width and height at which sharpness is measured, so that near and far compare."""
TAPS: Final = 9
"""Length of the mean that blurs once more."""


class TaughtLogits(NamedTuple):
    """Is how likely N crops are of each of C classes that were taught at the site."""

    version: str
    """Of the learned parts."""
    classes: tuple[str, ...]
    logits_NC: NDArray[np.float32]  # natural logs of the odds


class Looks(NamedTuple):
    """Is what N crops look like."""

    embeddings_ND: NDArray[np.float32]
    sharpness_N: NDArray[np.float32]  # in [0, 1], see `sharpness`
    taught: TaughtLogits | None = None
    """None where no class was taught."""


NO_LOOKS: Final = Looks(np.zeros((0, 0), np.float32), np.zeros(0, np.float32))


def sharpness(crop: ImageHW3) -> float:
    """Measure how much a crop loses when it is blurred once more, in [0, 1]: near 0 for one that is blurred already.

    The lesser of both directions, since motion blurs along one. Crete et al., "The blur effect: perception and
    estimation with a new no-reference perceptual blur metric", SPIE 2007.
    """
    grey_HW = cv2.cvtColor(cv2.resize(crop, SIZE, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2GRAY)
    return min(_lost(grey_HW.astype(np.float32), axis) for axis in (0, 1))


def _lost(grey_HW: NDArray[np.float32], axis: int) -> float:
    """Return the share of the steps along one axis that another blur takes away."""
    blurred_HW = cv2.blur(grey_HW, (1, TAPS) if axis == 0 else (TAPS, 1))
    steps = np.abs(np.diff(grey_HW, axis=axis))
    left = np.abs(np.diff(blurred_HW, axis=axis))
    total = float(steps.sum())
    return float(np.maximum(steps - left, 0.0).sum()) / total if total > 0 else 0.0
