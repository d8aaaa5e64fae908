import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.fewshot import detection_learning
from models.fewshot.detection import DetectionHead
from models.fewshot.detection_examples import LabelledProposals, examples_of, taught_boxes
from models.fewshot.detection_features import CellView
from models.fewshot.detection_learning import METHODS, OBJECTNESS_WEIGHT, PRIOR_STRENGTH, fit_detection_head
from models.fewshot.detection_prior import DetectionInitialization, update_initialization
from models.nanodet import HIDDEN_CHANNELS
from tests.models.fewshot.detection_scenes import STARTS, direction, scene


@pytest.fixture(scope="module")
def initialization():
    rows_TLD = np.random.default_rng(9).normal(size=(80, 3, HIDDEN_CHANNELS + 1)) * 0.1
    return DetectionInitialization.of_class_rows(rows_TLD.astype(np.float32))


def scenes(number, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return [scene(rng, direction(), **settings) for _ in range(number)]


def share_found(head, queries):
    """Of images, those whose best box is on the object."""
    return np.mean([image.overlap_NM[taught_boxes(image, head).rows_N[0], 0] > 0.5 for image in queries])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_class_in_images_that_it_has_not_seen(method, initialization):
    head = fit_detection_head(scenes(5, strength=6.0), method, initialization)
    assert share_found(head, scenes(30, seed=1, strength=6.0)) > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_a_head_from_one_image_is_fitted_too(method, initialization):
    head = fit_detection_head(scenes(1, strength=12.0), method, initialization)
    assert share_found(head, scenes(30, seed=1, strength=12.0)) > 0.5


def test_scores_are_probabilities_of_being_right(initialization):
    head = fit_detection_head(scenes(12, strength=4.0), "meta", initialization)
    found = [(image, taught_boxes(image, head)) for image in scenes(60, seed=2, strength=4.0)]
    scores = np.concatenate([boxes.scores_N for _, boxes in found])
    right = np.concatenate([image.overlap_NM[boxes.rows_N, 0] > 0.5 for image, boxes in found])
    shown = scores > 0.1
    assert scores[shown].mean() == pytest.approx(right[shown].mean(), abs=0.2)
    assert scores[right].mean() > 0.5
    assert scores[~right].mean() < 0.05
    assert 0.1 <= head.threshold <= 0.5


def test_meta_finds_the_maximum_of_the_posterior(initialization):
    examples = examples_of(scenes(4), 20)
    theta_F = torch.from_numpy(METHODS["meta"](examples, initialization)).requires_grad_()
    factor = torch.from_numpy(initialization.factor())
    logits = torch.from_numpy(examples.features_EF) @ theta_F
    fit = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(examples.target_E), torch.from_numpy(examples.weight_E), reduction="sum"
    )
    whitened = torch.linalg.solve_triangular(factor, theta_F[:, None], upper=False)
    (fit + PRIOR_STRENGTH / 2 * whitened.square().sum()).backward()
    start = torch.from_numpy(examples.features_EF.T @ (examples.weight_E * (0.5 - examples.target_E)))
    assert theta_F.grad is not None
    assert theta_F.grad.norm() < 0.01 * start.norm()


def test_what_other_classes_taught_makes_the_next_one_cheaper(initialization):
    family_D4 = np.linalg.qr(np.random.default_rng(3).normal(size=(HIDDEN_CHANNELS, 4)))[0]
    mixed_TD = np.random.default_rng(4).normal(size=(31, 4)) @ family_D4.T
    *taught_TD, new_D = (mixed_TD / np.linalg.norm(mixed_TD, axis=1, keepdims=True)).astype(np.float32)
    solved = [
        DetectionHead(np.tile(one, (3, 1)), np.zeros(3, np.float32), objectness=0.0, threshold=0.5)
        for one in taught_TD
    ]
    rng = np.random.default_rng(5)
    support, *queries = (scene(rng, new_D, strength=4.0, stands_out=False) for _ in range(61))
    found = [
        share_found(fit_detection_head([support], "meta", start), queries)
        for start in (initialization, update_initialization(initialization, solved))
    ]
    assert found[1] > found[0] + 0.1


def test_a_box_that_no_proposal_meets_is_refused(initialization):
    image = scenes(1)[0]
    missed = dataclasses.replace(image, overlap_NM=np.zeros((24, 1), np.float32))
    with pytest.raises(ModelError, match="0 places of the class and 24 others, expected some of both"):
        fit_detection_head([missed], "meta", initialization)


