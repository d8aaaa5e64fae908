import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.identity.paths import MAX_GAP_S, MAX_POINTS, Path
from pipeline.records import PathPoint


def points(*rows: tuple[float, float]) -> list[PathPoint]:
    return [PathPoint(round(s * 1e9), x, 0.5, 0.2) for s, x in rows]


def test_a_place_in_between_is_interpolated() -> None:
    path = Path()
    path.extend(points((1.0, 0.2), (2.0, 0.4)))
    np.testing.assert_allclose(path.at(np.array([1.0, 1.25, 2.0]))[:, 0], [0.2, 0.25, 0.4])


def test_outside_the_path_and_in_a_long_gap_nothing_is_known() -> None:
    path = Path()
    path.extend(points((1.0, 0.2), (1.0 + 2 * MAX_GAP_S, 0.4)))
    assert np.isnan(path.at(np.array([0.5, 2.0, 9.0]))).all()


def test_points_that_go_back_in_time_or_are_not_numbers_are_left_out() -> None:
    path = Path()
    path.extend(points((2.0, 0.2)))
    assert list(path.extend(points((1.0, 0.3), (2.0, 0.3), (3.0, float("nan")), (4.0, 0.5)))) == [4.0]


def test_only_the_latest_points_are_kept() -> None:
    path = Path()
    path.extend(points(*((s / 2, 0.1) for s in range(2 * MAX_POINTS))))
    assert len(path) == MAX_POINTS
    assert path.times_s[-1] == (2 * MAX_POINTS - 1) / 2


def test_velocity_is_that_of_the_end_asked_for() -> None:
    path = Path()
    path.extend(points(*((s / 2, 0.1 * s / 2) for s in range(8)), *((4 + s / 2, 0.4) for s in range(8))))
    np.testing.assert_allclose(path.velocity(at_end=False), [0.1, 0.0], atol=1e-9)
    np.testing.assert_allclose(path.velocity(at_end=True), [0.0, 0.0], atol=1e-9)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 1)), min_size=1, max_size=30), st.floats(-1, 51))
def test_no_place_is_outside_what_was_seen(rows: list[tuple[float, float]], asked_s: float) -> None:
    path = Path()
    path.extend(points(*sorted(rows)))
    x = path.at(np.array([asked_s]))[0, 0]
    assert np.isnan(x) or min(x for _, x in rows) - 1e-9 <= x <= max(x for _, x in rows) + 1e-9
