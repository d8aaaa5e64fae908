"""Learns, from tracks alone, where a point of one camera's floor stands in another camera's picture.

Nobody calibrates: who walks through two views at once gives pairs of points, and the map on which many pairs of
tracks agree is the right one (Lee, Romano and Stein, "Monitoring activities from multiple video streams:
establishing a common coordinate frame", PAMI 2000; Stauffer and Tieu, "Automated multi-camera planar tracking
correspondence modeling", CVPR 2003). The difference between the cameras' clocks is learned with it.

Legend of shape suffixes: N point pairs, H hypotheses, G pairs of tracks; points are (x, y) in shares of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_ROWS: Final = 1500
"""Point pairs remembered a pair of cameras; the oldest go first."""
FIRST_FIT: Final = 60
"""Point pairs from which a map is looked for."""
FIT_GROWTH: Final = 1.25
"""A map is looked for again when there are this many times as many pairs as the time before..."""
MAX_FIT_STEP: Final = 500
"""...or this many more."""
NUM_HYPOTHESES: Final = 400
"""Maps tried: with a quarter of the pairs right, six of them come from right pairs alone."""
TOLERANCE: Final = 0.06
"""Distance, as a share of the picture, at which a hypothesis explains a pair."""
MIN_SIGMA: Final = 0.02
"""A foot is never known better than this: boxes shake."""
MAX_SIGMA: Final = 0.06
MIN_TRACK_PAIRS: Final = 5
"""Pairs of tracks that must agree on a map: three points always do."""
MIN_POINTS_A_PAIR: Final = 3
CONSISTENT_SHARE: Final = 0.7
"""A pair of tracks agrees with a map when at least this share of its points does."""
POINTS_COUNTED: Final = 8
"""Points that a pair of tracks counts for at most: somebody who stands still proves little."""
MIN_HIT_RATE: Final = 0.3
"""Of all who should be seen by the other camera, at least this share must be; some are always missed..."""
MIN_HIT_RATIO: Final = 2.5
"""...and this many times as many as if the second camera's pictures belonged to other moments."""
VIEW_MARGIN: Final = 0.05
MAX_CLOCK_DIFFERENCE_S: Final = 1.0
MIN_DETERMINANT: Final = 0.05
"""A map that shrinks (or, inverted, blows up) areas more than this explains anything by nothing."""
SEED: Final = 17


class PointPairs(NamedTuple):
    """Holds places seen at the same time by two cameras, on their own clocks."""

    first_N2: Floats
    second_N2: Floats
    velocity_N2: Floats  # of the second, a second
    weights_N: Floats  # how alike the two tracks look, in (0, 1)
    groups_N: NDArray[np.int64]  # one number a pair of tracks
    moments_N: NDArray[np.int64]  # one number a track of the first camera and time

    def last(self, num: int) -> PointPairs:
        """Return the last `num` pairs."""
        return PointPairs(
            self.first_N2[-num:], self.second_N2[-num:], self.velocity_N2[-num:],
            self.weights_N[-num:], self.groups_N[-num:], self.moments_N[-num:],
        )  # fmt: skip

    @staticmethod
    def joined(parts: list[PointPairs]) -> PointPairs:
        """Return all pairs of some parts, in order."""
        return PointPairs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@dataclass(frozen=True, slots=True, eq=False)
class FloorMap:
    """Takes places from one camera's picture to another's, and times from its clock to the other's."""

    matrix_32: Floats
    """Affine: [x, y, 1] times this."""
    clock_difference_s: float
    """How far the second camera's clock is ahead of the first's."""
    sigma: float
    """Standard deviation of the distance along one axis, as a share of the picture."""

    def apply(self, points_N2: Floats) -> Floats:
        """Return where points of the first camera stand in the second's picture."""
        return np.asarray(points_N2 @ self.matrix_32[:2] + self.matrix_32[2])

    def turn(self, velocities_N2: Floats) -> Floats:
        """Return what velocities of the first camera are in the second's picture."""
        return np.asarray(velocities_N2 @ self.matrix_32[:2])


SAME_CAMERA: Final = FloorMap(np.eye(3, 2), 0.0, MIN_SIGMA)


class SharedView:
    """Learns what two cameras see in common; `floor_map` is None until enough tracks agree."""

    def __init__(self) -> None:
        self.floor_map: FloorMap | None = None
        self.version = 0
        """Changes whenever the map does."""
        self._parts: list[PointPairs] = []
        self._num_kept = 0
        self._num_seen = 0
        self._next_fit = FIRST_FIT

    def add(self, pairs: PointPairs) -> None:
        """Learn from more pairs of points."""
        self._parts.append(pairs)
        self._num_kept += len(pairs.groups_N)
        self._num_seen += len(pairs.groups_N)
        if self._num_seen < self._next_fit:
            return
        kept = PointPairs.joined(self._parts).last(MAX_ROWS)
        self._parts, self._num_kept = [kept], len(kept.groups_N)
        self._next_fit = min(int(self._num_seen * FIT_GROWTH), self._num_seen + MAX_FIT_STEP) + 1
        found = fit_floor_map(kept)
        if found is not None or self.floor_map is None:
            self.floor_map = found
            self.version += found is not None


