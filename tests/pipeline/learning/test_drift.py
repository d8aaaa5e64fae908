import numpy as np
import pytest

from models.errors import ModelError
from pipeline.learning.drift import Drift, DriftConfig, DriftWatch, energy_test

DIMENSION = 16


def looks(rng: np.random.Generator, count: int, shift: float = 0.0, spread: float = 1.0) -> np.ndarray:
    rows = spread * rng.standard_normal((count, DIMENSION)) + 3.0
    rows[:, 0] += shift
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def watch(rows: np.ndarray, scores: np.ndarray | None = None, **settings: float) -> list[Drift]:
    watched = DriftWatch(DriftConfig(**settings), np.random.default_rng(0))  # type: ignore[arg-type]
    scores = np.full(len(rows), 0.8) if scores is None else scores
    drifts = [watched.see("door", row, float(score)) for row, score in zip(rows, scores, strict=True)]
    return [drift for drift in drifts if drift is not None]


def test_the_energy_distance_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((7, 3)) + 1

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        num_pairs = len(a) * (len(b) - (a is b))  # nobody is paired with itself
        return float(np.linalg.norm(a[:, None] - b[None], axis=2).sum() / num_pairs)

    rows = np.concatenate([x, y]).astype(np.float32)
    distance, _ = energy_test(rows, 5, 10, rng)
    assert distance == pytest.approx(2 * mean(x, y) - mean(x, x) - mean(y, y), abs=1e-5)


def test_a_camera_that_sees_as_ever_has_not_drifted() -> None:
    false_alarms = 0
    for seed in range(10):
        drifts = watch(looks(np.random.default_rng(seed), 400))
        assert len(drifts) > 20
        false_alarms += sum(drift.drifted for drift in drifts)
    assert false_alarms <= 2


def test_a_camera_whose_looks_have_moved_has_drifted_and_is_told_of_once() -> None:
    rng = np.random.default_rng(0)
    drifts = watch(np.concatenate([looks(rng, 100), looks(rng, 300, shift=3.0)]))
    assert sum(drift.drifted for drift in drifts) == 1


def test_falling_scores_alone_are_a_drift() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.uniform(0.7, 0.9, 100), rng.uniform(0.2, 0.4, 100)])
    assert any(drift.drifted for drift in watch(looks(rng, 200), scores))


def test_cameras_are_watched_apart() -> None:
    rng = np.random.default_rng(0)
    watched = DriftWatch(DriftConfig(), rng)
    for row, other in zip(looks(rng, 300), looks(rng, 300, shift=5.0), strict=True):
        for drift in (watched.see("door", row, 0.8), watched.see("yard", other, 0.8)):
            assert drift is None or not drift.drifted


def test_permutations_too_few_for_the_chance_that_is_asked_for_are_refused() -> None:
    with pytest.raises(ModelError, match="permutations"):
        DriftConfig(permutations=10, max_p=0.005)
