"""Holds affine maps of embeddings as what they add to the identity, each slope as a product of two thin matrices.

Legend of shape suffixes: D embedding, E = D + 1 embedding and a one, J maps, R rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.checks import check
from models.fewshot.camera import Array, low_rank

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LowRankMaps:
    """Is a stack of maps; map j adds left_j right_j^T to the slope, and shift_j.

    Raises:
        ModelError: when shapes do not fit, or a number is not finite.
    """

    left_JDR: Array
    right_JDR: Array
    shift_JD: Array

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        num, dimension = self.shift_JD.shape if self.shift_JD.ndim == 2 else (-1, -1)
        expected = (num, dimension, self.left_JDR.shape[-1])
        shapes = (self.left_JDR.shape, self.right_JDR.shape, self.shift_JD.shape)
        check(
            shapes == (expected, expected, expected[:2]),
            "shapes of maps",
            shapes,
            "J x D x R twice, and J x D",
        )
        finite = all(bool(np.isfinite(array).all()) for array in self.arrays().values())
        check(finite, "a map", "a number that is not finite", "finite numbers")

    @classmethod
    def of(cls, maps_JDE: Floats, rank: int) -> LowRankMaps:
        """Keep the largest singular values of each slope, `rank` of them."""
        num, dimension, _ = maps_JDE.shape
        left_JDR = np.zeros((num, dimension, rank), np.float32)
        right_JDR = np.zeros_like(left_JDR)
        for number, map_DE in enumerate(maps_JDE):
            left_DR, right_DR = low_rank(map_DE[:, :-1], rank)
            left_JDR[number, :, : left_DR.shape[1]] = left_DR
            right_JDR[number, :, : right_DR.shape[1]] = right_DR
        return cls(left_JDR, right_JDR, maps_JDE[:, :, -1].astype(np.float32))

    @classmethod
    def none(cls, dimension: int, rank: int) -> LowRankMaps:
        """Return an empty stack."""
        return cls.of(np.zeros((0, dimension, dimension + 1)), rank)

    def __len__(self) -> int:
        return len(self.shift_JD)

    @property
    def dimension(self) -> int:
        """Length D of the embeddings that they map."""
        return int(self.shift_JD.shape[1])

    def dense(self) -> Floats:
        """Return them as J x D x E: slope and shift side by side."""
        slopes_JDD = self.left_JDR.astype(float) @ self.right_JDR.astype(float).transpose(0, 2, 1)
        return np.concatenate([slopes_JDD, self.shift_JD.astype(float)[..., None]], axis=2)

    def sum(self, coordinates_J: Floats) -> Floats:
        """Return their sum, each as long as its coordinate says: D x E."""
        left_JDR = coordinates_J[:, None, None] * self.left_JDR
        slope_DD = np.einsum("jdr,jer->de", left_JDR, self.right_JDR, optimize=True)
        return np.hstack([slope_DD, (coordinates_J @ self.shift_JD)[:, None]])

    def applied(self, rows_PE: Floats, axes_DD: Floats) -> Floats:
        """Return what each adds to each row, in other axes, factor by factor: J x P x D."""
        left_JRD = self.left_JDR.astype(float).transpose(0, 2, 1) @ axes_DD
        slope_JPD = (rows_PE[:, :-1] @ self.right_JDR.astype(float)) @ left_JRD
        return np.asarray(slope_JPD + rows_PE[:, -1:] * (self.shift_JD.astype(float) @ axes_DD)[:, None])

    def arrays(self, prefix: str = "") -> dict[str, Array]:
        """Return what a version file keeps."""
        return {
            f"{prefix}left": self.left_JDR,
            f"{prefix}right": self.right_JDR,
            f"{prefix}shift": self.shift_JD,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], prefix: str = "") -> LowRankMaps:
        """Build them again of what `arrays` returned.

        Raises:
            ModelError: when one is missing, of another shape, or not finite.
        """
        names = [prefix + name for name in ("left", "right", "shift")]
        missing = [name for name in names if name not in arrays]
        check(not missing, "arrays of maps", sorted(arrays), f"{missing} too")
        return cls(*(np.asarray(arrays[name], np.float32) for name in names))
