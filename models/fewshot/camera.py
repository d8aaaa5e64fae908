"""Adapts the embeddings of one camera, so that people in it come nearer to themselves in the other cameras.

Whichever method made it, what is served is one affine map of low rank: z -> normalise(z + left right^T z + shift).
A camera without one keeps the embeddings as they are.

Legend of shape suffixes: N crops, D embedding, R rank, P people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.checks import check
from models.errors import BadEpisode

Array = NDArray[np.float32]

MAX_RANK: Final = 32
"""Of a served map: with 256 dimensions, 65 kB a camera."""
LEAST_SQUARE: Final = 1e-10
"""Singular values whose squares are smaller, as a share of the largest, are rounding errors."""
MAX_PEOPLE: Final = 400
"""Confirmed people that a map is made from; of more, every so many-th."""
STRANGER_WEIGHT: Final = 0.37
"""What a stranger on either side is worth, of a pair: people differ that much more than crops of one (as measured on
Market-1501: squared lengths of 0.7 and 1.9)."""
MAX_CROPS_COUNTED: Final = 4.0
"""More crops of a person tell no more: they show the same clothes from the same sides."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraAdapter:
    """Is one camera's map of its embeddings.

    Raises:
        ModelError: when shapes do not fit, or a number is not finite.
    """

    left_DR: Array
    right_DR: Array
    shift_D: Array

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        shapes = (self.left_DR.shape, self.right_DR.shape, self.shift_D.shape)
        rank = self.left_DR.shape[-1] if self.left_DR.ndim == 2 else -1
        dimension = len(self.shift_D) if self.shift_D.ndim == 1 else -1
        check(
            shapes[0] == shapes[1] == (dimension, rank),
            "shapes of a camera's map",
            shapes,
            "D x R twice, and D",
        )
        finite = all(bool(np.isfinite(array).all()) for array in self.arrays().values())
        check(
            finite, "a camera's map", "a number that is not finite", "finite numbers; teach the camera anew"
        )

    @classmethod
    def identity(cls, dimension: int) -> CameraAdapter:
        """Return the map that changes nothing."""
        empty_DR = np.zeros((dimension, 0), np.float32)
        return cls(empty_DR, empty_DR, np.zeros(dimension, np.float32))

    @classmethod
    def of(cls, slope_DD: NDArray[np.float64], shift_D: NDArray[np.float64]) -> CameraAdapter:
        """Keep the `MAX_RANK` largest singular values of a slope, which is what is added to the identity."""
        left_DR, right_DR = low_rank(slope_DD, MAX_RANK)
        return cls(left_DR.astype(np.float32), right_DR.astype(np.float32), shift_D.astype(np.float32))

    @property
    def dimension(self) -> int:
        """Length D of the embeddings that it maps."""
        return len(self.shift_D)

    def apply(self, embeddings_ND: Array) -> Array:
        """Map rows of unit length; returns N x D rows of unit length.

        A row that is mapped to zero stays what it was.

        Raises:
            ModelError: when the rows have another length than the map was made for.
        """
        shape = embeddings_ND.shape
        check(
            len(shape) == 2 and shape[1] == self.dimension,
            "shape of embeddings",
            shape,
            f"N x {self.dimension}",
        )
        moved_ND = embeddings_ND + (embeddings_ND @ self.right_DR) @ self.left_DR.T + self.shift_D
        norms_N1 = np.linalg.norm(moved_ND, axis=1, keepdims=True)
        usable_N1 = norms_N1 > 1e-6
        unit_ND = np.where(usable_N1, moved_ND / np.where(usable_N1, norms_N1, 1), embeddings_ND)
        return np.asarray(unit_ND, np.float32)

    def arrays(self) -> dict[str, Array]:
        """Return what a version file keeps."""
        return {"left": self.left_DR, "right": self.right_DR, "shift": self.shift_D}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> CameraAdapter:
        """Build a map again of what `arrays` returned.

        Raises:
            ModelError: when an array is missing, of another shape, or not finite.
        """
        missing = sorted({"left", "right", "shift"} - arrays.keys())
        check(not missing, "arrays of a camera's map", sorted(arrays), f"{missing} too")
        return cls(*(np.asarray(arrays[name], np.float32) for name in ("left", "right", "shift")))


