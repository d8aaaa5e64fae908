"""Pairs boxes with boxes: overlap, its cost, and the cheapest assignment under a limit.

Legend of shape suffixes: T tracks, N detections, P pairs, 4 = left, top, right, bottom in pixels.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_NONE: Final = np.zeros(0, np.intp)
_MARGIN: Final = 1e-4


class Pairs(NamedTuple):
    """Holds P pairs of row and column, rows ascending."""

    rows_P: Indices
    columns_P: Indices


def buffered_iou(tracks_T4: Floats, boxes_N4: Floats, buffer: float = 0.0) -> Floats:
    """Measure the overlap of every track with every box, in [0, 1]; returns T x N.

    Each box first grows by `buffer` times its width and height on every side, so that small or fast objects
    whose boxes no longer touch still compare (buffered IoU: Yang et al., "Hard to track objects with irregular
    motions and similar appearances? Make it easier by buffering the matching space", WACV 2023). 0 is plain IoU.
    Boxes without area overlap nothing.
    """
    if buffer:
        tracks_T4, boxes_N4 = _grown(tracks_T4, buffer), _grown(boxes_N4, buffer)
    left_top = np.maximum(tracks_T4[:, None, :2], boxes_N4[None, :, :2])
    right_bottom = np.minimum(tracks_T4[:, None, 2:], boxes_N4[None, :, 2:])
    sides = np.maximum(right_bottom - left_top, 0.0)
    shared_TN = sides[..., 0] * sides[..., 1]
    union_TN = _areas(tracks_T4)[:, None] + _areas(boxes_N4)[None, :] - shared_TN
    overlap_TN: Floats = shared_TN / np.maximum(union_TN, np.finfo(np.float64).tiny)
    return overlap_TN


def cheapest_pairs(cost_TN: Floats, max_cost: float) -> Pairs:
    """Assign rows to columns one to one, at least total cost, using no pair above `max_cost`.

    As in ByteTrack a pair above the limit costs as much as leaving its two sides alone does, so that a forbidden
    pair never decides between allowed ones.
    """
    allowed_TN = cost_TN <= max_cost
    if not allowed_TN.any():
        return Pairs(_NONE, _NONE)
    rows, columns = linear_sum_assignment(np.where(allowed_TN, cost_TN, max_cost + _MARGIN))
    keep = allowed_TN[rows, columns]
    return Pairs(rows[keep], columns[keep])


def _grown(boxes_N4: Floats, buffer: float) -> Floats:
    margin_N2 = buffer * (boxes_N4[:, 2:] - boxes_N4[:, :2])
    return np.concatenate((boxes_N4[:, :2] - margin_N2, boxes_N4[:, 2:] + margin_N2), axis=1)


def _areas(boxes_N4: Floats) -> Floats:
    areas: Floats = np.prod(np.maximum(boxes_N4[:, 2:] - boxes_N4[:, :2], 0.0), axis=1)
    return areas
