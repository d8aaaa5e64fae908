"""Takes truth that is not to be scored, and what was predicted there, out of both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.association import buffered_iou, cheapest_pairs

Boxes = NDArray[np.float64]


def counted(
    truth_M4: Boxes, ignored_M: NDArray[np.bool_], predicted_N4: Boxes, iou: float = 0.5
) -> NDArray[np.bool_]:
    """Say which of N predictions in one frame count: all but those that stand on an ignored truth box.

    Predictions are first paired one to one with the truth that is scored, at the greatest total overlap. Of those
    left over, each that overlaps an ignored box by at least `iou` counts neither way. So an object half out of
    the picture costs nothing whether it is found or not, and never excuses a false detection elsewhere. This is
    COCO's rule (scored truth goes first, ignored truth may absorb several), with an optimal pairing.
    """
    if not ignored_M.any():
        return np.ones(len(predicted_N4), np.bool_)
    overlap_MN = buffered_iou(truth_M4, predicted_N4)
    counted_N: NDArray[np.bool_] = np.logical_not(np.any(overlap_MN[ignored_M] >= iou, axis=0))
    counted_N[cheapest_pairs(1.0 - overlap_MN[~ignored_M], 1.0 - iou).columns_P] = True
    return counted_N
