import numpy as np
import pytest

from pipeline.identity.covisibility import SAME_CAMERA, FloorMap
from pipeline.identity.motion import LIMIT, weigh_motion
from pipeline.identity.paths import Path
from pipeline.records import PathPoint

SHIFTED = FloorMap(np.array([[1.0, 0.0], [0.0, 1.0], [-0.5, 0.0]]), 0.2, 0.02)
"""The second camera sees what the first has in its right half, its clock 0.2 s ahead."""


def path(start_s: float, num: int, x: float, y: float = 0.5, speed: float = 0.05) -> Path:
    """Return a walk to the right, a point each half second."""
    walked = Path()
    times_s = start_s + np.arange(num) / 2
    walked.extend(PathPoint(round(s * 1e9), x + speed * (s - start_s), y, 0.2) for s in times_s)
    return walked


def test_two_at_the_same_place_at_the_same_time_are_one() -> None:
    found = weigh_motion(path(10, 8, 0.6), path(10.2, 8, 0.1), SHIFTED, 5.0)
    assert found is not None
    assert found.simultaneous
    assert found.score > 5


def test_two_at_different_places_at_the_same_time_are_two() -> None:
    found = weigh_motion(path(10, 8, 0.6), path(10.2, 8, 0.4), SHIFTED, 5.0)
    assert found is not None
    assert found.score < -5


def test_no_two_ways_say_more_than_the_limit() -> None:
    same = weigh_motion(path(10, 60, 0.5, speed=0.01), path(10.2, 60, 0.0, speed=0.01), SHIFTED, 5.0)
    other = weigh_motion(path(10, 60, 0.5, speed=0.01), path(10.2, 60, 0.4, speed=0.01), SHIFTED, 5.0)
    assert same is not None
    assert other is not None
    assert (same.score, other.score) == (LIMIT, -LIMIT)


def test_who_comes_back_where_the_way_leads_is_likely_the_same() -> None:
    before = path(10, 8, 0.2)
    there = weigh_motion(before, path(14.5, 6, 0.42), SAME_CAMERA, 5.0)
    elsewhere = weigh_motion(before, path(14.5, 6, 0.9), SAME_CAMERA, 5.0)
    assert there is not None
    assert elsewhere is not None
    assert not there.simultaneous
    assert there.score > 1 > -1 > elsewhere.score


def test_a_gap_weighs_the_same_from_either_side() -> None:
    before, after = path(10, 8, 0.2), path(14.5, 6, 0.42)
    forward = weigh_motion(before, after, SAME_CAMERA, 5.0)
    backward = weigh_motion(after, before, SAME_CAMERA, 5.0)
    assert forward is not None
    assert backward is not None
    assert forward.score == pytest.approx(backward.score, abs=0.5)


def test_after_a_long_gap_the_way_says_nothing() -> None:
    assert weigh_motion(path(10, 8, 0.2), path(40, 6, 0.4), SAME_CAMERA, 5.0) is None


def test_an_empty_path_says_nothing() -> None:
    assert weigh_motion(Path(), path(10, 8, 0.2), SAME_CAMERA, 5.0) is None
