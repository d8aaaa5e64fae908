"""Tells the classes taught at a site from the crops of a detector: one linear score a class over the crop's embedding.

Legend of shape suffixes: N crops, D embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ClassHead:
    """Scores one class: the natural log of the odds that a crop is of it.

    Raises:
        ValueError: when the weight is no vector, or a number is not finite.
    """

    weight_D: NDArray[np.float32]
    bias: float

    def __post_init__(self) -> None:
        if self.weight_D.ndim != 1 or not (np.isfinite(self.weight_D).all() and np.isfinite(self.bias)):
            raise ValueError(f"a class head of shape {self.weight_D.shape} is no vector of finite numbers")

    def logits(self, embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score crops; N numbers."""
        return np.asarray(embeddings_ND @ self.weight_D + np.float32(self.bias), np.float32)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what a version file keeps."""
        return {"weight": self.weight_D, "bias": np.array([self.bias], np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> ClassHead:
        """Build a head again of what `arrays` returned."""
        return cls(np.asarray(arrays["weight"], np.float32), float(arrays["bias"][0]))
