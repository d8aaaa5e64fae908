"""Meta-learns the initialization of camera maps from crops of people whom several cameras have seen.

Real cameras are few, and an embedder hardly tells apart those it was trained on. So most of the tasks are virtual
cameras (`models.fewshot.camera_simulation`), for which the truth is known besides: what the same crop looked like.

Legend of shape suffixes: N crops, H height, W width, D embedding, E = D + 1 embedding and a one, J maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.checks import check
from models.fewshot.camera import Array
from models.fewshot.camera_folding import principal
from models.fewshot.camera_prior import CameraInitialization
from models.fewshot.camera_simulation import ANY_LIGHT, CameraRange, Pixels, draw_camera, taken_by
from models.fewshot.low_rank_maps import Floats

Embed = Callable[[Pixels], Array]
"""Embeds crops N x H x W x 3, uint8, blue green red, to N x D rows of unit length."""

NUM_DRAWS: Final = 3
"""Of pairs a person, to measure how crops of one differ."""
LEAST_NOISE: Final = 0.005
"""Share of the mean variance that is added along every axis, so that none counts for everything."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenPeople:
    """Holds crops of people, and their embeddings."""

    pixels_NHW3: Pixels
    embeddings_ND: Array
    people_N: NDArray[np.str_]
    cameras_N: NDArray[np.str_]

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            ModelError: when lengths differ.
        """
        lengths = [
            len(each) for each in (self.pixels_NHW3, self.embeddings_ND, self.people_N, self.cameras_N)
        ]
        check(
            len(set(lengths)) == 1, "numbers of crops, embeddings, people and cameras", lengths, "one number"
        )

    def where(self, chosen_N: NDArray[np.bool_] | NDArray[np.int64]) -> SeenPeople:
        """Return some of them."""
        return SeenPeople(
            self.pixels_NHW3[chosen_N], self.embeddings_ND[chosen_N], self.people_N[chosen_N], self.cameras_N[chosen_N]
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraTrainingConfig:
    """Says how the initialization is meta-learned."""

    num_cameras: int = 60
    """Virtual ones whose maps are learned."""
    people_per_camera: int = 120
    crops_per_person: int = 2
    ridge: float = 0.02
    """Penalty of slopes in a virtual camera's map; with more, maps are smaller and nearer to each other."""
    spread: CameraRange = ANY_LIGHT
    """How far virtual cameras differ."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        for name in ("num_cameras", "people_per_camera", "crops_per_person"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(self.ridge > 0, "ridge", self.ridge, "above 0")


@dataclass(frozen=True, slots=True, eq=False)
class VirtualTask:
    """Is what a virtual camera saw: embeddings before and after, of the same crops."""

    seen: SeenPeople
    """As the real camera took them."""
    embeddings_ND: Array
    """Of the same crops as the virtual camera took them."""


def train_initialization(
    people: SeenPeople, embed: Embed, config: CameraTrainingConfig, rng: np.random.Generator
) -> CameraInitialization:
    """Meta-learn an initialization: the directions, and how crops of one person differ, from virtual cameras.

    Pairs count as much as that noise says. (To choose a temperature between 0.5 and 2 by further virtual cameras gained
    them 0.3 points at most, and cost real ones more.)

    Raises:
        ModelError: when nobody was seen by two cameras.
    """
    tasks = [virtual_task(people, embed, config, rng) for _ in range(config.num_cameras)]
    return learn_directions(people, tasks, config.ridge, rng)


def virtual_task(
    people: SeenPeople, embed: Embed, config: CameraTrainingConfig, rng: np.random.Generator
) -> VirtualTask:
    """Draw a virtual camera in the place of one of the real ones, and some people in front of it."""
    camera = rng.choice(np.unique(people.cameras_N))
    here_N = np.flatnonzero(people.cameras_N == camera)
    whos = np.unique(people.people_N[here_N])
    whos = rng.permutation(whos)[: config.people_per_camera]
    chosen = [
        rng.permutation(here_N[people.people_N[here_N] == who])[: config.crops_per_person] for who in whos
    ]
    seen = people.where(np.concatenate(chosen))
    pixels_NHW3 = taken_by(draw_camera(config.spread, rng), seen.pixels_NHW3, rng)
    return VirtualTask(seen, embed(pixels_NHW3))


def learn_directions(
    people: SeenPeople, tasks: Sequence[VirtualTask], ridge: float, rng: np.random.Generator
) -> CameraInitialization:
    """Learn the prior: how crops of one person differ, and along which maps cameras do."""
    blank = CameraInitialization.blank(people.embeddings_ND.shape[1])
    rows_NE = np.hstack([people.embeddings_ND.astype(float), np.ones((len(people.people_N), 1))])
    moment_EE = rows_NE.T @ rows_NE / len(rows_NE)
    maps_JDE = np.stack([exact_map(task, ridge) for task in tasks]) / np.sqrt(len(tasks))
    axes_DD, spread_D = _axes(_noise(people, rng), _spread(people, tasks))
    known = replace(
        blank, axes_DD=axes_DD.astype(np.float32), spread_D=spread_D.astype(np.float32),
        moment_EE=moment_EE.astype(np.float32),
    )  # fmt: skip
    return known.with_directions(principal(maps_JDE, moment_EE))


def exact_map(task: VirtualTask, ridge: float) -> Floats:
    """Return the map D x E from what a virtual camera saw to what the real one had seen, by ridge regression."""
    from_ND, to_ND = task.embeddings_ND.astype(float), task.seen.embeddings_ND.astype(float)
    mean_D, change_D = from_ND.mean(0), (to_ND - from_ND).mean(0)
    centred_ND = from_ND - mean_D
    covariance_DD = centred_ND.T @ centred_ND / len(from_ND)
    slope_DD = np.linalg.solve(
        covariance_DD + ridge * np.eye(len(mean_D)),
        centred_ND.T @ (to_ND - from_ND - change_D) / len(from_ND),
    ).T
    return np.hstack([slope_DD, (change_D - slope_DD @ mean_D)[:, None]])


def _noise(people: SeenPeople, rng: np.random.Generator) -> Floats:
    """Measure the covariance of the difference between two crops of a person, without what cameras have in common."""
    whos, number_N = np.unique(people.people_N, return_inverse=True)
    rows = []
    for camera in np.unique(people.cameras_N):
        is_own_N = people.cameras_N == camera
        for _ in range(NUM_DRAWS):
            # Of the crops in random order, the last one of each person on either side.
            drawn_2P = np.full((2, len(whos)), -1)
            order_N = rng.permutation(len(number_N))
            drawn_2P[is_own_N[order_N].astype(int), number_N[order_N]] = order_N
            others_P, own_P = drawn_2P[:, (drawn_2P >= 0).all(0)]
            change_PD = people.embeddings_ND[others_P].astype(float) - people.embeddings_ND[own_P]
            rows.append(change_PD - change_PD.mean(0) if len(change_PD) > 1 else change_PD[:0])
    rows_ND = np.concatenate(rows)
    check(
        len(rows_ND) > 1,
        "people seen by two cameras",
        len(rows_ND),
        "at least two; give crops of more cameras",
    )
    return np.asarray(rows_ND.T @ rows_ND / len(rows_ND))


def _spread(people: SeenPeople, tasks: Sequence[VirtualTask]) -> Floats:
    """Return the covariance, of trace 1, of shifts that no direction tells.

    It is the mean of three: how people differ, how the means of real cameras do, and how virtual cameras shift them.
    """
    rows_ND = people.embeddings_ND.astype(float)
    centred_ND = rows_ND - rows_ND.mean(0)
    cameras_CD = np.stack(
        [centred_ND[people.cameras_N == one].mean(0) for one in np.unique(people.cameras_N)]
    )
    shifts_VD = np.stack(
        [(task.seen.embeddings_ND - task.embeddings_ND).mean(0).astype(float) for task in tasks]
    )
    parts = [part.T @ part / (part**2).sum() for part in (centred_ND, cameras_CD, shifts_VD)]
    return np.asarray(sum(parts) / len(parts))


def _axes(noise_DD: Floats, spread_DD: Floats) -> tuple[Floats, Floats]:
    """Return axes in which the noise has variance 1 and the spread is diagonal, and the spread along them."""
    size = np.trace(noise_DD) / len(noise_DD)
    root_DD = np.linalg.cholesky(noise_DD + LEAST_NOISE * size * np.eye(len(noise_DD)))
    inverse_DD = np.linalg.inv(root_DD)
    spread_D, turn_DD = np.linalg.eigh(inverse_DD @ spread_DD @ inverse_DD.T)
    return root_DD @ turn_DD, np.maximum(spread_D, 0)