def fit_floor_map(pairs: PointPairs) -> FloorMap | None:
    """Find the affine map on which most pairs of tracks agree (RANSAC, then least squares), or None.

    RANSAC: Fischler and Bolles, CACM 1981. Draws are the same for the same pairs.
    """
    hypotheses_H32 = _hypotheses(pairs)
    if not len(hypotheses_H32):
        return None
    groups_N, num_groups = _numbered(pairs.groups_N)
    member_NG = np.zeros((len(groups_N), num_groups), np.float32)
    member_NG[np.arange(len(groups_N)), groups_N] = 1.0
    size_G = member_NG.sum(axis=0)
    mapped_HN2 = _homogeneous(pairs.first_N2) @ hypotheses_H32
    near_HN = np.square(mapped_HN2 - pairs.second_N2).sum(axis=2) < TOLERANCE**2
    hits_HG = near_HN.astype(np.float32) @ member_NG
    agrees_HG = (hits_HG >= MIN_POINTS_A_PAIR) & (hits_HG >= CONSISTENT_SHARE * size_G)
    votes_H = (np.minimum(hits_HG, POINTS_COUNTED) * agrees_HG).sum(axis=1)
    best = int(np.argmax(votes_H))
    if agrees_HG[best].sum() < MIN_TRACK_PAIRS:
        return None
    return _refined(hypotheses_H32[best], pairs, groups_N, size_G)


def _hypotheses(pairs: PointPairs) -> Floats:
    """Return maps through three pairs of points each, drawn by weight; H x 3 x 2."""
    num = len(pairs.groups_N)
    rng = np.random.default_rng(SEED)
    chances_N = pairs.weights_N / pairs.weights_N.sum()
    drawn_H3 = rng.choice(num, size=(NUM_HYPOTHESES, 3), p=chances_N)
    sources_H33 = _homogeneous(pairs.first_N2)[drawn_H3]
    solvable_H = np.abs(np.linalg.det(sources_H33)) > 2e-3
    found_H32 = np.linalg.solve(sources_H33[solvable_H], pairs.second_N2[drawn_H3[solvable_H]])
    area_H = np.abs(np.linalg.det(found_H32[:, :2]))
    return np.asarray(found_H32[(area_H > MIN_DETERMINANT) & (area_H < 1 / MIN_DETERMINANT)])


def _refined(
    matrix_32: Floats, pairs: PointPairs, groups_N: NDArray[np.intp], size_G: NDArray[np.float32]
) -> FloorMap | None:
    """Fit the map and the clocks' difference to the pairs of tracks that agree, a few times over."""
    clock_s, sigma = 0.0, TOLERANCE / 2
    for _ in range(5):
        distance_N = _distances(matrix_32, clock_s, pairs)
        near_N = distance_N < 3 * sigma
        hits_G = np.bincount(groups_N[near_N], minlength=len(size_G))
        agrees_G = (hits_G >= MIN_POINTS_A_PAIR) & (hits_G >= CONSISTENT_SHARE * size_G)
        used = np.flatnonzero(near_N & agrees_G[groups_N])
        if agrees_G.sum() < MIN_TRACK_PAIRS:
            return None
        matrix_32, clock_s = _least_squares(pairs, used)
        # Of a 2-D normal distribution half lies within 1.177 sigma.
        spread = float(np.median(_distances(matrix_32, clock_s, pairs)[used])) / 1.177
        sigma = float(np.clip(spread, MIN_SIGMA, MAX_SIGMA))
    found = FloorMap(matrix_32, clock_s, sigma)
    hit_rate, by_chance = _hit_rate(found, pairs), _hit_rate(found, _shuffled(pairs))
    return found if hit_rate >= max(MIN_HIT_RATE, MIN_HIT_RATIO * by_chance) else None


def _least_squares(pairs: PointPairs, used: NDArray[np.intp]) -> tuple[Floats, float]:
    """Solve second + velocity x clock difference = first x matrix for both."""
    source_N3 = _homogeneous(pairs.first_N2[used])
    zeros_N3 = np.zeros_like(source_N3)
    left = np.concatenate((
        np.column_stack((source_N3, zeros_N3, -pairs.velocity_N2[used, 0])),
        np.column_stack((zeros_N3, source_N3, -pairs.velocity_N2[used, 1])),
    ))  # fmt: skip
    right = np.concatenate((pairs.second_N2[used, 0], pairs.second_N2[used, 1]))
    solution = np.linalg.lstsq(left, right, rcond=None)[0]
    clock_s = float(np.clip(solution[6], -MAX_CLOCK_DIFFERENCE_S, MAX_CLOCK_DIFFERENCE_S))
    return np.column_stack((solution[:3], solution[3:6])), clock_s


def _distances(matrix_32: Floats, clock_s: float, pairs: PointPairs) -> Floats:
    reached_N2 = pairs.second_N2 + pairs.velocity_N2 * clock_s
    return np.asarray(np.linalg.norm(_homogeneous(pairs.first_N2) @ matrix_32 - reached_N2, axis=1))


def _hit_rate(found: FloorMap, pairs: PointPairs) -> float:
    """Return how often the second camera sees somebody where the first says that somebody is."""
    mapped_N2 = found.apply(pairs.first_N2)
    expected_N = ((mapped_N2 > VIEW_MARGIN) & (mapped_N2 < 1 - VIEW_MARGIN)).all(axis=1)
    near_N = _distances(found.matrix_32, found.clock_difference_s, pairs) < 3 * found.sigma
    expected = np.unique(pairs.moments_N[expected_N])
    hit = np.unique(pairs.moments_N[expected_N & near_N])
    return len(hit) / max(len(expected), 1)


def _shuffled(pairs: PointPairs) -> PointPairs:
    """Pair the first camera's points with the second's of another time."""
    half = len(pairs.groups_N) // 2
    return pairs._replace(
        second_N2=np.roll(pairs.second_N2, half, axis=0), velocity_N2=np.roll(pairs.velocity_N2, half, axis=0)
    )


def _homogeneous(points_N2: Floats) -> Floats:
    return np.column_stack((points_N2, np.ones(len(points_N2))))


def _numbered(groups_N: NDArray[np.int64]) -> tuple[NDArray[np.intp], int]:
    unique, numbers_N = np.unique(groups_N, return_inverse=True)
    return numbers_N, len(unique)