@dataclass(frozen=True, slots=True, eq=False)
class CameraPairs:
    """Holds what a camera is taught with: people, each as this camera and as the others see them.

    Raises:
        BadEpisode: when shapes differ, there is nobody, or a number is not finite.
    """

    own_PD: NDArray[np.float64]
    """Mean embedding of a person's crops from this camera."""
    others_PD: NDArray[np.float64]
    """Mean embedding of the same person's crops from all others."""
    weight_P: NDArray[np.float64]
    """How many single crops on either side a row is worth."""

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        if self.own_PD.shape != self.others_PD.shape or self.own_PD.shape[:1] != self.weight_P.shape:
            shapes = (self.own_PD.shape, self.others_PD.shape, self.weight_P.shape)
            raise BadEpisode(f"pairs have shapes {shapes}, expected P x D twice, and P")
        if not len(self.weight_P):
            raise BadEpisode(
                "there is no pair: give crops of at least one person from this camera and from another"
            )
        if not all(np.isfinite(array).all() for array in (self.own_PD, self.others_PD, self.weight_P)):
            raise BadEpisode("an embedding holds a number that is not finite; look at what made it")

    def __len__(self) -> int:
        return len(self.weight_P)

    @classmethod
    def of(
        cls, embeddings_ND: Array, people: Sequence[str], cameras: Sequence[str], camera: str
    ) -> CameraPairs:
        """Pair the crops of each person from `camera` with theirs from all other cameras.

        People whom one side alone has seen make one more row: what this camera's have in common, and the others'. It
        is worth little for each of them, but they need no label that says who is who, and there are many.

        Raises:
            BadEpisode: when lengths differ, one side is empty, or a number is not finite.
        """
        if embeddings_ND.ndim != 2 or not len(embeddings_ND) == len(people) == len(cameras):
            raise BadEpisode(
                f"got embeddings of shape {embeddings_ND.shape}, {len(people)} people and {len(cameras)} cameras, "
                "expected one of each a crop"
            )
        rows_ND, names_N = embeddings_ND.astype(np.float64), np.asarray(people)
        is_own_N = np.array([one == camera for one in cameras], bool)
        if not is_own_N.any() or is_own_N.all():
            raise BadEpisode(
                f"{int(is_own_N.sum())} of {len(rows_ND)} crops are from camera {camera!r}: give crops from it and "
                "from others"
            )
        own, others = (_Side.of(rows_ND[side_N], names_N[side_N]) for side_N in (is_own_N, ~is_own_N))
        return cls._of_sides(own, others)

    @classmethod
    def _of_sides(cls, own: _Side, others: _Side) -> CameraPairs:
        both = sorted(own.means.keys() & others.means.keys())
        taken = both[:: -(-len(both) // MAX_PEOPLE) or 1]
        own_PD = [own.means[who] for who in taken]
        others_PD = [others.means[who] for who in taken]
        weight_P = [min(_harmonic(own.counts[who], others.counts[who]), MAX_CROPS_COUNTED) for who in taken]
        strangers = [[side.means[who] for who in sorted(side.means.keys() - both)] for side in (own, others)]
        if all(strangers):
            own_PD.append(np.mean(strangers[0], axis=0))
            others_PD.append(np.mean(strangers[1], axis=0))
            weight_P.append(STRANGER_WEIGHT * _harmonic(len(strangers[0]), len(strangers[1])))
        return cls(np.stack(own_PD), np.stack(others_PD), np.array(weight_P))


@dataclass(frozen=True, slots=True)
class _Side:
    """Holds the people seen on one side."""

    means: dict[str, NDArray[np.float64]]
    counts: dict[str, int]

    @classmethod
    def of(cls, rows_ND: NDArray[np.float64], names_N: NDArray[np.str_]) -> _Side:
        whos, number_N = np.unique(names_N, return_inverse=True)
        means = {str(who): rows_ND[number_N == number].mean(0) for number, who in enumerate(whos)}
        return cls(means, {str(who): int((number_N == number).sum()) for number, who in enumerate(whos)})


def low_rank(matrix_DE: NDArray[np.float64], rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return left D x R and right E x R, whose product left right^T is nearest to the matrix."""
    # By the eigenvectors of the square, which takes a third of the time; what is near zero is dropped anyway.
    squares_E, vectors_EE = np.linalg.eigh(matrix_DE.T @ matrix_DE)
    num = min(rank, int((squares_E > LEAST_SQUARE * max(squares_E[-1], 1e-12)).sum()))
    right_ER = vectors_EE[:, ::-1][:, :num]
    return matrix_DE @ right_ER, right_ER


def _harmonic(num_own: int, num_others: int) -> float:
    return 2 / (1 / num_own + 1 / num_others)
