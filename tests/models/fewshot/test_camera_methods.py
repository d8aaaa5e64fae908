from dataclasses import replace

import numpy as np
import pytest

from models.errors import ModelError
from models.fewshot.camera import CameraPairs
from models.fewshot.camera_folding import apart, fold, update_initialization
from models.fewshot.camera_methods import METHODS, fit_camera_adapter
from models.fewshot.camera_prior import MAX_CENTRES, MAX_DIRECTIONS, RANK, CameraInitialization, posterior_map
from models.fewshot.camera_scoring import CrossCameraQueries, mean_reciprocal_rank

D = 24
NOISE = 0.1


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def camera(seed):
    """Draws how a strange camera sees: a shift, and a slope of rank 2."""
    random = np.random.default_rng(seed)
    slope = random.normal(size=(D, 2)) @ random.normal(size=(2, D)) * 0.1
    return slope, random.normal(size=D) * 0.15


def task(seed, num, seen):
    """Draws people, as a camera sees them, and as the others do."""
    random = np.random.default_rng(seed)
    slope, shift = seen
    truth = unit(random.normal(size=(num, D)))
    own = unit(truth + truth @ slope.T + shift + NOISE * random.normal(size=truth.shape))
    others = unit(truth + NOISE * random.normal(size=truth.shape))
    return own, others


def pairs(seed, num, seen):
    return CameraPairs(*task(seed, num, seen), np.ones(num))


def queries(seed, seen):
    own, others = task(seed, 150, seen)
    names = [str(number) for number in range(150)]
    return CrossCameraQueries(own.astype(np.float32), names, others.astype(np.float32), names)


def score(initialization, seen, num, method="meta"):
    scores = [
        mean_reciprocal_rank(
            fit_camera_adapter(pairs(draw, num, seen), initialization, method), queries(100, seen)
        )
        for draw in range(3)
    ]
    return float(np.mean(scores))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num", [1, 5, 50])
