"""Folds the tasks of past cameras into the initialization that the next camera starts from: the outer loop.

What a camera's map adds is twofold. It is one more term of the prior's covariance, which is a sum of outer products
of maps, bounded in rank: slow knowledge, in which nothing is unlearned but the directions in which cameras differed
least. And it is one more centre: fast knowledge, kept as it is, which is what forgetting is prevented by.

Legend of shape suffixes: D embedding, E = D + 1 embedding and a one, J directions, H centres.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from models.fewshot.camera import CameraPairs
from models.fewshot.camera_prior import MAX_CENTRES, MAX_DIRECTIONS, CameraInitialization, posterior_map
from models.fewshot.low_rank_maps import Floats

KNOWN_SHARE: Final = 0.95
"""A map of which the directions or a centre make up so much, by its square, is no news: a task may be folded in again
and again."""


def update_initialization(
    initialization: CameraInitialization, tasks: Sequence[CameraPairs], rng: np.random.Generator
) -> Iterator[CameraInitialization]:
    """Fold tasks in, in random order; yields the initialization after each, a slice of well under a second.

    Raises:
        ModelError: when a task has embeddings of another length than the initialization is for.
    """
    for number in rng.permutation(len(tasks)):
        initialization = fold(tasks[number], initialization)
        yield initialization


def fold(pairs: CameraPairs, initialization: CameraInitialization) -> CameraInitialization:
    """Add the map of one camera to the directions, unless they know it, and to the centres, unless it is near one."""
    map_DE = posterior_map(pairs, initialization)
    moment_EE = initialization.moment_EE.astype(float)
    maps_JDE = initialization.directions.dense()
    if not is_known(map_DE, maps_JDE, moment_EE):
        maps_JDE = np.concatenate([maps_JDE, map_DE[None]])
        initialization = initialization.with_directions(principal(maps_JDE, moment_EE))
    maps_HDE = initialization.centres.dense()
    if not is_near(map_DE, maps_HDE, moment_EE):
        maps_HDE = np.concatenate([maps_HDE, map_DE[None]])
        initialization = initialization.with_centres(apart(maps_HDE, moment_EE))
    return initialization


def is_known(map_DE: Floats, maps_JDE: Floats, moment_EE: Floats) -> bool:
    """Tell whether a map is nearly a sum of others, at no more than their usual sizes."""
    size = np.einsum("de,ef,df->", map_DE, moment_EE, map_DE)
    if not len(maps_JDE):
        return bool(size <= 0)
    turned_JDE = maps_JDE @ moment_EE
    gram_JJ = np.einsum("jde,kde->jk", turned_JDE, maps_JDE)
    fit_J = np.einsum("jde,de->j", turned_JDE, map_DE)
    penalty_JJ = np.eye(len(gram_JJ)) * (1 - KNOWN_SHARE) * size
    coordinates_J = np.linalg.solve(gram_JJ + penalty_JJ, fit_J)
    rest = size - 2 * fit_J @ coordinates_J + coordinates_J @ gram_JJ @ coordinates_J
    cost = rest + (1 - KNOWN_SHARE) * size * (coordinates_J @ coordinates_J)
    return bool(cost <= 2 * (1 - KNOWN_SHARE) * size)


def is_near(map_DE: Floats, maps_HDE: Floats, moment_EE: Floats) -> bool:
    """Tell whether a map is nearly one of others, or nearly no change at all."""
    size = np.einsum("de,ef,df->", map_DE, moment_EE, map_DE)
    away_HDE = maps_HDE - map_DE
    distance_H = np.einsum("hde,hde->h", away_HDE @ moment_EE, away_HDE)
    return bool(size <= 0 or (distance_H <= (1 - KNOWN_SHARE) * size).any())


def principal(maps_JDE: Floats, moment_EE: Floats) -> Floats:
    """Return at most `MAX_DIRECTIONS` maps whose outer products sum to nearly the same covariance."""
    if len(maps_JDE) <= MAX_DIRECTIONS:
        return maps_JDE
    gram_JJ = np.einsum("jde,kde->jk", maps_JDE @ moment_EE, maps_JDE)
    vectors_JJ = np.linalg.eigh(gram_JJ)[1][:, ::-1][:, :MAX_DIRECTIONS]
    return np.asarray(np.tensordot(vectors_JJ.T, maps_JDE, 1))


def apart(maps_HDE: Floats, moment_EE: Floats) -> Floats:
    """Return at most `MAX_CENTRES` maps; of the two that are most alike the older one goes, which stands first."""
    while len(maps_HDE) > MAX_CENTRES:
        gram_HH = np.einsum("hde,kde->hk", maps_HDE @ moment_EE, maps_HDE)
        size_H = gram_HH.diagonal()
        distance_HH = size_H[:, None] + size_H - 2 * gram_HH
        distance_HH[np.tril_indices(len(maps_HDE))] = np.inf
        older = int(distance_HH.argmin()) // len(maps_HDE)
        maps_HDE = np.delete(maps_HDE, older, axis=0)
    return maps_HDE
