import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.linalg import expm

from pipeline.tracking.config import MotionModel
from tests.pipeline.tracking import reference_kalman as kalman

MODEL = MotionModel()


def reference_predict(mean, covariance, height, elapsed_s, model):
    """The textbook filter on all eight states at once; its noise is integrated by Van Loan's matrix exponential."""
    memory = np.array([model.velocity_memory_s] * 2 + [model.size_memory_s] * 2)
    std = np.array([model.velocity_std] * 2 + [model.size_velocity_std] * 2) * height
    dynamics = np.zeros((8, 8))
    dynamics[:4, 4:] = np.eye(4)
    dynamics[4:, 4:] = np.diag(-1.0 / memory)
    diffusion = np.zeros((8, 8))
    diffusion[:4, :4] = np.eye(4) * (model.drift_std * height) ** 2
    diffusion[4:, 4:] = np.diag(2.0 * std**2 / memory)
    van_loan = expm(np.block([[-dynamics, diffusion], [np.zeros((8, 8)), dynamics.T]]) * elapsed_s)
    step = van_loan[8:, 8:].T
    noise = step @ van_loan[:8, 8:]
    return step @ mean, step @ covariance @ step.T + noise


def reference_correct(mean, covariance, measured, model):
    observe = np.hstack((np.eye(4), np.zeros((4, 4))))
    noise = np.eye(4) * (model.measurement_std * measured[3]) ** 2
    gain = covariance @ observe.T @ np.linalg.inv(observe @ covariance @ observe.T + noise)
    return mean + gain @ (measured - observe @ mean), (np.eye(8) - gain @ observe) @ covariance


def joined(filter_54):
    mean = np.concatenate((filter_54[kalman.POSITION], filter_54[kalman.VELOCITY]))
    covariance = np.block(
        [
            [np.diag(filter_54[kalman.VAR_POSITION]), np.diag(filter_54[kalman.COVARIANCE])],
            [np.diag(filter_54[kalman.COVARIANCE]), np.diag(filter_54[kalman.VAR_VELOCITY])],
        ]
    )
    return mean, covariance


walks = st.lists(
    st.tuples(st.floats(0.01, 3.0), st.floats(-40, 40), st.floats(-40, 40)), min_size=1, max_size=6
)


@settings(deadline=None)
@given(walks)
def test_four_filters_of_two_states_equal_one_filter_of_eight(walk):
    measured = np.array([[320.0, 240.0, 40.0, 100.0]])
    filters = kalman.initiate(measured, MODEL)
    mean, covariance = joined(filters[0])
    for elapsed_s, dx, dy in walk:
        mean, covariance = reference_predict(mean, covariance, mean[3], elapsed_s, MODEL)
        filters = kalman.predict(filters, np.array([elapsed_s]), MODEL)
        measured = measured + np.array([[dx, dy, 0.01 * dx, 0.02 * dy]])
        mean, covariance = reference_correct(mean, covariance, measured[0], MODEL)
        filters = kalman.correct(filters, measured, MODEL)
        ours_mean, ours_covariance = joined(filters[0])
        np.testing.assert_allclose(ours_mean, mean, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(ours_covariance, covariance, rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(st.floats(0.01, 2.0), st.floats(0.01, 2.0))
def test_two_predictions_in_a_row_equal_one_over_both_times(first_s, second_s):
    filters = kalman.initiate(np.array([[10.0, 20.0, 30.0, 60.0]]), MODEL)
    filters[:, kalman.VELOCITY, :2] = 25.0  # the height, by which noise scales, stays
    halfway = kalman.predict(filters, np.array([first_s]), MODEL)
    in_two = kalman.predict(halfway, np.array([second_s]), MODEL)
    in_one = kalman.predict(filters, np.array([first_s + second_s]), MODEL)
    np.testing.assert_allclose(in_two, in_one, rtol=1e-9, atol=1e-9)


def test_no_time_changes_nothing():
    filters = kalman.initiate(np.array([[10.0, 20.0, 30.0, 60.0]]), MODEL)
    np.testing.assert_array_equal(kalman.predict(filters, np.zeros(1), MODEL), filters)


@settings(deadline=None)
@given(st.floats(0.0, 1e4), st.floats(0.1, 1e3))
def test_uncertainty_of_position_only_grows_with_time(elapsed_s, more_s):
    filters = kalman.initiate(np.array([[10.0, 20.0, 30.0, 60.0]]), MODEL)
    sooner = kalman.predict(filters, np.array([elapsed_s]), MODEL)[0, kalman.VAR_POSITION]
    later = kalman.predict(filters, np.array([elapsed_s + more_s]), MODEL)[0, kalman.VAR_POSITION]
    assert (later > sooner).all()


def test_a_steady_walk_is_foreseen():
    filters = kalman.initiate(np.array([[100.0, 100.0, 40.0, 100.0]]), MODEL)
    for step in range(1, 31):
        measured = np.array([[100.0 + 8.0 * step, 100.0, 40.0, 100.0]])
        filters = kalman.correct(kalman.predict(filters, np.array([0.1]), MODEL), measured, MODEL)
    foreseen = kalman.predict(filters, np.array([0.1]), MODEL)
    assert foreseen[0, kalman.POSITION, 0] == pytest.approx(100.0 + 8.0 * 31, abs=2.0)


def test_a_box_never_turns_inside_out_however_far_ahead():
    filters = kalman.initiate(np.array([[100.0, 100.0, 40.0, 100.0]]), MODEL)
    filters[:, kalman.VELOCITY, 2:] = -1e6
    predicted = kalman.predict(filters, np.array([100.0]), MODEL)
    assert (predicted[:, kalman.POSITION, 2:] > 0).all()


@settings(deadline=None)
@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(1, 1e4)))
def test_box_forms_round_trip(centred):
    there_and_back = kalman.to_centre_form(kalman.to_corner_form(centred))
    np.testing.assert_allclose(there_and_back, centred, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(st.floats(0.01, 100.0))
def test_all_lengths_scale_alike(scale):
    def follow(factor):
        boxes = np.array([[[100.0, 50.0, 40.0, 100.0]], [[110.0, 55.0, 41.0, 99.0]]]) * factor
        filters = kalman.initiate(boxes[0], MODEL)
        return kalman.correct(kalman.predict(filters, np.array([0.1]), MODEL), boxes[1], MODEL)

    np.testing.assert_allclose(
        follow(scale)[:, kalman.POSITION], follow(1.0)[:, kalman.POSITION] * scale, rtol=1e-9
    )
