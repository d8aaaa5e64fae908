import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.identity.centring import MAX_COUNT, CameraMeans

D = 16


def looks(num: int, shift_D: NDArray[np.float64] | float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    """Return unit looks of different ones, all shifted alike by their camera."""
    looks_ND = np.random.default_rng(seed).normal(size=(num, D)) + shift_D
    return (looks_ND / np.linalg.norm(looks_ND, axis=1, keepdims=True)).astype(np.float32)


def learned(looks_ND: NDArray[np.float32], camera: str = "dim") -> CameraMeans:
    means = CameraMeans(D)
    for look_D in looks_ND:
        means.learn(camera, look_D)
    return means


def mean_similarity(looks_ND: NDArray[np.float32]) -> float:
    """Return how alike different ones are on average."""
    similarities_NN = looks_ND @ looks_ND.T
    return float(similarities_NN[np.triu_indices(len(looks_ND), 1)].mean())


def test_before_anything_is_learned_looks_stay_as_they_are() -> None:
    look_D = looks(1)[0]
    assert CameraMeans(D).centred("dim", look_D) == pytest.approx(look_D, abs=1e-6)


def test_what_a_camera_does_to_all_looks_is_taken_out() -> None:
    dim_ND = looks(200, shift_D=2.0)
    means = learned(dim_ND)
    assert mean_similarity(dim_ND) > 0.5
    assert abs(mean_similarity(np.stack([means.centred("dim", look_D) for look_D in dim_ND]))) < 0.05


def test_one_person_in_two_cameras_becomes_more_alike_than_strangers_in_one() -> None:
    person_ND = np.random.default_rng(1).normal(size=(100, D))
    dim, bright = (
        (person_ND + shift) / np.linalg.norm(person_ND + shift, axis=1, keepdims=True)
        for shift in (2.0, -2.0)
    )
    means = CameraMeans(D)
    for one_D, other_D in zip(dim, bright, strict=True):
        means.learn("dim", one_D.astype(np.float32))
        means.learn("bright", other_D.astype(np.float32))
    same = np.mean([
        means.centred("dim", a.astype(np.float32)) @ means.centred("bright", b.astype(np.float32))
        for a, b in zip(dim, bright, strict=True)
    ])  # fmt: skip
    assert float(np.mean(np.sum(dim * bright, axis=1))) < mean_similarity(dim.astype(np.float32))
    assert same > 0.8


def test_a_camera_that_is_not_known_yet_takes_the_mean_of_the_site() -> None:
    dim_ND = looks(200, shift_D=2.0)
    new_ND = looks(50, shift_D=2.0, seed=1)
    means = learned(dim_ND)
    assert abs(mean_similarity(np.stack([means.centred("new", look_D) for look_D in new_ND]))) < 0.1


def test_the_version_changes_less_and_less_often() -> None:
    early, late = learned(looks(50)).version, learned(looks(1000)).version
    assert early < late < early + 25


def test_old_looks_fade() -> None:
    means = learned(np.concatenate([looks(int(MAX_COUNT), 2.0), looks(4 * int(MAX_COUNT), -2.0)]))
    now_ND = looks(100, -2.0, seed=2)
    assert abs(mean_similarity(np.stack([means.centred("dim", look_D) for look_D in now_ND]))) < 0.2


def test_a_look_that_is_all_mean_stays_finite() -> None:
    look_D = looks(1)[0]
    means = learned(np.tile(look_D, (1000, 1)))
    assert np.isfinite(means.centred("dim", look_D)).all()
