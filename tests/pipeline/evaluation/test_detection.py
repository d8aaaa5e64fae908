import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.evaluation.detection import average_precision

NO_BOXES = np.zeros((0, 4))


def slow_iou(a, b):
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high)


def slow_average_precision(frames, iou):
    """Goes through all predictions one by one, then sums the area rectangle by rectangle."""
    predictions = [
        (-score, frame, index)
        for frame, (_, _, scores) in enumerate(frames)
        for index, score in enumerate(scores)
    ]
    taken, hits = set(), []
    for _, frame, index in sorted(predictions):
        truth, boxes, _ = frames[frame]
        best, best_iou = None, iou
        for number, box in enumerate(truth):
            overlap = slow_iou(box, boxes[index])
            if (frame, number) not in taken and overlap >= best_iou and (best is None or overlap > best_iou):
                best, best_iou = number, overlap
        hits.append(best is not None)
        taken.add((frame, best))
    num_truth = sum(len(truth) for truth, _, _ in frames)
    points = [(sum(hits[: k + 1]) / num_truth, sum(hits[: k + 1]) / (k + 1)) for k in range(len(hits))]
    area, reached = 0.0, 0.0
    for recall, _ in points:
        area += (recall - reached) * max(p for r, p in points if r >= recall)
        reached = recall
    return area


def box_list(num):
    corner = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(4, 10), st.integers(4, 10))
    return st.lists(corner, max_size=num).map(
        lambda rows: np.array([[x, y, x + w, y + h] for x, y, w, h in rows], float).reshape(-1, 4)
    )


@st.composite
def frame_lists(draw):
    frames = []
    for _ in range(draw(st.integers(1, 3))):
        truth, boxes = draw(box_list(4)), draw(box_list(5))
        scores = np.array(draw(st.lists(st.integers(0, 9), min_size=len(boxes), max_size=len(boxes)))) / 10.0
        frames.append((truth, boxes, scores.reshape(-1)))
    return frames


@settings(deadline=None)
@given(frame_lists(), st.sampled_from([0.3, 0.5, 0.75]))
def test_average_precision_equals_the_slow_way(frames, iou):
    result = average_precision(frames, iou)
    if sum(len(truth) for truth, _, _ in frames):
        assert result.ap == pytest.approx(slow_average_precision(frames, iou))
    else:
        assert result.ap == 0.0
    assert 0.0 <= result.ap <= 1.0
    assert (np.diff(result.recall_P) >= 0).all()


def test_perfect_detections_score_one():
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    result = average_precision([(boxes, boxes, np.array([0.9, 0.4]))])
    assert result.ap == result.best_f1 == 1.0
    assert result.best_f1_score == 0.4


def test_a_second_box_on_one_object_is_false():
    truth = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 11], [50, 50, 60, 60]])
    # Recall 1/2 at precision 1, then 1 at precision 2/3.
    assert average_precision([(truth, boxes, np.array([0.9, 0.8, 0.7]))]).ap == pytest.approx(
        0.5 + 0.5 * 2 / 3
    )


def test_a_box_on_the_same_place_in_another_frame_is_false():
    box = np.array([[0.0, 0, 10, 10]])
    result = average_precision([(box, NO_BOXES, np.zeros(0)), (NO_BOXES, box, np.ones(1))])
    assert (result.ap, result.best_f1, result.num_truth_boxes, result.num_predicted_boxes) == (0.0, 0.0, 1, 1)


def test_the_best_threshold_is_one_that_scores_can_tell_apart():
    truth = np.array([[0.0, 0, 10, 10]])
    boxes = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    result = average_precision([(truth, boxes, np.array([0.5, 0.5]))])
    assert result.best_f1 == pytest.approx(2 / 3)
    assert result.best_f1_precision == 0.5


def test_nothing_at_all_scores_zero_without_a_warning():
    assert average_precision([]).ap == 0.0


def test_arrays_that_disagree_are_refused_with_their_frame():
    with pytest.raises(BadInput, match="frame 1"):
        average_precision([(NO_BOXES, NO_BOXES, np.zeros(0)), (NO_BOXES, NO_BOXES, np.zeros(2))])
