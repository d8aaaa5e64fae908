"""Predicts and corrects boxes as the compiled core does, in plain NumPy on all tracks at once.

Four numbers describe a box: its centre x, centre y, width and height. Each has a velocity that forgets itself
(an integrated Ornstein-Uhlenbeck process: Singer, "Estimating optimal filter tracking performance for manned
maneuvering targets", IEEE TAES 1970), because a person who walked left two seconds ago need not walk left now.
Noise of motion and of measurement is diagonal, as in SORT and ByteTrack, so the 8-state filter is exactly four
independent filters of two states, and every step is a handful of array operations on all tracks at once.

Legend of shape suffixes: T tracks, N boxes, 4 = centre x, centre y, width, height;
5 = the rows of a filter: position, velocity, variance of position, covariance, variance of velocity.
Units: pixels and seconds. Noise is stated in heights of the box, so that near and far objects behave alike.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.tracking.config import MotionModel

Floats = NDArray[np.float64]

POSITION: Final = 0
VELOCITY: Final = 1
VAR_POSITION: Final = 2
COVARIANCE: Final = 3
VAR_VELOCITY: Final = 4

_MIN_SIZE: Final = 1e-3  # pixels; a box that shrinks in prediction never turns inside out


def initiate(measured_N4: Floats, model: MotionModel) -> Floats:
    """Start a filter at each measured box, at an unknown velocity; returns N x 5 x 4."""
    filters_N54 = np.zeros((len(measured_N4), 5, 4))
    filters_N54[:, POSITION] = measured_N4
    height_N1 = measured_N4[:, 3:]
    filters_N54[:, VAR_POSITION] = (model.measurement_std * height_N1) ** 2
    filters_N54[:, VAR_VELOCITY, :2] = (model.initial_velocity_std * height_N1) ** 2
    filters_N54[:, VAR_VELOCITY, 2:] = (model.size_velocity_std * height_N1) ** 2
    return filters_N54


def predict(filters_T54: Floats, elapsed_T: Floats, model: MotionModel) -> Floats:
    """Move each filter ahead by its own elapsed seconds; returns T x 5 x 4.

    Noise scales with the height that the filter holds now, so predicting from the last correction in one step
    is the definition of a prediction: frames without a sighting, or never delivered, leave no trace.
    """
    memory_4 = _memory(model)
    elapsed_T1 = elapsed_T[:, None]
    kept_T4 = np.exp(-elapsed_T1 / memory_4)
    reach_T4 = memory_4 * (1.0 - kept_T4)  # seconds of travel at the present velocity
    position, velocity, var_p, cov, var_v = (filters_T54[:, row] for row in range(5))
    height_T1 = position[:, 3:]
    square_T1 = height_T1 * height_T1
    long_run_T4 = _long_run_std(model) ** 2 * square_T1
    out_T54 = np.empty_like(filters_T54)
    out_T54[:, POSITION] = position + reach_T4 * velocity
    out_T54[:, VELOCITY] = kept_T4 * velocity
    out_T54[:, VAR_POSITION] = (
        var_p
        + reach_T4 * (2.0 * cov + reach_T4 * var_v)
        + long_run_T4 * (2.0 * memory_4 * (elapsed_T1 - reach_T4) - reach_T4 * reach_T4)
        + (model.drift_std**2 * square_T1) * elapsed_T1
    )
    out_T54[:, COVARIANCE] = kept_T4 * (cov + reach_T4 * var_v) + long_run_T4 * reach_T4 * (1.0 - kept_T4)
    out_T54[:, VAR_VELOCITY] = kept_T4 * kept_T4 * (var_v - long_run_T4) + long_run_T4
    out_T54[:, POSITION, 2:] = np.maximum(out_T54[:, POSITION, 2:], _MIN_SIZE)
    return out_T54


def correct(filters_T54: Floats, measured_T4: Floats, model: MotionModel) -> Floats:
    """Correct each predicted filter by the box measured for it; returns T x 5 x 4."""
    position, velocity, var_p, cov, var_v = (filters_T54[:, row] for row in range(5))
    noise_T1 = (model.measurement_std * measured_T4[:, 3:]) ** 2
    total_T4 = var_p + noise_T1
    gain_p = var_p / total_T4
    gain_v = cov / total_T4
    surprise_T4 = measured_T4 - position
    out_T54 = np.empty_like(filters_T54)
    out_T54[:, POSITION] = position + gain_p * surprise_T4
    out_T54[:, VELOCITY] = velocity + gain_v * surprise_T4
    out_T54[:, VAR_POSITION] = gain_p * noise_T1
    out_T54[:, COVARIANCE] = gain_v * noise_T1
    out_T54[:, VAR_VELOCITY] = var_v - gain_v * cov
    return out_T54


def to_centre_form(boxes_N4: NDArray[np.floating]) -> Floats:
    """Turn left, top, right, bottom into centre x, centre y, width, height."""
    out_N4 = np.empty((len(boxes_N4), 4))
    out_N4[:, 2:] = boxes_N4[:, 2:] - boxes_N4[:, :2]
    out_N4[:, :2] = boxes_N4[:, :2] + 0.5 * out_N4[:, 2:]
    np.maximum(out_N4[:, 2:], _MIN_SIZE, out=out_N4[:, 2:])
    return out_N4


def to_corner_form(centred_N4: Floats) -> Floats:
    """Turn centre x, centre y, width, height into left, top, right, bottom."""
    out_N4 = np.empty_like(centred_N4)
    half_N2 = 0.5 * centred_N4[:, 2:]
    out_N4[:, :2] = centred_N4[:, :2] - half_N2
    out_N4[:, 2:] = centred_N4[:, :2] + half_N2
    return out_N4


def _memory(model: MotionModel) -> Floats:
    return np.array([model.velocity_memory_s] * 2 + [model.size_memory_s] * 2)


def _long_run_std(model: MotionModel) -> Floats:
    return np.array([model.velocity_std] * 2 + [model.size_velocity_std] * 2)
