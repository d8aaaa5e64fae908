"""Holds what is known of cameras in general, and makes one camera's map from a few pairs and that knowledge.

The shared initialization of model-agnostic meta-learning is the mean of a Gaussian prior, and the inner loop is
inference under it (Grant et al., "Recasting gradient-based meta-learning as hierarchical Bayes", ICLR 2018). Here the
map is linear and so the inner loop is exact, in closed form, as in R2-D2 (Bertinetto et al., ICLR 2019). What is
meta-learned is the prior's covariance: the directions in which maps of cameras have been seen to differ, and per
dimension how much two crops of one person differ anyway.

Legend of shape suffixes: D embedding, E = D + 1 embedding and a one, J directions, R rank, P people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.checks import check
from models.fewshot.camera import Array, CameraAdapter, CameraPairs, low_rank

Floats = NDArray[np.float64]

MAX_DIRECTIONS: Final = 16
DIRECTION_RANK: Final = 16
SCALES: Final = (1e-4, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Variances of a map's coordinates along the directions, from a camera like the others to one unlike them all; each
counts by its evidence in the pairs."""
FREE_SCALES: Final = (1e-4, 0.003, 0.01, 0.03, 0.1)
"""Expected squared lengths of the shift beside the directions; each counts by its evidence likewise. Larger
ones would let a single odd pair pass for a strange camera."""
UNKNOWN_NOISE: Final = 0.6
"""Expected squared length of what two crops of one person differ by, where none has been measured."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraInitialization:
    """Is what the maps of all cameras start from.

    Raises:
        ModelError: when shapes do not fit, or a number is not finite.
    """

    left_JDR: Array
    """Directions: map j adds left_j right_j^T to the slope, and shift_j."""
    right_JDR: Array
    shift_JD: Array
    axes_DD: Array
    """Columns are axes in which two crops of one person, from two cameras, differ independently, by a variance of 1."""
    spread_D: Array
    """Variance along the axes of what maps add beside the directions, for an expected squared length of 1."""
    moment_EE: Array
    """Second moment of (embedding, 1): in it maps are compared."""
    rule_2: Array
    """Temperature by which pairs count less than the noise says, and the variance of slopes as a share of the shift's."""

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        dimension = len(self.axes_DD)
        num, rank = len(self.left_JDR), self.left_JDR.shape[-1]
        expected = {
            "left": (num, dimension, rank), "right": (num, dimension, rank), "shift": (num, dimension),
            "axes": (dimension, dimension), "spread": (dimension,), "moment": (dimension + 1, dimension + 1), "rule": (2,),
        }  # fmt: skip
        arrays = self.arrays()
        shapes = {name: array.shape for name, array in arrays.items()}
        check(shapes == expected, "shapes of a camera initialization", shapes, f"{expected}")
        finite = all(bool(np.isfinite(array).all()) for array in arrays.values())
        check(finite, "a camera initialization", "a number that is not finite", "finite numbers")

    @classmethod
    def blank(cls, dimension: int) -> CameraInitialization:
        """Return what is known before any camera was: nothing but that maps are near the identity."""
        moment_EE = np.eye(dimension + 1, dtype=np.float32) / np.float32(dimension)
        moment_EE[-1, -1] = 1
        empty_JDR = np.zeros((0, dimension, DIRECTION_RANK), np.float32)
        axes_DD = np.sqrt(UNKNOWN_NOISE / dimension) * np.eye(dimension)
        return cls(
            left_JDR=empty_JDR, right_JDR=empty_JDR, shift_JD=np.zeros((0, dimension), np.float32),
            axes_DD=axes_DD.astype(np.float32), spread_D=np.full(dimension, 1 / UNKNOWN_NOISE, np.float32),
            moment_EE=moment_EE, rule_2=np.array([1, 0.5], np.float32),
        )  # fmt: skip

    @property
    def dimension(self) -> int:
        """Length D of the embeddings that it is for."""
        return len(self.axes_DD)

    def arrays(self) -> dict[str, Array]:
        """Return what a version file keeps."""
        return {
            "left": self.left_JDR, "right": self.right_JDR, "shift": self.shift_JD,
            "axes": self.axes_DD, "spread": self.spread_D, "moment": self.moment_EE, "rule": self.rule_2,
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> CameraInitialization:
        """Build it again of what `arrays` returned.

        Raises:
            ModelError: when an array is missing, of another shape, or not finite.
        """
        names = ("left", "right", "shift", "axes", "spread", "moment", "rule")
        missing = sorted(set(names) - arrays.keys())
        check(not missing, "arrays of a camera initialization", sorted(arrays), f"{missing} too")
        return cls(*(np.asarray(arrays[name], np.float32) for name in names))

    def maps(self) -> Floats:
        """Return the directions as J x D x E: slope and shift side by side."""
        slopes_JDD = self.left_JDR.astype(float) @ self.right_JDR.astype(float).transpose(0, 2, 1)
        return np.concatenate([slopes_JDD, self.shift_JD.astype(float)[..., None]], axis=2)

    def map(self, coordinates_J: Floats) -> Floats:
        """Return the sum of the directions, each as long as its coordinate says: D x E."""
        left_JDR = coordinates_J[:, None, None] * self.left_JDR
        slope_DD = np.einsum("jdr,jer->de", left_JDR, self.right_JDR, optimize=True)
        return np.hstack([slope_DD, (coordinates_J @ self.shift_JD)[:, None]])

    def with_maps(self, maps_JDE: Floats) -> CameraInitialization:
        """Return it with other directions."""
        dimension = self.dimension
        left_JDR = np.zeros((len(maps_JDE), dimension, DIRECTION_RANK), np.float32)
        right_JDR = np.zeros_like(left_JDR)
        for number, map_DE in enumerate(maps_JDE):
            left_DR, right_DR = low_rank(map_DE[:, :-1], DIRECTION_RANK)
            left_JDR[number, :, : left_DR.shape[1]] = left_DR
            right_JDR[number, :, : right_DR.shape[1]] = right_DR
        shift_JD = maps_JDE[:, :, -1].astype(np.float32)
        return replace(self, left_JDR=left_JDR, right_JDR=right_JDR, shift_JD=shift_JD)


def adapt(pairs: CameraPairs, initialization: CameraInitialization) -> CameraAdapter:
    """Return the mean of a camera's map given its pairs: the inner loop.

    Raises:
        ModelError: when the pairs have embeddings of another length than the initialization is for.
    """
    map_DE = posterior_map(pairs, initialization)
    return CameraAdapter.of(map_DE[:, :-1], map_DE[:, -1])


def posterior_map(pairs: CameraPairs, initialization: CameraInitialization) -> Floats:
    """Return the posterior mean of what is added to the identity, D x E: slope and shift side by side.

    others - own = sum_j a_j map_j(own) + free(own) + noise / sqrt(weight), where a ~ N(0, scale) and free is a Gaussian
    process with a linear kernel. The mean is taken over `SCALES` and `FREE_SCALES`.
    """
    length = pairs.own_PD.shape[1]
    check(length == initialization.dimension, "length of embeddings", length, f"{initialization.dimension}")
    model = _Model(pairs, initialization)
    posteriors = [one for free in FREE_SCALES for one in model.posteriors(free)]
    evidence = np.array([one.log_evidence for one in posteriors])
    share = np.exp(evidence - evidence.max())
    share /= share.sum()
    coordinates_J = np.tensordot(share, [one.coordinates_J for one in posteriors], 1)
    weights_PD = np.tensordot(share, [one.weights_PD for one in posteriors], 1)
    return model.map(coordinates_J, weights_PD)


class _Posterior(NamedTuple):
    """Is what follows from one pair of scales."""

    log_evidence: float
    """Up to what all scales have in common."""
    coordinates_J: Floats
    """Along the directions."""
    weights_PD: Floats
    """Of the kernel at each person: what the map adds beside the directions."""


class _Model:
    """Holds the pairs where all is independent: people along the kernel's axes, dimensions along the noise's."""

    def __init__(self, pairs: CameraPairs, initialization: CameraInitialization) -> None:
        self._temperature, slope_share = (float(value) for value in initialization.rule_2)
        self._axes_DD = initialization.axes_DD.astype(float)
        self._spread_D = initialization.spread_D.astype(float)
        root_P1 = np.sqrt(pairs.weight_P)[:, None]
        own_PE = root_P1 * np.hstack([pairs.own_PD, np.ones((len(pairs), 1))])
        self._kernel_PE = own_PE * np.append(np.full(own_PE.shape[1] - 1, slope_share), 1.0)
        kernel_P, self._people_PP = np.linalg.eigh(self._kernel_PE @ own_PE.T)
        self._kernel_P = np.maximum(kernel_P, 0)
        self._inverse_DD = np.linalg.inv(self._axes_DD).T
        self._change_PD = self._turned(root_P1 * (pairs.others_PD - pairs.own_PD))
        self._initialization = initialization
        self._design_JPD = self._design(own_PE)

    def _turned(self, rows_PD: Floats) -> Floats:
        return np.asarray(self._people_PP.T @ rows_PD @ self._inverse_DD)

    def _design(self, own_PE: Floats) -> Floats:
        """Return what each direction adds to each row, factor by factor: J x P x D."""
        known, turned_PE = self._initialization, self._people_PP.T @ own_PE
        left_JRD = known.left_JDR.astype(float).transpose(0, 2, 1) @ self._inverse_DD
        shift_JD = known.shift_JD.astype(float) @ self._inverse_DD
        slope_JPD = (turned_PE[:, :-1] @ known.right_JDR.astype(float)) @ left_JRD
        return np.asarray(slope_JPD + turned_PE[:, -1:] * shift_JD[:, None])

    def posteriors(self, free: float) -> Iterator[_Posterior]:
        """Yield what follows from each of `SCALES` along the directions and the scale `free` beside them."""
        prior_PD = free * self._kernel_P[:, None] * self._spread_D
        precision_PD = 1 / (prior_PD + self._temperature)
        base = (np.log(precision_PD) - self._change_PD**2 * precision_PD).sum() / 2
        num = len(self._design_JPD)
        design_JK = (self._design_JPD * np.sqrt(precision_PD)).reshape(num, precision_PD.size)
        fit_J = design_JK @ (self._change_PD * np.sqrt(precision_PD)).ravel()
        values_J, vectors_JJ = np.linalg.eigh(design_JK @ design_JK.T)
        fit_J = vectors_JJ.T @ fit_J
        for scale in SCALES:
            precision_J = np.maximum(values_J, 0) + 1 / scale
            evidence = base + ((fit_J**2 / precision_J) - np.log(scale * precision_J)).sum() / 2
            coordinates_J = vectors_JJ @ (fit_J / precision_J)
            rest_PD = self._change_PD - np.tensordot(coordinates_J, self._design_JPD, 1)
            yield _Posterior(float(evidence), coordinates_J, free * self._spread_D * precision_PD * rest_PD)

    def map(self, coordinates_J: Floats, weights_PD: Floats) -> Floats:
        """Return the map, D x E: along the directions, and what the pairs show beside them."""
        free_DE = self._axes_DD @ (self._people_PP @ weights_PD).T @ self._kernel_PE
        return np.asarray(free_DE + self._initialization.map(coordinates_J))
