"""Scores detections against truth by average precision.

Legend of shape suffixes: M truth boxes and N predictions of a frame, P predictions of all frames by falling score.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.association import buffered_iou
from pipeline.errors import BadInput

Floats = NDArray[np.float64]
FrameBoxes = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]
"""Truth boxes M x 4, predicted boxes N x 4 (left, top, right, bottom) and scores N of one frame."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ApResult:
    """Holds the precision-recall curve of one class and what is read off it."""

    ap: float
    """Area under the curve by all-point interpolation, in [0, 1]; 0 where there is no truth."""
    best_f1: float
    """Greatest F1 over all score thresholds."""
    best_f1_score: float
    """The score threshold (keep what is at least this) that gives it."""
    best_f1_precision: float
    best_f1_recall: float
    precision_P: Floats
    """Precision when the first 1 ... P predictions are kept."""
    recall_P: Floats
    num_truth_boxes: int
    num_predicted_boxes: int


def average_precision(frames: Iterable[FrameBoxes], iou: float = 0.5) -> ApResult:
    """Score boxes of one class at one overlap threshold.

    In the order of falling score each prediction takes the truth box of its frame that it overlaps most, among
    those not yet taken, if the overlap is at least `iou`. The area is taken under the curve made monotonic, over
    every recall that occurs (Everingham et al., "The PASCAL visual object classes challenge", IJCV 2015).

    Raises:
        BadInput: boxes and scores of a frame disagree in shape.
    """
    hits: list[NDArray[np.bool_]] = []
    scores: list[Floats] = []
    num_truth = 0
    for index, (truth_M4, boxes_N4, scores_N) in enumerate(frames):
        _check(index, truth_M4, boxes_N4, scores_N)
        order_N = np.argsort(-scores_N, kind="stable")
        overlap_MN = buffered_iou(truth_M4.astype(np.float64), boxes_N4[order_N].astype(np.float64))
        hits.append(_true_positives(overlap_MN, iou))
        scores.append(scores_N[order_N].astype(np.float64))
        num_truth += len(truth_M4)
    hit_P = np.concatenate(hits) if hits else np.zeros(0, np.bool_)
    score_P = np.concatenate(scores) if scores else np.zeros(0)
    order_P = np.argsort(-score_P, kind="stable")
    return _result(hit_P[order_P], score_P[order_P], num_truth)


def _true_positives(overlap_MN: Floats, iou: float) -> NDArray[np.bool_]:
    """Say of each prediction, best score first, whether it finds a truth box that none before it found."""
    num_truth, num_predicted = overlap_MN.shape
    hit_N = np.zeros(num_predicted, np.bool_)
    if num_truth == 0:
        return hit_N
    free_MN = np.where(overlap_MN >= iou, overlap_MN, -1.0)
    for column in np.flatnonzero((free_MN >= 0).any(axis=0)):
        best = free_MN[:, column].argmax()
        if free_MN[best, column] >= 0:
            hit_N[column] = True
            free_MN[best] = -1.0
    return hit_N


def _result(hit_P: NDArray[np.bool_], score_P: Floats, num_truth: int) -> ApResult:
    num_hits_P = np.cumsum(hit_P)
    precision_P = num_hits_P / np.arange(1, len(hit_P) + 1)
    recall_P = num_hits_P / max(num_truth, 1)
    envelope_P = np.maximum.accumulate(precision_P[::-1])[::-1]
    f1_P = 2 * num_hits_P / np.maximum(np.arange(1, len(hit_P) + 1) + num_truth, 1)
    # A threshold keeps all predictions of equal score or none: only the last of equals is a real operating point.
    f1_P[:-1][score_P[:-1] == score_P[1:]] = 0.0
    best = int(f1_P.argmax()) if len(f1_P) else None
    return ApResult(
        ap=float(np.sum(np.diff(recall_P, prepend=0.0) * envelope_P)),
        best_f1=0.0 if best is None else float(f1_P[best]),
        best_f1_score=0.0 if best is None else float(score_P[best]),
        best_f1_precision=0.0 if best is None else float(precision_P[best]),
        best_f1_recall=0.0 if best is None else float(recall_P[best]),
        precision_P=precision_P,
        recall_P=recall_P,
        num_truth_boxes=num_truth,
        num_predicted_boxes=len(hit_P),
    )


def _check(index: int, *arrays: NDArray[np.floating]) -> None:
    truth_M4, boxes_N4, scores_N = arrays
    n = len(scores_N)
    if truth_M4.shape != (len(truth_M4), 4) or boxes_N4.shape != (n, 4) or scores_N.shape != (n,):
        raise BadInput(
            f"frame {index}: got truth {truth_M4.shape}, boxes {boxes_N4.shape}, scores {scores_N.shape}; "
            "expected (M, 4), (N, 4), (N,)"
        )