def test_every_method_makes_a_map_of_any_number_of_pairs(method, num):
    adapter = fit_camera_adapter(pairs(0, num, camera(0)), CameraInitialization.blank(D), method)
    rows = adapter.apply(task(1, 7, camera(0))[0].astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_bears_one_pair_given_many_times(method):
    own, others = task(0, 1, camera(0))
    same = CameraPairs(np.repeat(own, 6, 0), np.repeat(others, 6, 0), np.ones(6))
    adapter = fit_camera_adapter(same, CameraInitialization.blank(D), method)
    assert np.isfinite(adapter.apply(own.astype(np.float32))).all()


def test_adaptation_finds_people_better_in_a_strange_camera():
    blank = CameraInitialization.blank(D)
    assert score(blank, camera(0), 20) > score(blank, camera(0), 20, "none") + 0.05


def test_a_camera_like_the_others_is_hardly_changed():
    blank = CameraInitialization.blank(D)
    same = (np.zeros((D, D)), np.zeros(D))
    assert score(blank, same, 5) > score(blank, same, 5, "none") - 0.02


def test_without_directions_and_doubt_the_map_is_that_of_ridge_regression():
    given = pairs(0, 9, camera(0))
    blank = replace(CameraInitialization.blank(D), rule_2=np.array([1e-6, 1.0], np.float32))
    rows = np.hstack([given.own_PD, np.ones((9, 1))])
    expected = (rows.T @ np.linalg.solve(rows @ rows.T, given.others_PD - given.own_PD)).T
    np.testing.assert_allclose(posterior_map(given, blank), expected, atol=2e-2)


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(ModelError, match="fine-tune"):
        fit_camera_adapter(pairs(0, 2, camera(0)), CameraInitialization.blank(D), "magic")


def test_embeddings_of_another_length_are_refused():
    with pytest.raises(ModelError, match="length of embeddings"):
        fit_camera_adapter(pairs(0, 2, camera(0)), CameraInitialization.blank(D + 1))


def test_an_initialization_survives_being_kept_as_arrays():
    initialization = fold(pairs(0, 60, camera(0)), CameraInitialization.blank(D))
    again = CameraInitialization.from_arrays(initialization.arrays())
    given = pairs(1, 3, camera(0))
    np.testing.assert_array_equal(posterior_map(given, again), posterior_map(given, initialization))


def test_an_initialization_with_missing_or_unfitting_arrays_is_refused():
    arrays = CameraInitialization.blank(D).arrays()
    with pytest.raises(ModelError, match="rule"):
        CameraInitialization.from_arrays({name: array for name, array in arrays.items() if name != "rule"})
    with pytest.raises(ModelError, match="shapes"):
        CameraInitialization.from_arrays(arrays | {"shift": np.zeros((1, D), np.float32)})
    with pytest.raises(ModelError, match="finite"):
        CameraInitialization.from_arrays(arrays | {"rule": np.full(2, np.inf, np.float32)})


def test_the_second_camera_of_a_kind_needs_fewer_pairs():
    blank = CameraInitialization.blank(D)
    folded = fold(pairs(7, 80, camera(0)), blank)
    slope, shift = camera(0)
    second = (1.3 * slope, 1.3 * shift)
    assert score(folded, second, 2) > score(blank, second, 4) + 0.02


def test_a_task_folded_in_again_changes_nothing():
    given = pairs(7, 80, camera(0))
    once = fold(given, CameraInitialization.blank(D))
    assert (len(once.directions), len(once.centres)) == (1, 1)
    assert fold(given, once) is once


def test_a_first_task_that_is_replayed_is_not_forgotten_after_twenty_others():
    first = pairs(7, 40, camera(0))
    initialization = fold(first, CameraInitialization.blank(D))
    before = score(initialization, camera(0), 12)
    for number in range(1, 21):
        for replayed in (pairs(number, 40, camera(number)), first):
            initialization = fold(replayed, initialization)
    assert initialization.directions.left_JDR.shape == (MAX_DIRECTIONS, D, RANK)
    assert score(initialization, camera(0), 12) > before - 0.04


def test_the_outer_loop_yields_after_each_task_and_equal_generators_give_equal_results():
    tasks = [pairs(number, 20, camera(number)) for number in range(3)]
    runs = [
        list(update_initialization(CameraInitialization.blank(D), tasks, np.random.default_rng(4)))
        for _ in range(2)
    ]
    assert [len(one.directions) for one in runs[0]] == [1, 2, 3]
    for name, array in runs[0][-1].arrays().items():
        np.testing.assert_array_equal(array, runs[1][-1].arrays()[name])


def test_a_camera_that_was_taught_is_found_again_by_one_pair_after_many_others_without_replay():
    initialization = fold(pairs(7, 80, camera(0)), CameraInitialization.blank(D))
    for number in range(1, 13):
        initialization = fold(pairs(number, 40, camera(number)), initialization)
    without = initialization.with_centres(initialization.centres.dense()[:0])
    assert score(initialization, camera(0), 1) > score(without, camera(0), 1) + 0.02
    assert score(initialization, camera(0), 1) > score(CameraInitialization.blank(D), camera(0), 6)


def test_centres_are_bounded_and_of_the_two_most_alike_the_older_goes():
    maps = np.random.default_rng(0).normal(size=(MAX_CENTRES + 1, D, D + 1))
    maps[7] = maps[20] + 1e-3
    kept = apart(maps, np.eye(D + 1))
    np.testing.assert_array_equal(kept, np.delete(maps, 7, axis=0))


def test_what_was_kept_before_there_were_centres_knows_none():
    arrays = fold(pairs(0, 60, camera(0)), CameraInitialization.blank(D)).arrays()
    old = {name: array for name, array in arrays.items() if not name.startswith("centre_")}
    again = CameraInitialization.from_arrays(old)
    assert (len(again.directions), len(again.centres)) == (1, 0)


def test_centres_that_do_not_fit_are_refused():
    arrays = fold(pairs(0, 60, camera(0)), CameraInitialization.blank(D)).arrays()
    with pytest.raises(ModelError, match="centres"):
        CameraInitialization.from_arrays(
            arrays
            | {f"centre_{name}": arrays[f"centre_{name}"][:, :-1] for name in ("left", "right", "shift")}
        )
    with pytest.raises(ModelError, match="centre_right"):
        CameraInitialization.from_arrays(
            {name: array for name, array in arrays.items() if name != "centre_right"}
        )
