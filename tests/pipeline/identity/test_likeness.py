import numpy as np
import pytest

from pipeline.identity.config import Calibration
from pipeline.identity.likeness import MAX_COUNT, Likeness

MEASURED = Calibration(other_mean=0.5, other_spread=0.1, slope=2.0, even=1.0)


def test_before_anything_is_learned_the_measured_calibration_holds() -> None:
    assert Likeness(MEASURED).weigh(0.6) == pytest.approx(0.0, abs=1e-9)
    assert Likeness(MEASURED).weigh(0.7) == pytest.approx(2.0)


def test_where_all_look_alike_the_same_similarity_says_less() -> None:
    likeness = Likeness(MEASURED)
    for similarity in np.random.default_rng(0).normal(0.8, 0.03, 5000):
        likeness.learn_other(float(similarity))
    assert likeness.weigh(0.7) < 0 < likeness.weigh(0.95)
    assert likeness.mean == pytest.approx(0.8, abs=0.02)


def test_a_similarity_that_is_given_is_not_learned_away() -> None:
    likeness = Likeness(Calibration(other_mean=0.5, other_spread=0.1, even_similarity=0.9))
    for _ in range(1000):
        likeness.learn_other(0.1)
    assert likeness.weigh(0.9) == 0.0


def test_old_pairs_fade_and_the_count_is_bounded() -> None:
    likeness = Likeness(MEASURED)
    for similarity in [0.2] * 30_000 + [0.7] * 60_000:
        likeness.learn_other(similarity)
    assert likeness.mean > 0.6
    assert likeness._count <= MAX_COUNT
