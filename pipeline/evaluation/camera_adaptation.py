"""Scores what a camera is taught by a few pairs: a camera never seen before, the second of a kind, and forgetting.

People who are scored are never among those who teach. A draw takes people for the support set, one crop of each from
the camera and one from another; all crops of the other people are queries, and who is seen by the other cameras is the
gallery (single query as in Zheng et al., "Scalable person re-identification", ICCV 2015, without the camera itself).

Legend of shape suffixes: N crops, D embedding, S draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.fewshot.camera import Array, CameraAdapter, CameraPairs
from models.fewshot.camera_scoring import CrossCameraQueries, rank1
from pipeline.errors import BadInput

Fit = Callable[[CameraPairs], CameraAdapter]
"""Makes a camera's map from its pairs."""

NUM_DRAWS: Final = 20
NUM_PAIRS: Final = (1, 2, 5, 10, 20)
CONFIDENCE: Final = 1.96
"""Standard errors to either side that hold the mean in 95 of 100 cases."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledEmbeddings:
    """Holds embeddings of crops, who is on them, and which camera saw them.

    Raises:
        BadInput: when lengths differ.
    """

    embeddings_ND: Array
    people_N: NDArray[np.str_]
    cameras_N: NDArray[np.str_]

    def __post_init__(self) -> None:
        """Check the lengths."""
        lengths = [len(self.embeddings_ND), len(self.people_N), len(self.cameras_N)]
        if len(set(lengths)) != 1:
            raise BadInput(f"got {lengths} embeddings, people and cameras, expected one of each a crop")

    def where(self, chosen_N: NDArray[np.bool_]) -> LabelledEmbeddings:
        """Return some of them."""
        return LabelledEmbeddings(
            self.embeddings_ND[chosen_N], self.people_N[chosen_N], self.cameras_N[chosen_N]
        )

    def without_camera(self, camera: str) -> LabelledEmbeddings:
        """Return what the other cameras saw."""
        return self.where(self.cameras_N != camera)

    def with_camera(self, camera: str, seen: LabelledEmbeddings) -> LabelledEmbeddings:
        """Return it with what `camera` saw put in place of what it saw here."""
        rest = self.without_camera(camera)
        return LabelledEmbeddings(
            np.concatenate([rest.embeddings_ND, seen.embeddings_ND]),
            np.concatenate([rest.people_N, seen.people_N]),
            np.concatenate([rest.cameras_N, np.full(len(seen.people_N), camera)]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """Is one draw: people who teach, in order, and others who are asked for."""

    pairs: CameraPairs
    """One single crop on either side; the first K of them are a smaller support set."""
    queries: CrossCameraQueries

    def first(self, num_pairs: int) -> CameraPairs:
        """Return the support set of the first people alone."""
        pairs = self.pairs
        return CameraPairs(pairs.own_PD[:num_pairs], pairs.others_PD[:num_pairs], pairs.weight_P[:num_pairs])


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Holds the scores of all draws; the same draw of two of them has the same support set and queries."""

    scores_S: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean over draws."""
        return float(self.scores_S.mean())

    def confidence(self, other: Measured | None = None) -> float:
        """Return half the width of the 95 % confidence interval of the mean, or of the mean difference to `other`."""
        values_S = self.scores_S if other is None else self.scores_S - other.scores_S
        return float(CONFIDENCE * values_S.std(ddof=1) / np.sqrt(len(values_S)))


def draw_episodes(
    scored: LabelledEmbeddings,
    camera: str,
    *,
    num_pairs: int,
    teachers: LabelledEmbeddings | None = None,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> list[Episode]:
    """Draw support sets and queries; the same seed draws the same.

    Args:
        scored: people who are asked for; without `teachers`, those drawn for the support set are not asked for.
        camera: the camera that is taught.
        num_pairs: people in a support set.
        teachers: others, of whom the support set is drawn instead.
        num_draws: how many.
        seed: of the draws.

    Raises:
        BadInput: when too few people are seen by that camera and another.
    """
    rng = np.random.default_rng(seed)
    support = scored if teachers is None else teachers
    own_N = support.cameras_N == camera
    both = np.intersect1d(support.people_N[own_N], support.people_N[~own_N])
    if len(both) <= num_pairs:
        raise BadInput(
            f"{len(both)} people are seen by camera {camera} and another, expected more than the {num_pairs} of a "
            "support set; take fewer pairs or more people"
        )
    episodes = []
    for _ in range(num_draws):
        whos = rng.permutation(both)[:num_pairs]
        own, others = (
            [rng.choice(np.flatnonzero(side_N & (support.people_N == who))) for who in whos]
            for side_N in (own_N, ~own_N)
        )
        pairs = CameraPairs(
            support.embeddings_ND[own].astype(float),
            support.embeddings_ND[others].astype(float),
            np.ones(num_pairs),
        )
        episodes.append(Episode(pairs, _queries(scored, camera, whos if teachers is None else whos[:0])))
    return episodes


def score_fits(
    episodes: Sequence[Episode], fits: Mapping[str, Fit], num_pairs: Sequence[int] = NUM_PAIRS
) -> dict[str, dict[int, Measured]]:
    """Score each way to make a map with each number of pairs: rank-1, by name and number."""
    return {
        name: {
            num: Measured(np.array([rank1(fit(one.first(num)), one.queries) for one in episodes]))
            for num in num_pairs
        }
        for name, fit in fits.items()
    }


def pairs_needed(curve: Mapping[int, float], score: float) -> float:
    """Return with how many pairs a curve first reaches a score, between its points by straight lines; inf if never."""
    before: tuple[int, float] | None = None
    for num, reached in sorted(curve.items()):
        if reached >= score:
            if before is None or reached == before[1]:
                return float(num)
            return before[0] + (num - before[0]) * max(score - before[1], 0.0) / (reached - before[1])
        if before is None or reached > before[1]:
            before = (num, reached)
    return float("inf")


def centred(crops: LabelledEmbeddings) -> LabelledEmbeddings:
    """Return embeddings without the mean of their camera, of unit length: what a site does after a while."""
    rows_ND = crops.embeddings_ND.astype(float)
    for camera in np.unique(crops.cameras_N):
        rows_ND[crops.cameras_N == camera] -= rows_ND[crops.cameras_N == camera].mean(0)
    rows_ND /= np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-9)
    return LabelledEmbeddings(rows_ND.astype(np.float32), crops.people_N, crops.cameras_N)


def _queries(scored: LabelledEmbeddings, camera: str, excluded: NDArray[np.str_]) -> CrossCameraQueries:
    own_N = scored.cameras_N == camera
    asked_N = own_N & ~np.isin(scored.people_N, excluded)
    return CrossCameraQueries(
        scored.embeddings_ND[asked_N], scored.people_N[asked_N].tolist(),
        scored.embeddings_ND[~own_N], scored.people_N[~own_N].tolist(),
    )  # fmt: skip
