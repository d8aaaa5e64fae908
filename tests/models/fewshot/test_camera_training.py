from dataclasses import replace

import numpy as np
import pytest

from models.errors import ModelError
from models.fewshot.camera_prior import CameraInitialization
from models.fewshot.camera_simulation import ANY_LIGHT, VirtualCamera, draw_camera, taken_by
from models.fewshot.camera_training import (
    CameraTrainingConfig,
    SeenPeople,
    VirtualTask,
    exact_map,
    learn_directions,
    train_initialization,
    virtual_task,
)

CONFIG = CameraTrainingConfig(num_cameras=4, people_per_camera=12, crops_per_person=1, spread=ANY_LIGHT)
PROJECTION = np.random.default_rng(9).normal(size=(8 * 4 * 3, 20))


def embed(pixels_NHW3):
    rows = (pixels_NHW3.reshape(len(pixels_NHW3), -1) / 255.0 - 0.5) @ PROJECTION
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def people():
    """Fifteen people, each twice in each of three cameras, in colours of their own."""
    random = np.random.default_rng(0)
    colours = random.integers(40, 215, (15, 8, 4, 3))
    names = np.repeat([f"{number}" for number in range(15)], 6)
    noise = random.integers(-25, 26, (90, 8, 4, 3))
    pixels = np.clip(np.repeat(colours, 6, axis=0) + noise, 0, 255).astype(np.uint8)
    return SeenPeople(pixels, embed(pixels), names, np.tile(["1", "1", "2", "2", "3", "3"], 15))


def test_a_camera_with_no_peculiarity_takes_crops_as_they_are(people):
    taken = taken_by(VirtualCamera(), people.pixels_NHW3, np.random.default_rng(0))
    assert np.abs(taken.astype(int) - people.pixels_NHW3).max() <= 1


def test_a_dark_grey_camera_takes_dark_grey_crops(people):
    camera = VirtualCamera(gain=0.25, saturation=0)
    taken = taken_by(camera, people.pixels_NHW3, np.random.default_rng(0)).astype(float)
    assert np.ptp(taken, axis=-1).max() <= 1
    assert taken.mean() == pytest.approx(people.pixels_NHW3.mean() / 4, abs=2)


def test_a_bent_picture_is_darker_at_its_corners():
    white = np.full((1, 32, 16, 3), 200, np.uint8)
    bent = taken_by(VirtualCamera(bend=0.5), white, np.random.default_rng(0))[0]
    assert bent[0, 0, 0] < 160 < bent[16, 8, 0]


def test_equal_generators_draw_equal_cameras():
    assert draw_camera(ANY_LIGHT, np.random.default_rng(3)) == draw_camera(
        ANY_LIGHT, np.random.default_rng(3)
    )


def test_the_exact_map_of_a_camera_undoes_what_it_did(people):
    slope, shift = 0.2 * np.random.default_rng(1).normal(size=(20, 20)), np.full(20, 0.1)
    seen = people.embeddings_ND.astype(float)
    taken = np.linalg.solve(np.eye(20) + slope, (seen - shift).T).T
    found = exact_map(VirtualTask(people, taken.astype(np.float32)), ridge=1e-6)
    np.testing.assert_allclose(taken + taken @ found[:, :-1].T + found[:, -1], seen, atol=1e-2)


def test_axes_are_those_in_which_crops_of_one_person_differ_independently(people):
    random = np.random.default_rng(0)
    tasks = [virtual_task(people, embed, CONFIG, random) for _ in range(3)]
    learned = learn_directions(people, tasks, 0.02, random)
    whitened = people.embeddings_ND @ np.linalg.inv(learned.axes_DD).T
    first, second = whitened[people.cameras_N == "1"][::2], whitened[people.cameras_N == "2"][::2]
    assert (first - second).var(0).mean() == pytest.approx(1, rel=0.3)
    spread = learned.axes_DD @ np.diag(learned.spread_D) @ learned.axes_DD.T
    assert np.trace(spread) == pytest.approx(1, rel=0.01)


def test_meta_training_learns_directions_and_the_same_again_from_the_same_seed(people):
    runs = [train_initialization(people, embed, CONFIG, np.random.default_rng(5)) for _ in range(2)]
    assert len(runs[0].directions) == CONFIG.num_cameras
    for name, array in runs[0].arrays().items():
        np.testing.assert_array_equal(array, runs[1].arrays()[name])
    assert isinstance(CameraInitialization.from_arrays(runs[0].arrays()), CameraInitialization)


def test_people_whom_one_camera_alone_saw_cannot_be_learned_from(people):
    alone = people.where(people.cameras_N == "1")
    with pytest.raises(ModelError, match="two cameras"):
        train_initialization(alone, embed, CONFIG, np.random.default_rng(0))


def test_unfitting_lengths_and_settings_are_refused(people):
    with pytest.raises(ModelError, match="numbers of crops"):
        replace(people, people_N=people.people_N[:-1])
    with pytest.raises(ModelError, match="ridge"):
        CameraTrainingConfig(ridge=0)
