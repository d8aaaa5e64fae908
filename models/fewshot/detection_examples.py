"""Makes examples for detection heads of images with boxes: the detector's proposals, and which of them are of the class.

Legend of shape suffixes: N proposals, M truth boxes, D hidden features, E examples, F = L x (D + 1) features of all
strides with their constant; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou, nms

from models.errors import ModelError
from models.fewshot.detection import MIN_OBJECTNESS, TAUGHT_NMS_IOU, DetectionHead, sigmoid
from models.fewshot.detection_features import NUM_LEVELS, CellView
from models.nanodet import HIDDEN_CHANNELS

MAX_PROPOSALS: Final = 1000
"""An image's best ones by objectness; the others are not kept."""
POSITIVE_IOU: Final = 0.7
"""A proposal that overlaps a box of the class by at least this is of the class."""
NEGATIVE_IOU: Final = 0.5
"""One that overlaps none by this much is not."""
BEST_IOU: Final = 0.3
"""The proposal nearest to a box is of the class too, if it overlaps it by this."""
FEW: Final = 5
"""Best boxes of an image by objectness, among which a class that is like known ones is to be found."""
MAX_BOXES: Final = 300
"""Detections of an image that are scored."""
NUM_FEATURES: Final = NUM_LEVELS * (HIDDEN_CHANNELS + 1)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledProposals:
    """Holds the detector's proposals in one image, best objectness first, and the boxes that the class truly has in it.

    An image without boxes is background: nothing in it is of the class.
    """

    boxes_N4: Floats  # relative
    objectness_N: Floats
    hidden_ND: Floats
    level_N: NDArray[np.intp]
    truth_M4: Floats  # relative
    overlap_NM: Floats  # IoU

    @classmethod
    def of(
        cls, view: CellView, level_starts: Sequence[int], truth_M4: NDArray[np.floating]
    ) -> LabelledProposals:
        """Take the proposals of a view; truth is relative to the image.

        Raises:
            ModelError: when the truth has another shape, or a box is empty or not in the image.
        """
        truth_M4 = np.asarray(truth_M4, np.float32)
        _check_truth(truth_M4)
        boxes_A4 = view.boxes_4A.T.clip(0, 1)
        is_box_A = (boxes_A4[:, 2:] > boxes_A4[:, :2]).all(axis=1)
        rank_A = np.argsort(-view.objectness_A, kind="stable")
        kept_N = rank_A[(is_box_A & (view.objectness_A > MIN_OBJECTNESS))[rank_A]][:MAX_PROPOSALS]
        boxes_N4 = boxes_A4[kept_N]
        overlap_NM = box_iou(torch.from_numpy(boxes_N4), torch.from_numpy(truth_M4)).numpy()
        level_N = np.searchsorted(level_starts, kept_N, side="right") - 1
        hidden_ND = view.hidden_DA[:, kept_N].T.astype(np.float32)
        return cls(boxes_N4, view.objectness_A[kept_N], hidden_ND, level_N, truth_M4, overlap_NM)

    def is_positive(self) -> NDArray[np.bool_]:
        """Say which proposals are of the class."""
        if not self.overlap_NM.size:
            return np.zeros(len(self.boxes_N4), bool)
        positive_N = self.overlap_NM.max(axis=1) >= POSITIVE_IOU
        nearest_M = self.overlap_NM.argmax(axis=0)
        positive_N[nearest_M[self.overlap_NM.max(axis=0) >= BEST_IOU]] = True
        return np.asarray(positive_N, bool)

    def is_negative(self) -> NDArray[np.bool_]:
        """Say which proposals are surely not; the rest is neither."""
        overlap_N = self.overlap_NM.max(axis=1, initial=0.0)
        return np.asarray((overlap_N < NEGATIVE_IOU) & ~self.is_positive(), bool)

    def logits(self, head: DetectionHead, rows: NDArray[np.intp] | slice = slice(None)) -> Floats:
        """Score proposals by a head."""
        return head.logits(self.hidden_ND[rows], self.level_N[rows], self.objectness_N[rows])

    def num_standing_out(self) -> int:
        """Count the boxes of the class of which a proposal is among the image's few best by objectness."""
        best = suppressed(self, self.objectness_N).rows_N[:FEW]
        overlap_M = self.overlap_NM[best].max(axis=0, initial=0.0)
        return int((overlap_M >= NEGATIVE_IOU).sum())

    def features(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return E x F: a proposal's features and a 1 in the columns of its stride, 0 elsewhere."""
        hidden_ED, level_E = self.hidden_ND[rows], self.level_N[rows]
        table = np.zeros((len(rows), NUM_LEVELS, HIDDEN_CHANNELS + 1))
        table[np.arange(len(rows)), level_E] = np.column_stack((hidden_ED, np.ones(len(rows))))
        return table.reshape(len(rows), -1)


class Examples(NamedTuple):
    """Holds what a head is fitted to. In each image, those of the class weigh 1 together, and so do the others."""

    features_EF: NDArray[np.float64]
    target_E: NDArray[np.float64]  # 1 for the class, 0 for others
    weight_E: NDArray[np.float64]

    @property
    def num_images(self) -> float:
        """Images that show the class."""
        return float(self.weight_E[self.target_E > 0].sum())


def examples_of(
    images: Sequence[LabelledProposals], num_negatives: int, hardest_for: DetectionHead | None = None
) -> Examples:
    """Take examples of images: all that are of the class, and `num_negatives` an image that are not.

    Those are the best by objectness; with `hardest_for`, the better half of them, and as many again as `num_negatives`
    that score best for that head (Felzenszwalb et al., "Object detection with discriminatively trained part-based
    models", PAMI 2010).
    """
    features, targets, weights = [], [], []
    for image in images:
        positive = np.flatnonzero(image.is_positive())
        negative = _negatives(image, num_negatives, hardest_for)
        features.append(image.features(np.concatenate((positive, negative))))
        targets.append(np.repeat((1.0, 0.0), (len(positive), len(negative))))
        shares = [1 / max(len(rows), 1) for rows in (positive, negative)]
        weights.append(np.repeat(shares, (len(positive), len(negative))))
    return Examples(np.concatenate(features), np.concatenate(targets), np.concatenate(weights))


def _negatives(image: LabelledProposals, number: int, hardest_for: DetectionHead | None) -> NDArray[np.intp]:
    negative = np.flatnonzero(image.is_negative())
    if hardest_for is None:
        return negative[:number]
    scores = image.logits(hardest_for, negative)
    return np.union1d(negative[: number // 2], negative[np.argsort(-scores, kind="stable")[:number]])


class FoundBoxes(NamedTuple):
    """Holds boxes that were found in an image, best first."""

    boxes_N4: Floats  # relative
    scores_N: Floats  # in [0, 1]
    rows_N: NDArray[np.intp]  # which proposals they are


def taught_boxes(image: LabelledProposals, head: DetectionHead) -> FoundBoxes:
    """Return what a head finds, whatever its threshold."""
    return suppressed(image, sigmoid(image.logits(head)))


def suppressed(image: LabelledProposals, scores_N: NDArray[np.floating]) -> FoundBoxes:
    """Return the proposals that non-maximum suppression leaves over of those so scored."""
    scores = torch.from_numpy(np.asarray(scores_N, np.float32))
    rows = nms(torch.from_numpy(image.boxes_N4), scores, TAUGHT_NMS_IOU)[:MAX_BOXES].numpy()
    return FoundBoxes(image.boxes_N4[rows], scores.numpy()[rows], rows)


def _check_truth(truth_M4: Floats) -> None:
    if truth_M4.ndim != 2 or truth_M4.shape[1] != 4:
        raise ModelError(f"boxes have shape {truth_M4.shape}, expected M x 4 (0 x 4 for background)")
    inside = np.isfinite(truth_M4).all() and ((truth_M4 >= 0) & (truth_M4 <= 1)).all()
    if not inside or not (truth_M4[:, 2:] > truth_M4[:, :2]).all():
        raise ModelError(
            f"boxes are {truth_M4.tolist()[:3]}, expected left < right and top < bottom, each relative in [0, 1]"
        )
