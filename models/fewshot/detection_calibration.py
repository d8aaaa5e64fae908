"""Turns a head's logits into probabilities that a box is right, and chooses from where on boxes are reported.

Platt, "Probabilistic outputs for support vector machines", 1999: a logistic fit of scale and shift. It is made on images
that the head was not fitted to: the support set is halved, and each half is scored by a head fitted to the other.

Legend of shape suffixes: N boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.fewshot.detection import DetectionHead, sigmoid
from models.fewshot.detection_examples import LabelledProposals, taught_boxes

CORRECT_IOU: Final = 0.5
MIN_HALVED: Final = 4
"""Images that show the class, below which they are too few to be halved."""
BOXES_AN_IMAGE: Final = 20
"""Best ones; the rest is background that no threshold would let pass."""
STEPS: Final = 50
DECAY: Final = 0.01
"""Pulls the scale towards 1: of a single image all boxes are told apart, which would call for an endless scale."""
THRESHOLDS: Final = (0.1, 0.5)
"""Between these the threshold is chosen."""

Fit = Callable[[Sequence[LabelledProposals]], DetectionHead]


def calibrate(images: Sequence[LabelledProposals], fit: Fit) -> DetectionHead:
    """Fit a head to all images, and calibrate it on what heads fitted to half of them make of the other half."""
    shown = [image for image in images if len(image.truth_M4)]
    empty = [image for image in images if not len(image.truth_M4)]
    head = fit(images)
    scored = [_judged(image, head) for image in images]
    if len(shown) >= MIN_HALVED:
        halves = [[*shown[side::2], *empty[side::2]] for side in (0, 1)]
        with suppress(ModelError):  # a half in which the detector proposes nothing of the class
            heads = [fit(half) for half in reversed(halves)]
            scored = [_judged(image, heads[side]) for side in (0, 1) for image in halves[side]]
    logits_N = np.concatenate([logits for logits, _ in scored])
    correct_N = np.concatenate([correct for _, correct in scored])
    scale, shift = _platt(logits_N, correct_N)
    threshold = _best_threshold(sigmoid(scale * logits_N + shift), correct_N)
    return head.calibrated(scale, shift, threshold)


def _judged(image: LabelledProposals, head: DetectionHead) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return logits of an image's best boxes, and whether each finds a truth box that none before it found."""
    rows = taught_boxes(image, head).rows_N[:BOXES_AN_IMAGE]
    logits_N = image.logits(head, rows).astype(np.float64)
    correct_N = np.zeros(len(rows), bool)
    free_NM = image.overlap_NM[rows].copy()
    if free_NM.size:
        for row in range(len(rows)):
            best = int(free_NM[row].argmax())
            correct_N[row] = free_NM[row, best] >= CORRECT_IOU
            if correct_N[row]:
                free_NM[:, best] = 0.0
    return logits_N, correct_N


def _platt(logits_N: NDArray[np.float64], correct_N: NDArray[np.bool_]) -> tuple[float, float]:
    """Return scale and shift; targets are drawn in from 0 and 1 as Platt has them."""
    num_right, num_wrong = int(correct_N.sum()), int((~correct_N).sum())
    target_N = np.where(correct_N, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    design_N2 = np.column_stack((logits_N, np.ones(len(logits_N))))
    start_2 = np.array([1.0, 0.0])
    found_2 = start_2.copy()
    decay_22 = np.diag([DECAY * len(logits_N), 1e-6])
    for _ in range(STEPS):
        p_N = sigmoid(design_N2 @ found_2)
        gradient_2 = design_N2.T @ (p_N - target_N) + decay_22 @ (found_2 - start_2)
        hessian_22 = (design_N2 * (p_N * (1 - p_N))[:, None]).T @ design_N2 + decay_22
        step_2 = np.linalg.solve(hessian_22 + 1e-9 * np.eye(2), gradient_2)
        found_2 = found_2 - step_2 * min(1.0, 2.0 / max(float(np.abs(step_2).max()), 1e-12))
        if np.abs(step_2).max() < 1e-8:
            break
    return max(float(found_2[0]), 0.05), float(found_2[1])


def _best_threshold(scores_N: NDArray[np.floating], correct_N: NDArray[np.bool_]) -> float:
    """Return the probability from which on boxes give the best F1, within `THRESHOLDS`."""
    order_N = np.argsort(-scores_N, kind="stable")
    hits_N = np.cumsum(correct_N[order_N])
    f1_N = 2 * hits_N / (np.arange(1, len(hits_N) + 1) + max(int(correct_N.sum()), 1))
    if not len(f1_N) or not correct_N.any():
        return THRESHOLDS[1]
    return float(np.clip(scores_N[order_N][int(f1_N.argmax())], *THRESHOLDS))
