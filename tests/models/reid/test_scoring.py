import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.reid.dataset import ReidCrop, parse_crop
from models.reid.scoring import SingleShots, choose_queries, rank_and_map, single_shot_rank1


def slow_scores(query, query_ids, query_cameras, gallery, gallery_ids, gallery_cameras):
    """Ranks one crop after the other, as the protocol is told in words."""
    found, precisions = [], []
    for row, identity, camera in zip(query, query_ids, query_cameras, strict=True):
        ranked = sorted(
            (-float(np.float32(other @ row)), place)
            for place, other in enumerate(gallery)
            if not (gallery_ids[place] == identity and gallery_cameras[place] == camera)
        )
        hits = [gallery_ids[place] == identity for _, place in ranked]
        if any(hits):
            found.append(hits.index(True))
            at_hits = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
            precisions.append(sum(at_hits) / len(at_hits))
    ranks = [sum(first < rank for first in found) / len(found) for rank in (1, 5, 10)]
    return (*ranks, sum(precisions) / len(precisions), len(found))


def people(random, num, num_ids, num_cameras):
    rows = random.integers(-8, 9, (num, 6)).astype(np.float32)  # whole numbers: no rounding, and ties
    return (
        rows,
        [str(i) for i in random.integers(0, num_ids, num)],
        [str(i) for i in random.integers(0, num_cameras, num)],
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 4))
def test_scores_equal_those_of_ranking_one_crop_after_the_other(seed, num_ids, num_cameras):
    random = np.random.default_rng(seed)
    query = people(random, 12, num_ids, num_cameras)
    gallery = people(random, 30, num_ids, num_cameras)
    scores = rank_and_map(*query, *gallery)
    expected = slow_scores(*query, *gallery)
    assert (scores.rank1, scores.rank5, scores.rank10, scores.map, scores.num_queries) == pytest.approx(
        expected
    )
    assert scores.num_queries + scores.num_skipped == 12


def test_a_match_from_the_query_s_own_camera_does_not_count():
    rows = np.eye(3, dtype=np.float32)
    gallery = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0, 0]], np.float32)
    scores = rank_and_map(rows[:1], ["a"], ["1"], gallery, ["a", "b", "a"], ["1", "2", "2"])
    assert (scores.rank1, scores.map) == (1.0, 1.0)
    nearer = np.array([[1, 0, 0], [0.9, 0, 0], [0.5, 0, 0]], np.float32)
    assert rank_and_map(rows[:1], ["a"], ["1"], nearer, ["a", "b", "a"], ["1", "2", "2"]).map == 0.5


def test_queries_without_a_match_are_counted_and_left_out():
    rows = np.eye(2, dtype=np.float32)
    scores = rank_and_map(rows, ["a", "z"], ["1", "1"], rows, ["a", "b"], ["2", "2"])
    assert (scores.num_queries, scores.num_skipped, scores.rank1) == (1, 1, 1.0)


def test_scoring_without_any_match_is_refused():
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(ModelError, match="none of 2 queries has its identity in the gallery"):
        rank_and_map(rows, ["a", "b"], ["1", "1"], rows, ["a", "b"], ["1", "1"])


def test_rows_that_do_not_fit_or_are_not_finite_are_refused():
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(ModelError, match=r"queries: got embeddings of shape \(2, 2\), 1 identities"):
        rank_and_map(rows, ["a"], ["1", "1"], rows, ["a", "b"], ["2", "2"])
    with pytest.raises(ModelError, match="gallery: an embedding holds a number that is not finite"):
        rank_and_map(rows, ["a", "b"], ["1", "1"], rows * np.nan, ["a", "b"], ["2", "2"])


def test_single_shot_matching_equals_drawing_by_hand_when_each_has_one_crop():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 20, 4)).astype(np.float32)
    ids = [f"{i:02d}" for i in range(20)]
    hits = [max(range(20), key=lambda j: first[i] @ second[j]) == i for i in range(20)]
    score = single_shot_rank1(np.concatenate([first, second]), ids * 2, ["1"] * 20 + ["2"] * 20)
    assert score == pytest.approx(np.mean(hits))


def test_single_shot_draws_differ_and_follow_the_seed():
    random = np.random.default_rng(0)
    rows = random.normal(size=(400, 4)).astype(np.float32)
    ids = [str(i % 20) for i in range(400)]
    cameras = [str(i // 200) for i in range(400)]
    scores = [single_shot_rank1(rows, ids, cameras, num_draws=1, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert scores[0] == scores[1]
    assert len(set(scores)) > 1


def test_a_single_shot_pairs_each_person_s_crops_of_the_two_cameras():
    ids, cameras = ["b", "a", "a", "b", "a", "c"], ["2", "1", "1", "1", "2", "1"]
    shots = SingleShots.of(ids, cameras)
    assert (shots.cameras, shots.people) == (["1", "2"], ["a", "b"])
    drawn = list(shots.draws(20))
    assert {tuple(shot.queries) for shot in drawn} == {(1, 3), (2, 3)}
    assert {tuple(shot.gallery) for shot in drawn} == {(4, 0)}


def test_of_more_people_than_ways_some_are_drawn_anew_each_time():
    shots = SingleShots.of([str(one) for one in range(10)] * 2, ["1"] * 10 + ["2"] * 10)
    drawn = list(shots.draws(20, num_ways=3))
    assert all([query + 10 for query in shot.queries] == shot.gallery for shot in drawn)
    assert all(len(set(shot.queries)) == 3 for shot in drawn)
    assert len({frozenset(shot.queries) for shot in drawn}) > 10


def test_single_shot_needs_two_cameras_and_somebody_in_both():
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(ModelError, match=r"got cameras \['1'\], expected two"):
        single_shot_rank1(rows, ["a", "b"], ["1", "1"])
    with pytest.raises(ModelError, match="no person is seen by both cameras"):
        single_shot_rank1(rows, ["a", "b"], ["1", "2"])


def test_the_middle_crop_of_each_person_and_camera_is_the_query():
    names = [
        "0002_c1s1_000001_01.jpg", "0002_c1s1_000002_01.jpg", "0002_c1s1_000003_01.jpg", "0002_c2s1_000001_01.jpg",
        "0002_c2s1_000002_01.jpg", "0000_c1s1_000001_01.jpg",
    ]  # fmt: skip
    crops: list[ReidCrop] = [parse_crop(name) for name in names]
    assert choose_queries(crops) == ([1, 3], [0, 2, 4, 5])
