"""Holds what heads for new classes start from: how the weights of solved detection tasks are spread.

The detector's own classes are solved tasks over exactly the features that a head reads. A Gaussian over their weights is
a learned initialization and a learned update rule in one: MAML is hierarchical Bayes with such a prior (Grant et al.,
"Recasting Gradient-Based Meta-Learning as Hierarchical Bayes", ICLR 2018). Directions in which classes differ learn
fast, others hardly. It joins the strides, so that an animal seen large says what it looks like when small.

Legend of shape suffixes: T tasks, L strides, D hidden features, F = L x (D + 1) weights and biases of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.fewshot.detection import DetectionHead
from models.fewshot.detection_examples import NUM_FEATURES

SHRINKAGE: Final = 0.1
"""Share of the spread that is alike in all directions: 80 tasks say little about most of 387."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class DetectionInitialization:
    """Holds the mean product of the weights of solved tasks, around 0, and how many tasks it is a mean of.

    Around 0, since the mean of all classes is a bad start for any one of them when a single image teaches it.

    Raises:
        ModelError: when the shape is another, a number is not finite, or there is no task.
    """

    moment_FF: Floats
    num_tasks: float

    def __post_init__(self) -> None:
        """Check shape and numbers."""
        shape = self.moment_FF.shape
        if shape != (NUM_FEATURES, NUM_FEATURES) or not np.isfinite(self.moment_FF).all():
            raise ModelError(
                f"an initialization of detection heads has shape {shape}, expected finite numbers of "
                f"{(NUM_FEATURES, NUM_FEATURES)}; roll back to an earlier version"
            )
        if not (np.isfinite(self.num_tasks) and self.num_tasks > 0):
            raise ModelError(f"an initialization is of {self.num_tasks} tasks, expected more than 0")

    @classmethod
    def of_class_rows(cls, rows_TLD: Floats) -> DetectionInitialization:
        """Take weights, and last the bias, of classes that the detector knows: T x L x (D + 1)."""
        flat_TF = rows_TLD.reshape(len(rows_TLD), -1).astype(np.float64)
        return cls((flat_TF.T @ flat_TF / len(flat_TF)).astype(np.float32), float(len(flat_TF)))

    def factor(self) -> NDArray[np.float64]:
        """Return F x F: what turns coordinates in which all directions learn equally fast into weights."""
        moment_FF = self.moment_FF.astype(np.float64)
        even = np.trace(moment_FF) / NUM_FEATURES * np.eye(NUM_FEATURES)
        return np.linalg.cholesky((1 - SHRINKAGE) * moment_FF + SHRINKAGE * even)

    def arrays(self) -> dict[str, Floats]:
        """Return what a version file keeps."""
        return {"moment": self.moment_FF, "num_tasks": np.array([self.num_tasks], np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> DetectionInitialization:
        """Build it again of what `arrays` returned.

        Raises:
            ModelError: when one is missing, or as the class itself.
        """
        try:
            moment_FF, num_tasks = arrays["moment"], arrays["num_tasks"].item()
        except (KeyError, ValueError) as error:
            raise ModelError(
                f"an initialization of detection heads cannot be read: {error!r}; roll back to an earlier version"
            ) from error
        return cls(np.asarray(moment_FF, np.float32), float(num_tasks))


def update_initialization(
    previous: DetectionInitialization, solved: Sequence[DetectionHead]
) -> DetectionInitialization:
    """Fold newly solved tasks in, each counting as one of those before; the order of tasks does not matter.

    Of a head only the direction counts: its length comes from calibration, and one sure task would outvote the others.
    """
    if not solved:
        return previous
    rows_TF = np.stack([_flat(head) for head in solved])
    usual = np.sqrt(np.trace(previous.moment_FF.astype(np.float64)))
    rows_TF *= usual / np.maximum(np.linalg.norm(rows_TF, axis=1, keepdims=True), 1e-12)
    total = previous.num_tasks + len(solved)
    moment_FF = (previous.moment_FF * previous.num_tasks + rows_TF.T @ rows_TF) / total
    return DetectionInitialization(moment_FF.astype(np.float32), total)


def _flat(head: DetectionHead) -> NDArray[np.float64]:
    return np.column_stack((head.weight_LD, head.bias_L)).ravel().astype(np.float64)
