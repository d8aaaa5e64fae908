import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.fewshot.detection import DetectionHead
from models.fewshot.detection_prior import SHRINKAGE, DetectionInitialization, update_initialization
from models.nanodet import HIDDEN_CHANNELS

ROWS = np.random.default_rng(0).normal(size=(80, 3, HIDDEN_CHANNELS + 1)).astype(np.float32)


@pytest.fixture(scope="module")
def initialization():
    return DetectionInitialization.of_class_rows(ROWS)


def head(seed, length=1.0):
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(3, HIDDEN_CHANNELS)), rng.normal(size=3)
    return DetectionHead((length * weight).astype(np.float32), (length * bias).astype(np.float32), 0.0, 0.5)


def test_the_spread_is_that_of_the_known_classes_and_a_little_everywhere(initialization):
    flat = ROWS.reshape(80, -1).astype(np.float64)
    expected = sum(np.outer(row, row) for row in flat) / 80
    even = np.trace(expected) / expected.shape[0] * np.eye(expected.shape[0])
    factor = initialization.factor()
    np.testing.assert_allclose(factor @ factor.T, (1 - SHRINKAGE) * expected + SHRINKAGE * even, atol=1e-5)
    assert initialization.num_tasks == 80


def test_an_initialization_survives_its_arrays(initialization):
    again = DetectionInitialization.from_arrays(initialization.arrays())
    np.testing.assert_array_equal(again.moment_FF, initialization.moment_FF)
    assert again.num_tasks == initialization.num_tasks


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(4)))
def test_tasks_may_be_folded_in_in_any_order(initialization, order):
    expected = update_initialization(initialization, [head(seed) for seed in range(4)])
    folded = update_initialization(initialization, [head(seed) for seed in order])
    np.testing.assert_allclose(folded.moment_FF, expected.moment_FF, rtol=1e-4, atol=1e-6)
    assert folded.num_tasks == 84


def test_a_head_that_is_more_sure_counts_no_more(initialization):
    one, other = (update_initialization(initialization, [head(1, length)]) for length in (1.0, 50.0))
    np.testing.assert_allclose(one.moment_FF, other.moment_FF, rtol=1e-4, atol=1e-6)


def test_the_direction_of_a_solved_task_gains_room(initialization):
    taught = head(1)
    flat = np.column_stack((taught.weight_LD, taught.bias_L)).ravel()
    unit = flat / np.linalg.norm(flat)
    after = update_initialization(initialization, [taught])
    assert unit @ after.moment_FF @ unit > 2 * unit @ initialization.moment_FF @ unit


def test_no_solved_task_changes_nothing(initialization):
    assert update_initialization(initialization, []) is initialization


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"moment": np.zeros((3, 3), np.float32)},
            r"shape \(3, 3\), expected finite numbers of \(387, 387\)",
        ),
        ({"moment": np.full((387, 387), np.nan, np.float32)}, "expected finite numbers"),
        ({"num_tasks": np.zeros(1, np.float32)}, "of 0.0 tasks"),
        ({"num_tasks": np.zeros(2, np.float32)}, "cannot be read"),
    ],
)
def test_arrays_that_are_no_initialization_are_refused(initialization, changes, message):
    with pytest.raises(ModelError, match=message):
        DetectionInitialization.from_arrays({**initialization.arrays(), **changes})