def test_the_detector_s_own_word_counts_for_a_class_that_it_takes_for_an_object(initialization):
    trusted, not_trusted = (
        fit_detection_head(scenes(2, stands_out=stands_out), "meta", initialization)
        for stands_out in (True, False)
    )
    assert trusted.objectness > 0
    assert not_trusted.objectness == 0
    assert OBJECTNESS_WEIGHT > 0


def test_background_lowers_the_scores_of_what_it_shows(initialization):
    lookalike = scenes(1, seed=5, strength=3.0)[0]
    background = LabelledProposals(
        lookalike.boxes_N4, lookalike.objectness_N, lookalike.hidden_ND, lookalike.level_N,
        np.zeros((0, 4), np.float32), np.zeros((24, 0), np.float32),
    )  # fmt: skip
    support = scenes(6)
    rows = np.arange(3)
    without, given = (
        detection_learning._fitted(images, METHODS["meta"], initialization)
        for images in (support, [*support, background])
    )
    assert (background.logits(given, rows) < background.logits(without, rows)).all()


def test_the_second_round_takes_the_background_that_scores_best():
    image = scenes(1)[0]
    head = detection_learning._head(np.random.default_rng(0).normal(size=3 * (HIDDEN_CHANNELS + 1)))
    negative = np.flatnonzero(image.is_negative())
    hardest = negative[np.argsort(-image.logits(head, negative))[:6]]
    mined = examples_of([image], 6, hardest_for=head)
    rows = image.features(np.union1d(negative[:3], hardest))
    np.testing.assert_array_equal(mined.features_EF[mined.target_E == 0], rows)


@settings(max_examples=20, deadline=None)
@given(num_shown=st.integers(1, 4), num_empty=st.integers(0, 3))
def test_each_image_weighs_as_much_as_any_other(num_shown, num_empty):
    examples = examples_of([*scenes(num_shown), *scenes(num_empty, shown=False)], 20)
    assert examples.num_images == pytest.approx(num_shown)
    assert examples.weight_E[examples.target_E == 0].sum() == pytest.approx(num_shown + num_empty)


def test_an_unknown_method_is_answered_with_the_known_ones(initialization):
    with pytest.raises(ModelError, match="'magic', expected one of meta, fine-tune, prototypes"):
        fit_detection_head(scenes(1), "magic", initialization)


@pytest.mark.parametrize("images", [[], scenes(3, shown=False)])
def test_images_that_show_nothing_of_the_class_are_refused(images, initialization):
    with pytest.raises(ModelError, match="has a box, expected one of the class"):
        fit_detection_head(images, "meta", initialization)


@pytest.mark.parametrize(
    "truth",
    [
        np.zeros(4),
        np.array([[0.5, 0.1, 0.4, 0.2]]),
        np.array([[0.1, 0.1, 1.2, 0.2]]),
        np.array([[np.nan] * 4]),
    ],
)
def test_boxes_that_are_none_are_refused(truth):
    view = CellView(
        *(np.zeros(shape, np.float32) for shape in ((4, 340), (1, 340), 340, (HIDDEN_CHANNELS, 340)))
    )
    with pytest.raises(ModelError, match="boxes"):
        LabelledProposals.of(view, STARTS, truth)


def test_proposals_are_the_best_cells_with_the_features_of_their_stride():
    rng = np.random.default_rng(0)
    boxes_4A = np.sort(rng.uniform(-0.2, 1.2, (4, 340)), axis=0)[[0, 1, 2, 3]].astype(np.float32)
    objectness_A = rng.uniform(0, 0.2, 340).astype(np.float32)
    hidden_DA = rng.normal(size=(HIDDEN_CHANNELS, 340)).astype(np.float32)
    view = CellView(boxes_4A, objectness_A[None], objectness_A, hidden_DA)
    image = LabelledProposals.of(view, STARTS, np.zeros((0, 4)))
    assert (np.diff(image.objectness_N) <= 0).all()
    assert image.objectness_N.min() > 0.02
    cell = int(np.flatnonzero(objectness_A == image.objectness_N[0])[0])
    np.testing.assert_array_equal(image.hidden_ND[0], hidden_DA[:, cell])
    level = int(image.level_N[0])
    assert STARTS[level] <= cell < STARTS[level + 1]
    wide = image.features(np.array([0])).reshape(3, HIDDEN_CHANNELS + 1)
    np.testing.assert_array_equal(wide[level], np.append(hidden_DA[:, cell], 1))
    assert np.count_nonzero(wide) == HIDDEN_CHANNELS + 1
