"""Holds what was seen in one frame, in pixels of that frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.detector import RawDetections
from pipeline.errors import BadInput

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the source frame."""


def lies_inside(box: Box, size: tuple[int, int]) -> bool:
    """Say whether no border of the frame cuts the box; `size` is (width, height)."""
    left, top, right, bottom = box
    return left > 1 and top > 1 and right < size[0] - 1 and bottom < size[1] - 1


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Holds N boxes of one frame, with a score and a label each.

    Raises:
        BadInput: when the arrays disagree in length, or hold a number that is not finite.
    """

    boxes_N4: NDArray[np.float32]  # left, top, right, bottom in pixels of the source frame
    scores_N: NDArray[np.float32]  # in [0, 1]
    labels_N: NDArray[np.int64]  # index into the detector's class names

    def __post_init__(self) -> None:
        n = len(self.scores_N)
        if self.boxes_N4.shape != (n, 4) or self.labels_N.shape != (n,) or self.scores_N.ndim != 1:
            raise BadInput(
                f"detections disagree in shape: boxes {self.boxes_N4.shape}, scores {self.scores_N.shape}, "
                f"labels {self.labels_N.shape}; expected (N, 4), (N,), (N,)"
            )
        if not (np.isfinite(self.boxes_N4).all() and np.isfinite(self.scores_N).all()):
            raise BadInput("detections hold a box or a score that is not a finite number")

    def __len__(self) -> int:
        return len(self.scores_N)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Detections:
        return Detections(self.boxes_N4[index], self.scores_N[index], self.labels_N[index])

    @classmethod
    def empty(cls) -> Detections:
        """Return no detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    @classmethod
    def from_raw(
        cls, raw: RawDetections, width: int, height: int, labels: frozenset[int] | None = None
    ) -> Detections:
        """Scale a network's output to a frame of `width` x `height` pixels, keeping only `labels` if given."""
        keep = slice(None) if labels is None else np.isin(raw.labels_N, list(labels))
        scale = np.array([width, height, width, height], np.float32)
        return cls(raw.boxes_N4[keep] * scale, raw.scores_N[keep], raw.labels_N[keep])
