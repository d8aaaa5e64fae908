import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.identity.config import Calibration
from pipeline.identity.likeness import MAX_COUNT, Likeness

MEASURED = Calibration(even=0.4, slope=10.0, other_spread=0.15)


def learned(mean: float, spread: float, num: int = 2000) -> Likeness:
    """Return what is learned where different ones look this alike."""
    likeness = Likeness(MEASURED)
    for similarity in np.random.default_rng(0).normal(mean, spread, num):
        likeness.learn_other(float(similarity))
    return likeness


@pytest.mark.parametrize(("similarity", "score"), [(0.4, 0.0), (0.5, 1.0), (0.6, 2.0), (0.2, -2.0)])
def test_before_anything_is_learned_the_measured_line_holds(similarity: float, score: float) -> None:
    assert Likeness(MEASURED).weigh(similarity) == pytest.approx(score)


def test_where_all_look_alike_the_same_similarity_proves_less() -> None:
    assert learned(0.0, 0.15).weigh(0.65) == pytest.approx(2.5)
    assert 0 < learned(0.5, 0.1).weigh(0.65) < 0.5
    assert learned(0.5, 0.1).weigh(0.9) > 1.0


def test_a_few_pairs_that_look_different_are_no_proof_that_nobody_looks_alike() -> None:
    few, many = learned(0.0, 0.05, 20), learned(0.0, 0.05, 5000)
    assert few.weigh(0.9) < 2.5 < many.weigh(0.9)


def test_what_speaks_against_does_not_depend_on_how_alike_others_are() -> None:
    assert learned(0.5, 0.1).weigh(0.2) == Likeness(MEASURED).weigh(0.2)


def test_pairs_of_the_same_two_add_up_to_about_one() -> None:
    whole, parts = Likeness(MEASURED), Likeness(MEASURED)
    whole.learn_other(0.7)
    for _ in range(4):
        parts.learn_other(0.7, 0.25)
    assert parts.share_above(0.6) == pytest.approx(whole.share_above(0.6))


@given(st.lists(st.floats(-1, 1), max_size=50), st.floats(-1, 1), st.floats(0, 0.5))
def test_more_alike_never_says_less(others: list[float], similarity: float, more: float) -> None:
    likeness = Likeness(MEASURED)
    for other in others:
        likeness.learn_other(other)
    assert likeness.weigh(similarity) <= likeness.weigh(min(similarity + more, 1.0)) + 1e-9


def test_old_pairs_fade_and_the_count_is_bounded() -> None:
    likeness = Likeness(MEASURED)
    for similarity in [0.9] * 30_000 + [0.1] * 60_000:
        likeness.learn_other(similarity)
    assert likeness.share_above(0.8) < 0.1
    assert likeness._count <= MAX_COUNT
