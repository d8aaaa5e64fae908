"""Scores a camera's map by its purpose: whether people in that camera are found among those in the others.

Legend of shape suffixes: N crops of the camera, G crops of the gallery, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import BadEpisode
from models.fewshot.camera import Array, CameraAdapter


@dataclass(frozen=True, slots=True, eq=False)
class CrossCameraQueries:
    """Holds crops of the taught camera, and those of others among whom their people are to be found.

    Raises:
        BadEpisode: when no query's person is in the gallery.
    """

    own_ND: Array
    own_people: Sequence[str]
    gallery_ND: Array
    gallery_people: Sequence[str]

    def __post_init__(self) -> None:
        """Check that something can be found."""
        if not set(self.own_people) & set(self.gallery_people):
            raise BadEpisode(
                f"none of the people on {len(self.own_people)} crops kept for judging is seen by another camera: "
                "keep crops of at least one person from both sides"
            )


def rank1(adapter: CameraAdapter | None, queries: CrossCameraQueries) -> float:
    """Return the share of queries whose most similar gallery crop shows the same person; ties count as wrong."""
    return float(np.mean(_ranks(adapter, queries) == 1))


def mean_reciprocal_rank(adapter: CameraAdapter | None, queries: CrossCameraQueries) -> float:
    """Return the mean of one over the rank of the best match; with few queries less noisy than `rank1`."""
    return float(np.mean(1 / _ranks(adapter, queries)))


def _ranks(adapter: CameraAdapter | None, queries: CrossCameraQueries) -> NDArray[np.int64]:
    """Rank the best match of each query that has one, after all strangers as similar: a map that makes all alike loses."""
    own_ND = queries.own_ND if adapter is None else adapter.apply(queries.own_ND)
    people = np.array([*queries.own_people, *queries.gallery_people])
    number_M = np.unique(people, return_inverse=True)[1]
    is_match_NG = number_M[: len(own_ND), None] == number_M[len(own_ND) :]
    has_match_N = is_match_NG.any(1)
    similarity_NG = (own_ND @ queries.gallery_ND.T)[has_match_N]
    is_match_NG = is_match_NG[has_match_N]
    best_N1 = np.where(is_match_NG, similarity_NG, -np.inf).max(1, keepdims=True)
    return np.asarray(1 + ((similarity_NG >= best_N1) & ~is_match_NG).sum(1), np.int64)
