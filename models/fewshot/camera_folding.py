"""Folds the tasks of past cameras into the initialization that the next camera starts from: the outer loop.

A prior covariance of maps is a sum of outer products, one a camera: what a new camera adds is one more term, and what
is bounded is the rank. Nothing is unlearned on the way but the directions in which cameras differed least.

Legend of shape suffixes: D embedding, E = D + 1 embedding and a one, J directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from models.fewshot.camera import CameraPairs
from models.fewshot.camera_prior import MAX_DIRECTIONS, CameraInitialization, Floats, posterior_map

KNOWN_SHARE: Final = 0.95
"""A map of which the directions make up so much, by its square, is no news: a task may be folded in again and again."""


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
    """Add the map of one camera to the directions, unless they know it."""
    map_DE = posterior_map(pairs, initialization)
    maps_JDE = initialization.maps()
    moment_EE = initialization.moment_EE.astype(float)
    if is_known(map_DE, maps_JDE, moment_EE):
        return initialization
    return initialization.with_maps(principal(np.concatenate([maps_JDE, map_DE[None]]), moment_EE))


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


def principal(maps_JDE: Floats, moment_EE: Floats) -> Floats:
    """Return at most `MAX_DIRECTIONS` maps whose outer products sum to nearly the same covariance."""
    if len(maps_JDE) <= MAX_DIRECTIONS:
        return maps_JDE
    gram_JJ = np.einsum("jde,kde->jk", maps_JDE @ moment_EE, maps_JDE)
    vectors_JJ = np.linalg.eigh(gram_JJ)[1][:, ::-1][:, :MAX_DIRECTIONS]
    return np.asarray(np.tensordot(vectors_JJ.T, maps_JDE, 1))
