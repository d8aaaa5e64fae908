import numpy as np
import pytest

from models.fewshot.camera import CameraAdapter
from models.fewshot.camera_methods import mean_shift
from pipeline.errors import BadInput
from pipeline.evaluation.camera_adaptation import (
    LabelledEmbeddings,
    Measured,
    centred,
    draw_episodes,
    pairs_needed,
    score_fits,
)


@pytest.fixture
def crops():
    """Thirty people, two crops in each of three cameras; camera 3 shifts everybody."""
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(30, 8)), 6, axis=0) + 0.3 * random.normal(size=(180, 8))
    cameras = np.tile(["1", "1", "2", "2", "3", "3"], 30)
    rows[cameras == "3"] += 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return LabelledEmbeddings(
        rows.astype(np.float32), np.repeat([str(number) for number in range(30)], 6), cameras
    )


def test_nobody_who_teaches_is_asked_for(crops):
    for episode in draw_episodes(crops, "3", num_pairs=5, num_draws=4):
        assert len(set(episode.queries.own_people)) == 25
        assert len(episode.queries.gallery_people) == 120


def test_teachers_who_are_given_teach_instead(crops):
    half = crops.people_N.astype(int) < 15
    scored, teachers = crops.where(~half), crops.where(half)
    (episode,) = draw_episodes(scored, "3", num_pairs=5, teachers=teachers, num_draws=1)
    assert len(set(episode.queries.own_people)) == 15
    known = {tuple(row) for row in teachers.embeddings_ND.tolist()}
    assert {tuple(row) for row in episode.pairs.own_PD.tolist()} <= known


def test_the_same_seed_draws_the_same_and_smaller_support_sets_are_the_first_of_larger_ones(crops):
    large, small = (draw_episodes(crops, "3", num_pairs=num, num_draws=1, seed=2)[0] for num in (6, 6))
    np.testing.assert_array_equal(large.pairs.own_PD, small.pairs.own_PD)
    np.testing.assert_array_equal(large.first(2).own_PD, large.pairs.own_PD[:2])


def test_taking_the_shift_back_finds_people_better(crops):
    episodes = draw_episodes(crops, "3", num_pairs=8, num_draws=5)
    scores = score_fits(episodes, {"none": lambda _: CameraAdapter.identity(8), "mean": mean_shift}, (8,))
    assert scores["mean"][8].mean > scores["none"][8].mean + 0.1
    assert len(scores["none"][8].scores_S) == 5


def test_centred_embeddings_have_no_mean_in_any_camera(crops):
    rows = centred(crops).embeddings_ND
    for camera in "123":
        assert np.abs(rows[crops.cameras_N == camera].mean(0)).max() < 0.1
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_what_a_camera_saw_can_be_put_in_place_of_what_it_had_seen(crops):
    other = crops.where(crops.cameras_N == "3")
    changed = crops.with_camera("1", other)
    assert sorted(set(changed.cameras_N.tolist())) == ["1", "2", "3"]
    np.testing.assert_array_equal(changed.embeddings_ND[changed.cameras_N == "1"], other.embeddings_ND)


def test_too_few_people_are_refused(crops):
    with pytest.raises(BadInput, match="30 people are seen by camera 3"):
        draw_episodes(crops, "3", num_pairs=30)
    with pytest.raises(BadInput, match="one of each"):
        LabelledEmbeddings(crops.embeddings_ND, crops.people_N[:-1], crops.cameras_N)


@pytest.mark.parametrize(
    ("score", "needed"), [(0.1, 1.0), (0.5, 1.0), (0.6, 1.5), (0.7, 2.0), (0.8, 6.0), (0.95, float("inf"))]
)
def test_pairs_needed_are_read_off_the_curve(score, needed):
    assert pairs_needed({1: 0.5, 2: 0.7, 4: 0.6, 10: 0.9}, score) == pytest.approx(needed)


def test_confidence_in_a_difference_takes_the_draws_in_pairs():
    one, other = Measured(np.array([0.1, 0.5, 0.9])), Measured(np.array([0.2, 0.6, 1.0]))
    assert one.confidence(other) == pytest.approx(0, abs=1e-12)
    assert one.confidence() == pytest.approx(1.96 * 0.4 / np.sqrt(3))
