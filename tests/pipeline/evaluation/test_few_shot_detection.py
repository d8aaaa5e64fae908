import numpy as np
import pytest

from models.errors import ModelError
from models.fewshot.detection import DetectionHead
from models.nanodet import HIDDEN_CHANNELS
from pipeline.errors import BadInput
from pipeline.evaluation.few_shot_detection import draw_support, score_head, score_images, score_method
from tests.models.fewshot.detection_scenes import direction, scene

IMAGES = [scene(np.random.default_rng(seed), direction(), strength=8.0) for seed in range(12)]


def true_scores(image):
    return image.overlap_NM[:, 0]


def head(sign):
    return DetectionHead(
        np.tile(sign * direction(), (3, 1)).reshape(3, HIDDEN_CHANNELS), np.zeros(3, np.float32), 0.0, 0.5
    )


def test_a_head_is_scored_whatever_its_threshold():
    assert score_head(head(1), IMAGES).ap > 0.95
    assert score_head(head(-1), IMAGES).ap < 0.1


def test_scores_that_know_the_truth_score_all():
    result = score_images(true_scores, IMAGES)
    assert result.ap == pytest.approx(1.0)
    assert result.num_truth_boxes == 12


def test_support_and_query_share_no_image_and_leave_none_out():
    for support, query in draw_support(12, 5):
        assert len(support) == 5
        assert sorted(support + query) == list(range(12))


def test_draws_are_repeatable_differ_and_grow_with_the_shots():
    few, many = (list(draw_support(12, shots, 4, seed=3)) for shots in (1, 5))
    assert few == list(draw_support(12, 1, 4, seed=3))
    assert len({tuple(support) for support, _ in many}) == 4
    assert all(small == large[:1] for (small, _), (large, _) in zip(few, many, strict=True))


@pytest.mark.parametrize("shots", [0, 12])
def test_a_draw_without_support_or_query_is_refused(shots):
    with pytest.raises(BadInput, match="got 12 images"):
        next(draw_support(12, shots))


def test_a_method_learns_from_the_support_images_alone():
    seen = []

    def learn(support):
        seen.append([id(image) for image in support])
        return true_scores

    scores = score_method(learn, IMAGES, 5, 3)
    assert scores.mean == pytest.approx(1.0)
    assert seen == [[id(IMAGES[index]) for index in support] for support, _ in draw_support(12, 5, 3)]


def test_a_support_set_that_is_refused_scores_nothing():
    def refuse(support):
        raise ModelError("nothing to learn from")

    assert score_method(refuse, IMAGES, 1, 2).ap == (0.0, 0.0)
