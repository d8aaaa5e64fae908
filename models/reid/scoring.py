"""Scores re-identification: the standard protocol of Market-1501, and single-shot matching as on CUHK03.

Legend of shape suffixes: N crops, Q queries, G gallery crops, P persons, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.reid.dataset import ReidCrop

RANKS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class ReidScores:
    """Holds shares from 0 to 1 over the queries that have a match in the gallery."""

    rank1: float
    """Share of queries whose most similar gallery crop shows the same person."""
    rank5: float
    """The same within the five most similar."""
    rank10: float
    """The same within the ten most similar."""
    map: float
    """Mean over queries of the average precision of the whole ranking."""
    num_queries: int
    """Queries that were scored."""
    num_skipped: int
    """Queries without any match from another camera: they cannot be scored."""


def rank_and_map(
    query_QD: NDArray[np.float32],
    query_ids: Sequence[str],
    query_cameras: Sequence[str],
    gallery_GD: NDArray[np.float32],
    gallery_ids: Sequence[str],
    gallery_cameras: Sequence[str],
) -> ReidScores:
    """Rank the gallery for each query by inner product, without crops of the query's own identity and camera.

    Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015: single query; average precision is
    the mean of the precision at each match (as in the authors' later code, without interpolation). Of equally
    similar crops those that come first in the gallery rank first.

    Raises:
        ModelError: when lengths differ, or no query has a match.
    """
    _check(query_QD, query_ids, query_cameras, "queries")
    _check(gallery_GD, gallery_ids, gallery_cameras, "gallery")
    ids_G, cameras_G = np.asarray(gallery_ids), np.asarray(gallery_cameras)
    first_matches: list[int] = []
    precisions: list[float] = []
    for embedding_D, identity, camera in zip(query_QD, query_ids, query_cameras, strict=True):
        allowed = np.flatnonzero(~((ids_G == identity) & (cameras_G == camera)))
        order = allowed[np.argsort(-(gallery_GD[allowed] @ embedding_D), kind="stable")]
        ranks = np.flatnonzero(ids_G[order] == identity)
        if len(ranks):
            first_matches.append(int(ranks[0]))
            precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1))))
    if not precisions:
        raise ModelError(
            f"none of {len(query_ids)} queries has its identity in the gallery under another camera; "
            "give crops of at least one person seen by two cameras"
        )
    rank1, rank5, rank10 = (float(np.mean(np.array(first_matches) < rank)) for rank in RANKS)
    return ReidScores(
        rank1, rank5, rank10, float(np.mean(precisions)), len(precisions), len(query_ids) - len(precisions)
    )


def rank_crops(
    embeddings_ND: NDArray[np.float32],
    crops: Sequence[ReidCrop],
    queries: Sequence[int],
    gallery: Sequence[int],
) -> ReidScores:
    """Rank some crops of a set for others of it (see `rank_and_map`); queries and gallery are indices.

    Raises:
        ModelError: when no query has a match.
    """
    parts = [
        (
            embeddings_ND[list(part)],
            [crops[index].identity for index in part],
            [crops[index].camera for index in part],
        )
        for part in (queries, gallery)
    ]
    return rank_and_map(*parts[0], *parts[1])


class Shot(NamedTuple):
    """Is one draw of single-shot matching: indices of crops; query i and gallery crop i show the same person."""

    queries: list[int]
    gallery: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class SingleShots:
    """Groups crops by person and camera, so that one of each can be drawn.

    Li et al., "DeepReID", CVPR 2014: a draw takes one crop of each person from the second camera as the gallery and
    one from the first as the query; P persons make it P-way.
    """

    cameras: list[str]
    """In order; single-shot matching is defined for two."""
    people: list[str]
    """Those whom every camera sees, in order."""
    members: Mapping[tuple[str, str], list[int]]
    """Indices of the crops of a person in a camera."""

    @classmethod
    def of(cls, ids: Sequence[str], cameras: Sequence[str]) -> SingleShots:
        """Group crops, given who is on each and which camera saw them."""
        members: dict[tuple[str, str], list[int]] = {}
        for index, key in enumerate(zip(ids, cameras, strict=True)):
            members.setdefault(key, []).append(index)
        names = sorted(set(cameras))
        people = [one for one in sorted(set(ids)) if all((one, camera) in members for camera in names)]
        return cls(names, people, members)

    def draws(self, num_draws: int, *, num_ways: int | None = None, seed: int = 0) -> Iterator[Shot]:
        """Draw from two cameras; of more than `num_ways` people, that many are drawn anew each time."""
        random = np.random.default_rng(seed)
        for _ in range(num_draws):
            ways = self.people
            if num_ways is not None and len(ways) > num_ways:
                ways = random.choice(ways, num_ways, replace=False).tolist()
            queries, gallery = (
                [int(random.choice(self.members[one, camera])) for one in ways] for camera in self.cameras
            )
            yield Shot(queries, gallery)


def single_shot_rank1(
    embeddings_ND: NDArray[np.float32],
    ids: Sequence[str],
    cameras: Sequence[str],
    *,
    num_draws: int = 20,
    seed: int = 0,
) -> float:
    """Return the share of crops matched right when each person has one crop of the other camera, mean over draws.

    See `SingleShots` for the protocol.

    Raises:
        ModelError: when lengths differ, or there are not exactly two cameras with a person in both.
    """
    _check(embeddings_ND, ids, cameras, "crops")
    shots = SingleShots.of(ids, cameras)
    if len(shots.cameras) != 2:
        raise ModelError(
            f"single-shot matching got cameras {shots.cameras}, expected two; give one pair of cameras"
        )
    if not shots.people:
        raise ModelError("no person is seen by both cameras, expected at least one; give one pair of cameras")
    scores = []
    for queries, gallery in shots.draws(num_draws, seed=seed):
        best_P = np.argmax(embeddings_ND[queries] @ embeddings_ND[gallery].T, axis=1)
        scores.append(float(np.mean(best_P == np.arange(len(queries)))))
    return float(np.mean(scores))


def choose_queries(crops: Sequence[ReidCrop]) -> tuple[list[int], list[int]]:
    """Split crops into queries and gallery where a data set does not: one query per identity and camera.

    The query is the middle one by name, of an odd or even number of crops the earlier, so the same for everyone;
    a distractor is never a query. Returns indices into `crops`: queries, gallery.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index in sorted(range(len(crops)), key=lambda index: crops[index].name):
        if not crops[index].is_distractor:
            groups.setdefault((crops[index].identity, crops[index].camera), []).append(index)
    queries = sorted(members[(len(members) - 1) // 2] for members in groups.values())
    chosen = set(queries)
    return queries, [index for index in range(len(crops)) if index not in chosen]


def _check(embeddings_ND: NDArray[np.float32], ids: Sequence[str], cameras: Sequence[str], what: str) -> None:
    if embeddings_ND.ndim != 2 or not len(embeddings_ND) == len(ids) == len(cameras):
        raise ModelError(
            f"{what}: got embeddings of shape {embeddings_ND.shape}, {len(ids)} identities and {len(cameras)} cameras, "
            "expected one row, one identity and one camera a crop"
        )
    if not np.isfinite(embeddings_ND).all():
        raise ModelError(f"{what}: an embedding holds a number that is not finite; look at what made it")
