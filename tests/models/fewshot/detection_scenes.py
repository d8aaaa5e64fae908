"""Draws made-up proposals of images, in which a class is told by a direction in the features."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from models.fewshot.detection_examples import LabelledProposals
from models.nanodet import HIDDEN_CHANNELS

STARTS = (0, 200, 300, 340)


def direction(seed: int = 0) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).normal(size=HIDDEN_CHANNELS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def scene(
    rng: np.random.Generator, direction_D: NDArray[np.float32], *, shown: bool = True, strength: float = 3.0,
    stands_out: bool = True,
) -> LabelledProposals:  # fmt: skip
    """Return 24 proposals of 0.1 x 0.1 on a grid; three of them lie on the one object of the class, if it is shown."""
    left, top = (axis.ravel() * 0.1 for axis in np.meshgrid(np.arange(6), np.arange(4)))
    boxes_N4 = np.column_stack((left, top, left + 0.1, top + 0.1)).astype(np.float32)
    truth_M4 = np.zeros((0, 4), np.float32)
    hidden_ND = rng.normal(size=(24, HIDDEN_CHANNELS)).astype(np.float32)
    objectness_N = np.linspace(0.9, 0.03, 24, dtype=np.float32)
    if shown:
        own = np.arange(3) if stands_out else np.arange(15, 18)
        boxes_N4[own] = boxes_N4[own[0]] + np.array([[0], [0.002], [0.004]], np.float32)
        truth_M4 = boxes_N4[own[:1]]
        hidden_ND[own] += strength * direction_D
    overlap_NM = box_iou(torch.from_numpy(boxes_N4), torch.from_numpy(truth_M4)).numpy()
    level_N = rng.integers(0, 3, 24)
    return LabelledProposals(boxes_N4, objectness_N, hidden_ND, level_N, truth_M4, overlap_NM)
