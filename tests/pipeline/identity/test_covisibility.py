import numpy as np
import pytest

from pipeline.identity.covisibility import MAX_ROWS, FloorMap, PointPairs, SharedView, fit_floor_map

MATRIX_32 = np.array([[0.9, 0.1], [-0.2, 1.1], [0.3, -0.4]])


def walks(
    seed: int, num: int = 24, *, clock_s: float = 0.0, related: bool = True, matrix_32: np.ndarray = MATRIX_32
) -> PointPairs:
    """Return the point pairs of people who walk through a first view, each paired with each other in a second.

    Only one in four pairs is of one person; nobody's looks tell which.
    """
    rng = np.random.default_rng(seed)
    times_s = np.arange(0, 6, 0.5)
    starts_N2, velocities_N2 = rng.uniform(0.2, 0.8, (num, 2)), rng.normal(0, 0.08, (num, 2))
    parts = []
    for one in range(num):
        for other in (one - one % 4) + np.arange(4):
            first_K2 = starts_N2[one] + velocities_N2[one] * times_s[:, None]
            there_K2 = starts_N2[other] + velocities_N2[other] * (times_s[:, None] - clock_s)
            velocity_2 = velocities_N2[other] @ matrix_32[:2]
            second_K2 = there_K2 @ matrix_32[:2] + matrix_32[2] + rng.normal(0, 0.008, first_K2.shape)
            if not related:
                second_K2, velocity_2 = (
                    rng.uniform(0, 1, 2) + rng.normal(0, 0.08, 2) * times_s[:, None],
                    velocity_2,
                )
            k = len(times_s)
            parts.append(
                PointPairs(
                    first_K2, second_K2, np.tile(velocity_2, (k, 1)), np.full(k, 0.5),
                    np.full(k, one * 1000 + other, np.int64), np.arange(k) * 1000 + one,
                )
            )  # fmt: skip
    return PointPairs.joined(parts)


def error(found: FloorMap | None) -> float:
    """Return the greatest distance of a map from the true one over the picture."""
    assert found is not None
    corners_N2 = np.array([(x, y) for x in (0.2, 0.5, 0.8) for y in (0.2, 0.5, 0.8)])
    return float(np.abs(found.apply(corners_N2) - (corners_N2 @ MATRIX_32[:2] + MATRIX_32[2])).max())


@pytest.mark.parametrize("seed", range(4))
def test_the_map_on_which_walkers_agree_is_found_among_three_times_as_many_wrong_pairs(seed: int) -> None:
    assert error(fit_floor_map(walks(seed))) < 0.02


@pytest.mark.parametrize("clock_s", [-0.6, 0.3])
def test_the_difference_of_two_clocks_is_learned_with_the_map(clock_s: float) -> None:
    found = fit_floor_map(walks(7, clock_s=clock_s))
    assert error(found) < 0.02
    assert found is not None
    assert found.clock_difference_s == pytest.approx(clock_s, abs=0.1)


@pytest.mark.parametrize("seed", range(6))
def test_two_cameras_that_see_different_places_get_no_map(seed: int) -> None:
    assert fit_floor_map(walks(seed, related=False)) is None


def test_people_who_stand_still_in_one_place_prove_nothing() -> None:
    n = 200
    still_N2 = np.tile([0.4, 0.6], (n, 1)) + np.random.default_rng(0).normal(0, 0.003, (n, 2))
    pairs = PointPairs(
        still_N2, still_N2[::-1], np.zeros((n, 2)), np.full(n, 0.9), np.arange(n) // 20, np.arange(n)
    )
    assert fit_floor_map(pairs) is None


def test_the_same_pairs_give_the_same_map_to_the_bit() -> None:
    one, other = fit_floor_map(walks(1)), fit_floor_map(walks(1))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.matrix_32, other.matrix_32)


def test_a_view_learns_as_pairs_come_in_and_keeps_a_bounded_number() -> None:
    view = SharedView()
    pairs = walks(3, num=64)
    for begin in range(0, len(pairs.groups_N), 12):
        part = slice(begin, begin + 12)
        view.add(PointPairs(*(column[part] for column in pairs)))
    assert error(view.floor_map) < 0.02
    assert view.version >= 1
    assert sum(len(part.groups_N) for part in view._parts) < 2 * MAX_ROWS
