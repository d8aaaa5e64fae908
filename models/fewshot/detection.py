"""Detects classes that the detector lacks: one more row of its last convolution for each, learned from a few images.

The detector stays frozen; a head scores its cells, and boxes are the detector's own. Detector and heads share a pass.

Legend of shape suffixes: N cells or boxes, A cells of all strides, K classes looked for, T taught classes, D hidden
features, L strides; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import batched_nms

from models.boxes import select
from models.detector import ImageHW3, RawDetections
from models.errors import ModelError
from models.fewshot.detection_features import NUM_LEVELS, CellView, FeatureDetector
from models.nanodet import HIDDEN_CHANNELS

Floats = NDArray[np.float32]

MIN_OBJECTNESS: Final = 0.02
"""A cell whose best score for any class is less is no proposal. Low: a person scores 0.05 for all classes but person."""
TAUGHT_NMS_IOU: Final = 0.45
"""Of two boxes of one taught class that overlap by more, the weaker is dropped. Scores learned from few images say less
of how well a box fits than the detector's own do, which are suppressed at 0.65."""
WEIGHT_SHAPE: Final = (NUM_LEVELS, HIDDEN_CHANNELS)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionHead:
    """Scores cells for one class: at each stride, the natural log of the odds is affine in what the detector says.

    Raises:
        ModelError: when shapes are others, a number is not finite, or the threshold is out of its range.
    """

    weight_LD: Floats
    bias_L: Floats
    objectness: float
    """What a cell's log odds of being any known object count; 0 for a class that is like none of those."""
    threshold: float
    """Boxes whose probability is less are not reported; at least 0, below 1."""

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        shapes = (self.weight_LD.shape, self.bias_L.shape)
        if shapes != (WEIGHT_SHAPE, WEIGHT_SHAPE[:1]):
            raise ModelError(
                f"a detection head has weights and biases of shapes {shapes}, expected {WEIGHT_SHAPE} and "
                f"{WEIGHT_SHAPE[:1]}; teach the class again"
            )
        numbers = (self.weight_LD, self.bias_L, self.objectness)
        if not all(np.isfinite(number).all() for number in numbers):
            raise ModelError("a detection head holds a number that is not finite; teach the class again")
        if not 0 <= self.threshold < 1:
            raise ModelError(
                f"a detection head's threshold is {self.threshold}, expected at least 0 and below 1"
            )

    def logits(self, hidden_ND: Floats, level_N: NDArray[np.intp], objectness_N: Floats) -> Floats:
        """Score cells by their features, the index of their stride, and their objectness in [0, 1]; N numbers."""
        own_N = (hidden_ND * self.weight_LD[level_N]).sum(axis=1) + self.bias_L[level_N]
        return np.asarray(own_N + self.objectness * log_odds(objectness_N), np.float32)

    def calibrated(self, scale: float, shift: float, threshold: float) -> DetectionHead:
        """Return the head with its logits multiplied and shifted."""
        weight_LD, bias_L = self.weight_LD * np.float32(scale), self.bias_L * np.float32(scale)
        return DetectionHead(
            weight_LD, bias_L + np.float32(shift), objectness=self.objectness * scale, threshold=threshold
        )

    def arrays(self) -> dict[str, Floats]:
        """Return what a version file keeps."""
        return {
            "weight": self.weight_LD,
            "bias": self.bias_L,
            "objectness": np.array([self.objectness], np.float32),
            "threshold": np.array([self.threshold], np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> DetectionHead:
        """Build a head again of what `arrays` returned.

        Raises:
            ModelError: when one is missing, or as the class itself.
        """
        try:
            weight_LD, bias_L = arrays["weight"], arrays["bias"]
            objectness, threshold = (float(arrays[name].item()) for name in ("objectness", "threshold"))
        except (KeyError, ValueError) as error:
            raise ModelError(f"a detection head cannot be read: {error!r}; teach the class again") from error
        return cls(
            np.asarray(weight_LD, np.float32), np.asarray(bias_L, np.float32), objectness=objectness,
            threshold=threshold,
        )  # fmt: skip


class FewShotDetector:
    """Detects what the frozen detector knows and what heads were taught, in one pass; see `models.detector.Detector`.

    A taught class has the label index that follows those of the detector's own classes, in the order of `heads`.

    Raises:
        ModelError: when a taught class has the name of one that the detector knows.
    """

    def __init__(self, features: FeatureDetector, heads: Mapping[str, DetectionHead]) -> None:
        if known := [name for name in heads if name in features.class_names]:
            raise ModelError(f"the detector knows {known[0]!r} itself; teach the class by another name")
        self._features = features
        self._num_known = len(features.class_names)
        self._class_names = (*features.class_names, *heads)
        labels = tuple(range(self._num_known, len(self._class_names)))
        self._selection = replace(features.selection, labels=(*features.selection.labels, *labels))
        self._weight_LTD = _stacked([head.weight_LD for head in heads.values()], (0, *WEIGHT_SHAPE)).swapaxes(
            0, 1
        )
        self._bias_LT = _stacked([head.bias_L for head in heads.values()], (0, NUM_LEVELS)).T
        self._objectness_T = np.array([head.objectness for head in heads.values()], np.float32)
        self._threshold_T = np.array([head.threshold for head in heads.values()], np.float32)

    @property
    def version(self) -> str:
        """That of the frozen detector; which heads stand on it is said by the version of the learned parts."""
        return self._features.version

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class of each label index."""
        return self._class_names

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that images are stretched to."""
        return self._features.input_size

    def detect(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        """Detect in images of any size, uint8 BGR, each H x W x 3; one result an image, in order.

        Raises:
            ModelError: when an image has another shape or type; names its index.
        """
        return [self._select(view) for view in self._features.views(images)]

    def taught_scores(self, view: CellView) -> Floats:
        """Return T x A probabilities; 0 where a cell is no proposal."""
        logits = [
            weight_TD @ view.hidden_DA[:, start:end] + bias_T[:, None]
            for weight_TD, bias_T, start, end in zip(
                self._weight_LTD, self._bias_LT, self._features.level_starts, self._features.level_starts[1:],
                strict=False,
            )
        ]  # fmt: skip
        logits_TA = np.concatenate(logits, axis=1)
        logits_TA += self._objectness_T[:, None] * log_odds(view.objectness_A)
        return np.asarray(np.where(view.objectness_A > MIN_OBJECTNESS, sigmoid(logits_TA), 0.0), np.float32)

    def _select(self, view: CellView) -> RawDetections:
        scores = np.concatenate([view.scores_KA, self.taught_scores(view)])
        (found,) = select(
            torch.from_numpy(view.boxes_4A)[None], torch.from_numpy(scores)[None], self._selection
        )
        taught_N = found.labels_N >= self._num_known
        if not taught_N.any():
            return found
        keep_N = ~taught_N
        rows = np.flatnonzero(taught_N)
        kind = found.labels_N[rows] - self._num_known
        strong = found.scores_N[rows] >= self._threshold_T[kind]
        rows, kind = rows[strong], kind[strong]
        kept = batched_nms(
            *(torch.from_numpy(array) for array in (found.boxes_N4[rows], found.scores_N[rows], kind)),
            TAUGHT_NMS_IOU,
        )
        keep_N[rows[kept.numpy()]] = True
        return RawDetections(found.boxes_N4[keep_N], found.scores_N[keep_N], found.labels_N[keep_N])


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Turn natural logs of odds into probabilities, without overflow."""
    halves: NDArray[np.floating] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return halves


def log_odds(probability: Floats) -> Floats:
    """Return the natural log of the odds; that of probabilities within 0.0001 of 0 or 1 is that of 0.0001 or 0.9999."""
    bounded = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(bounded / (1 - bounded)), np.float32)


def _stacked(arrays: Sequence[Floats], empty: tuple[int, ...]) -> Floats:
    return np.stack(arrays) if arrays else np.zeros(empty, np.float32)
