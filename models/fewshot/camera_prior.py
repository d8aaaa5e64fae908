"""Holds what is known of cameras in general, and makes one camera's map from a few pairs and that knowledge.

The shared initialization of model-agnostic meta-learning is the mean of a Gaussian prior, and the inner loop is
inference under it (Grant et al., "Recasting gradient-based meta-learning as hierarchical Bayes", ICLR 2018). Here the
map is linear and so the inner loop is exact, in closed form, as in R2-D2 (Bertinetto et al., ICLR 2019). What is
meta-learned is the prior's covariance: the directions in which maps of cameras have been seen to differ, and per
dimension how much two crops of one person differ anyway; and its centres, one at no change at all and one at each
camera that was taught, so that a camera like an earlier one starts from where that one ended (a mixture of
initializations, as Jerfel et al., NeurIPS 2019).

Legend of shape suffixes: D embedding, E = D + 1 embedding and a one, J directions, H centres (in posteriors the first
is no change), F and S scales beside and along the directions, R rank, P people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from models.checks import check
from models.fewshot.camera import Array, CameraAdapter, CameraPairs
from models.fewshot.low_rank_maps import Floats, LowRankMaps

MAX_DIRECTIONS: Final = 16
MAX_CENTRES: Final = 32
RANK: Final = 16
"""Of directions and centres."""
SCALES: Final = (1e-4, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Variances of a map's coordinates along the directions, from a camera like the others to one unlike them all; each
counts by its evidence in the pairs."""
FREE_SCALES: Final = (1e-4, 0.003, 0.01, 0.03, 0.1)
"""Expected squared lengths of the shift beside the directions; each counts by its evidence likewise. Larger ones would
let a single odd pair pass for a strange camera, and many pairs of a known one too."""
_CENTRE: Final = "centre_"
"""Before the names of the arrays of centres."""
UNKNOWN_NOISE: Final = 0.6
"""Expected squared length of what two crops of one person differ by, where none has been measured."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraInitialization:
    """Is what the maps of all cameras start from.

    Raises:
        ModelError: when shapes do not fit, or a number is not finite.
    """

    directions: LowRankMaps
    """Along which maps of cameras have been seen to differ, each as long as they usually do."""
    centres: LowRankMaps
    """Maps of cameras that were taught: the next one may be like one of them, or like none."""
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
        check(
            self.directions.dimension == self.centres.dimension == dimension,
            "dimensions of directions and centres", (self.directions.dimension, self.centres.dimension), f"{dimension}",
        )  # fmt: skip
        own = {"axes": self.axes_DD, "spread": self.spread_D, "moment": self.moment_EE, "rule": self.rule_2}
        shapes = {name: array.shape for name, array in own.items()}
        expected = {
            "axes": (dimension, dimension), "spread": (dimension,), "moment": (dimension + 1, dimension + 1), "rule": (2,),
        }  # fmt: skip
        check(shapes == expected, "shapes of a camera initialization", shapes, f"{expected}")
        finite = all(bool(np.isfinite(array).all()) for array in own.values())
        check(finite, "a camera initialization", "a number that is not finite", "finite numbers")

    @classmethod
    def blank(cls, dimension: int) -> CameraInitialization:
        """Return what is known before any camera was: nothing but that maps are near the identity."""
        moment_EE = np.eye(dimension + 1, dtype=np.float32) / np.float32(dimension)
        moment_EE[-1, -1] = 1
        axes_DD = np.sqrt(UNKNOWN_NOISE / dimension) * np.eye(dimension)
        nothing = LowRankMaps.none(dimension, RANK)
        return cls(
            directions=nothing, centres=nothing, axes_DD=axes_DD.astype(np.float32),
            spread_D=np.full(dimension, 1 / UNKNOWN_NOISE, np.float32), moment_EE=moment_EE,
            rule_2=np.array([1, 0.5], np.float32),
        )  # fmt: skip

    @property
    def dimension(self) -> int:
        """Length D of the embeddings that it is for."""
        return len(self.axes_DD)

    def arrays(self) -> dict[str, Array]:
        """Return what a version file keeps."""
        own = {"axes": self.axes_DD, "spread": self.spread_D, "moment": self.moment_EE, "rule": self.rule_2}
        return self.directions.arrays() | self.centres.arrays(_CENTRE) | own

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> CameraInitialization:
        """Build it again of what `arrays` returned; without centres it knows no camera.

        Raises:
            ModelError: when another array is missing, of another shape, or not finite.
        """
        names = {"left", "right", "shift", "axes", "spread", "moment", "rule"}
        missing = sorted(names - arrays.keys())
        check(not missing, "arrays of a camera initialization", sorted(arrays), f"{missing} too")
        axes_DD, spread_D, moment_EE, rule_2 = (
            np.asarray(arrays[name], np.float32) for name in ("axes", "spread", "moment", "rule")
        )
        centres = LowRankMaps.none(len(axes_DD), RANK)
        if any(name.startswith(_CENTRE) for name in arrays):
            centres = LowRankMaps.from_arrays(arrays, _CENTRE)
        return cls(LowRankMaps.from_arrays(arrays), centres, axes_DD, spread_D, moment_EE, rule_2)

    def with_directions(self, maps_JDE: Floats) -> CameraInitialization:
        """Return it with other directions."""
        return replace(self, directions=LowRankMaps.of(maps_JDE, RANK))

    def with_centres(self, maps_HDE: Floats) -> CameraInitialization:
        """Return it with other centres."""
        return replace(self, centres=LowRankMaps.of(maps_HDE, RANK))


def adapt(pairs: CameraPairs, initialization: CameraInitialization) -> CameraAdapter:
    """Return the mean of a camera's map given its pairs: the inner loop.

    Raises:
        ModelError: when the pairs have embeddings of another length than the initialization is for.
    """
    map_DE = posterior_map(pairs, initialization)
    return CameraAdapter.of(map_DE[:, :-1], map_DE[:, -1])


def posterior_map(pairs: CameraPairs, initialization: CameraInitialization) -> Floats:
    """Return the posterior mean of what is added to the identity, D x E: slope and shift side by side.

    others - own = centre(own) + sum_j a_j map_j(own) + free(own) + noise / sqrt(weight), where a ~ N(0, scale) and free
    is a Gaussian process with a linear kernel. The mean is taken over the centres, `SCALES` and `FREE_SCALES`, each by
    its evidence.
    """
    length = pairs.own_PD.shape[1]
    check(length == initialization.dimension, "length of embeddings", length, f"{initialization.dimension}")
    model = _Model(pairs, initialization)
    beliefs = [model.belief(free) for free in FREE_SCALES]
    evidence_FSH = np.stack([belief.evidence_SH for belief in beliefs])
    share_FSH = np.exp(evidence_FSH - evidence_FSH.max())
    share_FSH /= share_FSH.sum()
    return np.asarray(sum(model.map(*pair) for pair in zip(beliefs, share_FSH, strict=True)))


class _Belief(NamedTuple):
    """Is what follows from one scale beside the directions, for all scales along them and all centres."""

    evidence_SH: Floats
    """Its logarithm, up to what all have in common."""
    coordinates_SJH: Floats
    """Posterior means along the directions."""
    gain_PD: Floats
    """Which part of what is left over goes to the map beside the directions."""


class _Model:
    """Holds the pairs where all is independent: people along the kernel's axes, dimensions along the noise's."""

    def __init__(self, pairs: CameraPairs, initialization: CameraInitialization) -> None:
        self._temperature, slope_share = (float(value) for value in initialization.rule_2)
        self._axes_DD = initialization.axes_DD.astype(float)
        self._spread_D = initialization.spread_D.astype(float)
        self._known = initialization
        root_P1 = np.sqrt(pairs.weight_P)[:, None]
        own_PE = root_P1 * np.hstack([pairs.own_PD, np.ones((len(pairs), 1))])
        self._kernel_PE = own_PE * np.append(np.full(own_PE.shape[1] - 1, slope_share), 1.0)
        kernel_P, self._people_PP = np.linalg.eigh(self._kernel_PE @ own_PE.T)
        self._kernel_P = np.maximum(kernel_P, 0)
        inverse_DD = np.linalg.inv(self._axes_DD).T
        turned_PE = self._people_PP.T @ own_PE
        self._design_JPD = initialization.directions.applied(turned_PE, inverse_DD)
        change_PD = self._people_PP.T @ (root_P1 * (pairs.others_PD - pairs.own_PD)) @ inverse_DD
        beside_HPD = change_PD - initialization.centres.applied(turned_PE, inverse_DD)
        self._change_HPD = np.concatenate([change_PD[None], beside_HPD])

    def belief(self, free: float) -> _Belief:
        """Return what follows from the scale `free` beside the directions."""
        prior_PD = free * self._kernel_P[:, None] * self._spread_D
        precision_PD = 1 / (prior_PD + self._temperature)
        base_H = (np.log(precision_PD) - self._change_HPD**2 * precision_PD).sum((1, 2)) / 2
        weighted_JPD = self._design_JPD * precision_PD
        values_J, vectors_JJ = np.linalg.eigh(np.tensordot(weighted_JPD, self._design_JPD, ((1, 2), (1, 2))))
        fit_JH = vectors_JJ.T @ np.tensordot(weighted_JPD, self._change_HPD, ((1, 2), (1, 2)))
        scale_S11 = np.array(SCALES)[:, None, None]
        precision_SJ1 = np.maximum(values_J, 0)[:, None] + 1 / scale_S11
        evidence_SH = base_H + (fit_JH**2 / precision_SJ1 - np.log(scale_S11 * precision_SJ1)).sum(1) / 2
        return _Belief(
            evidence_SH, vectors_JJ @ (fit_JH / precision_SJ1), free * self._spread_D * precision_PD
        )

    def map(self, belief: _Belief, share_SH: Floats) -> Floats:
        """Return a belief's part of the posterior mean, D x E: centres, directions, and what the pairs show beside them."""
        share_H = share_SH.sum(0)
        coordinates_J = np.einsum("sjh,sh->j", belief.coordinates_SJH, share_SH)
        left_PD = np.tensordot(share_H, self._change_HPD, 1) - np.tensordot(
            coordinates_J, self._design_JPD, 1
        )
        free_DE = self._axes_DD @ (self._people_PP @ (belief.gain_PD * left_PD)).T @ self._kernel_PE
        known = self._known
        return np.asarray(free_DE + known.directions.sum(coordinates_J) + known.centres.sum(share_H[1:]))
