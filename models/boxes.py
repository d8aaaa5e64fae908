"""Selects detections among a network's candidates: threshold, non-maximum suppression, cap.

Legend of shape suffixes: N images, K classes asked for, A candidates a class, 4 = left, top, right, bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from models.detector import RawDetections

MAX_CANDIDATES = 1000
"""Of one image's candidates only so many of the best reach suppression, whose cost grows with their square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Says which candidates become detections."""

    score_threshold: float
    """Candidates that score less are dropped first."""
    nms_iou: float
    """Of two boxes of one class that overlap by more than this IoU, the one that scores less is dropped."""
    max_detections: int
    """At most so many a frame, the best ones."""
    labels: tuple[int, ...]
    """The classes to look for; no other class costs anything."""


def select(boxes_N4A: Tensor, scores_NKA: Tensor, selection: Selection) -> list[RawDetections]:
    """Reduce candidates to detections, on whatever device they are; only the survivors are copied to the host.

    `scores_NKA` holds the scores of `selection.labels`, in that order. Boxes are relative and are clipped to the
    image; a box that lies outside it is dropped.
    """
    num_images, num_classes, num_cells = scores_NKA.shape
    scores, flat = scores_NKA.flatten(1).topk(min(MAX_CANDIDATES, num_classes * num_cells), dim=1)
    image, rank = (scores > selection.score_threshold).nonzero(as_tuple=True)
    scores, flat = scores[image, rank], flat[image, rank]
    kind = flat.div(num_cells, rounding_mode="floor")
    boxes = boxes_N4A.transpose(1, 2)[image, flat - kind * num_cells].clamp(0, 1)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    boxes, scores, kind, image = boxes[inside], scores[inside], kind[inside], image[inside]
    kept = batched_nms(boxes, scores, image * num_classes + kind, selection.nms_iou)
    table = torch.column_stack((boxes[kept], scores[kept], kind[kept], image[kept])).cpu().numpy()
    labels_K = np.asarray(selection.labels, np.int64)
    results = []
    for index in range(num_images):
        rows = table[table[:, 6] == index][: selection.max_detections]
        results.append(
            RawDetections(rows[:, :4].copy(), rows[:, 4].copy(), labels_K[rows[:, 5].astype(np.intp)])
        )
    return results
