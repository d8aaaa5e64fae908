"""Weighs whether two tracks' ways can be one somebody's way."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.identity.covisibility import FloorMap
from pipeline.identity.paths import Path

Floats = NDArray[np.float64]

OUTLIER_SHARE: Final = 0.02
"""Share of points that stand anywhere, whoever it is: feet are hidden, boxes grow together."""
CROWDING: Final = 3.0
"""How much denser than evenly over the picture people stand."""
INDEPENDENT_SHARE: Final = 0.5
"""What a point adds to the points before it: errors of half a second ago persist."""
LIMIT: Final = 10.0
"""What the ways of two tracks can say at most, for or against."""
WANDER: Final = 0.6
"""Standard deviation, in heights of the box a second, of where somebody out of sight comes back."""
MAX_PREDICTED_S: Final = 1.5
"""Seconds for which somebody out of sight is taken to walk on; after that anybody may have turned."""


class MotionEvidence(NamedTuple):
    """Says how much two ways speak for one somebody, and how."""

    score: float  # log-likelihood ratio
    simultaneous: bool  # seen at the same time; otherwise across a gap


def weigh_motion(first: Path, second: Path, floor_map: FloorMap, max_gap_s: float) -> MotionEvidence | None:
    """Compare two ways; `floor_map` leads from the first's camera to the second's. None where they say nothing."""
    if not len(first) or not len(second):
        return None
    distances_K = _distances_at_once(first, second, floor_map)
    if len(distances_K):
        # Both paths were asked at the other's times, so each moment counts twice.
        score = float(_log_ratio(distances_K, floor_map.sigma).sum()) * INDEPENDENT_SHARE / 2
        return MotionEvidence(float(np.clip(score, -LIMIT, LIMIT)), True)
    return _across_a_gap(first, second, floor_map, max_gap_s)


def _distances_at_once(first: Path, second: Path, floor_map: FloorMap) -> Floats:
    clock_s = floor_map.clock_difference_s
    mine_K2 = np.concatenate((first.places[:, :2], first.at(second.times_s - clock_s)[:, :2]))
    other_K2 = np.concatenate((second.at(first.times_s + clock_s)[:, :2], second.places[:, :2]))
    both_K = np.isfinite(mine_K2).all(axis=1) & np.isfinite(other_K2).all(axis=1)
    return np.asarray(np.linalg.norm(floor_map.apply(mine_K2[both_K]) - other_K2[both_K], axis=1))


def _across_a_gap(first: Path, second: Path, floor_map: FloorMap, max_gap_s: float) -> MotionEvidence | None:
    first_s = first.times_s + floor_map.clock_difference_s
    forward = first_s[-1] < second.times_s[0]
    gap_s = second.times_s[0] - first_s[-1] if forward else first_s[0] - second.times_s[-1]
    if not 0 < gap_s <= max_gap_s:
        return None
    end = -1 if forward else 0
    place_2 = floor_map.apply(first.places[end, :2])
    velocity_2 = floor_map.turn(first.velocity(at_end=forward))
    walked_s = min(gap_s, MAX_PREDICTED_S) * (1 if forward else -1)
    other_3 = second.places[0 if forward else -1]
    sigma = float(np.hypot(floor_map.sigma, WANDER * other_3[2] * gap_s))
    distance = np.linalg.norm(place_2 + velocity_2 * walked_s - other_3[:2])
    return MotionEvidence(float(_log_ratio(np.array([distance]), sigma)[0]), False)


def _log_ratio(distances_K: Floats, sigma: float) -> Floats:
    """Return log p(distance | same) / p(distance | others) of a 2-D normal with outliers against even crowding."""
    same_K = np.exp(-0.5 * np.square(distances_K / sigma)) / (2 * np.pi * sigma**2)
    return np.asarray(np.log((1 - OUTLIER_SHARE) * same_K / CROWDING + OUTLIER_SHARE))
