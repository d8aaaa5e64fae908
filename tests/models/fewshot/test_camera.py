import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadEpisode, ModelError
from models.fewshot.camera import MAX_PEOPLE, MAX_RANK, CameraAdapter, CameraPairs
from models.fewshot.camera_scoring import CrossCameraQueries, mean_reciprocal_rank, rank1

D = 12


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(seed, num):
    return unit(np.random.default_rng(seed).normal(size=(num, D)))


def test_the_identity_leaves_embeddings_as_they_are():
    rows = people(0, 5)
    np.testing.assert_allclose(CameraAdapter.identity(D).apply(rows), rows, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 20))
def test_mapped_rows_have_unit_length_and_are_what_the_formula_says(seed, num):
    random = np.random.default_rng(seed)
    slope, shift, rows = random.normal(size=(D, D)), random.normal(size=D), people(seed, num)
    mapped = CameraAdapter.of(slope, shift).apply(rows)
    np.testing.assert_allclose(mapped, unit(rows + rows @ slope.T + shift) if num else rows, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)


def test_a_row_that_is_mapped_to_zero_stays_what_it_was():
    rows = people(0, 2)
    adapter = CameraAdapter.of(-np.eye(D), np.zeros(D))
    np.testing.assert_allclose(adapter.apply(rows), rows, atol=1e-5)


def test_a_map_survives_being_kept_as_arrays():
    random = np.random.default_rng(1)
    adapter = CameraAdapter.of(random.normal(size=(D, D)), random.normal(size=D))
    again = CameraAdapter.from_arrays(adapter.arrays())
    np.testing.assert_array_equal(again.apply(people(0, 4)), adapter.apply(people(0, 4)))


def test_a_large_map_is_kept_at_a_bounded_rank():
    slope = np.random.default_rng(0).normal(size=(2 * MAX_RANK, 2 * MAX_RANK))
    adapter = CameraAdapter.of(slope, np.zeros(2 * MAX_RANK))
    assert adapter.left_DR.shape == (2 * MAX_RANK, MAX_RANK)


def test_maps_with_missing_unfitting_or_infinite_arrays_are_refused():
    arrays = CameraAdapter.of(np.eye(D), np.zeros(D)).arrays()
    with pytest.raises(ModelError, match="shift"):
        CameraAdapter.from_arrays({"left": arrays["left"], "right": arrays["right"]})
    with pytest.raises(ModelError, match="shapes"):
        CameraAdapter.from_arrays(arrays | {"left": arrays["left"][:-1]})
    with pytest.raises(ModelError, match="finite"):
        CameraAdapter.from_arrays(arrays | {"shift": np.full(D, np.nan, np.float32)})


def test_embeddings_of_another_length_are_refused():
    with pytest.raises(ModelError, match="N x 12"):
        CameraAdapter.identity(D).apply(np.ones((2, D + 1), np.float32))


def test_crops_are_paired_by_person_with_the_other_cameras():
    rows = people(0, 5)
    pairs = CameraPairs.of(rows, ["a", "a", "a", "b", "b"], ["6", "6", "1", "6", "2"], "6")
    np.testing.assert_allclose(pairs.own_PD, np.stack([rows[:2].mean(0), rows[3]]), atol=1e-6)
    np.testing.assert_allclose(pairs.others_PD, rows[[2, 4]], atol=1e-6)
    np.testing.assert_allclose(pairs.weight_P, [4 / 3, 1])


def test_people_whom_one_side_alone_saw_make_one_row_of_their_means():
    rows = people(0, 6)
    pairs = CameraPairs.of(rows, ["a", "a", "b", "c", "d", "d"], ["6", "1", "6", "6", "1", "2"], "6")
    np.testing.assert_allclose(pairs.own_PD[1], rows[2:4].mean(0), atol=1e-6)
    np.testing.assert_allclose(pairs.others_PD[1], rows[4:].mean(0), atol=1e-6)
    assert pairs.weight_P[1] < pairs.weight_P[0]


def test_a_thousand_people_are_thinned_out():
    names = [str(number) for number in range(2 * MAX_PEOPLE)]
    pairs = CameraPairs.of(people(0, 4 * MAX_PEOPLE), names * 2, ["6"] * len(names) + ["1"] * len(names), "6")
    assert len(pairs) == MAX_PEOPLE


def test_crops_of_one_side_alone_are_refused():
    with pytest.raises(BadEpisode, match="from others"):
        CameraPairs.of(people(0, 2), ["a", "b"], ["6", "6"], "6")


def test_an_embedding_that_is_no_number_is_refused():
    rows = people(0, 2)
    rows[1, 3] = np.nan
    with pytest.raises(BadEpisode, match="not finite"):
        CameraPairs.of(rows, ["a", "a"], ["6", "1"], "6")


def test_lengths_that_differ_are_refused():
    with pytest.raises(BadEpisode, match="expected one of each"):
        CameraPairs.of(people(0, 2), ["a"], ["6", "1"], "6")


def slow_ranks(own, own_people, gallery, gallery_people):
    for row, who in zip(own, own_people, strict=True):
        matches = [
            float(other @ row) for other, name in zip(gallery, gallery_people, strict=True) if name == who
        ]
        if matches:
            yield 1 + sum(
                float(other @ row) >= max(matches)
                for other, name in zip(gallery, gallery_people, strict=True)
                if name != who
            )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_scores_equal_those_of_ranking_one_query_after_the_other(seed):
    random = np.random.default_rng(seed)
    own, gallery = (random.integers(-3, 4, (num, 4)).astype(np.float32) for num in (8, 15))
    own_people, gallery_people = (["a", *random.choice(list("abcd"), num - 1)] for num in (8, 15))
    ranks = list(slow_ranks(own, own_people, gallery, gallery_people))
    queries = CrossCameraQueries(own, own_people, gallery, gallery_people)
    assert rank1(None, queries) == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert mean_reciprocal_rank(None, queries) == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_a_map_that_makes_everybody_alike_scores_nothing():
    rows = people(0, 4)
    collapsed = CameraAdapter.of(-np.eye(D), np.eye(D)[0])
    queries = CrossCameraQueries(
        rows, list("abcd"), np.tile(np.eye(D, dtype=np.float32)[:1], (4, 1)), list("abcd")
    )
    assert rank1(collapsed, queries) == 0


def test_queries_of_whom_nobody_is_in_the_gallery_are_refused():
    with pytest.raises(BadEpisode, match="kept for judging"):
        CrossCameraQueries(people(0, 1), ["a"], people(1, 1), ["b"])
