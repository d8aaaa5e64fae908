import numpy as np

from pipeline.evaluation.ignore import counted

LEFT, MIDDLE, RIGHT = [0.0, 0, 10, 20], [2.0, 0, 12, 20], [50.0, 0, 60, 20]


def test_a_prediction_on_an_ignored_box_counts_neither_way():
    counts = counted(np.array([LEFT, RIGHT]), np.array([True, False]), np.array([LEFT, RIGHT]))
    assert counts.tolist() == [False, True]


def test_a_prediction_elsewhere_still_counts_as_false():
    assert counted(np.array([LEFT]), np.array([True]), np.array([RIGHT])).tolist() == [True]


def test_several_predictions_may_stand_on_one_ignored_box():
    assert counted(np.array([LEFT]), np.array([True]), np.array([LEFT, MIDDLE])).tolist() == [False, False]


def test_truth_that_is_scored_goes_first():
    # The prediction covers the ignored box better, but the person beside it is the one who is scored.
    truth, ignored = np.array([LEFT, MIDDLE]), np.array([True, False])
    assert counted(truth, ignored, np.array([LEFT])).tolist() == [True]
    assert counted(truth, ignored, np.array([LEFT, MIDDLE])).tolist() == [False, True]


def test_without_ignored_boxes_everything_counts():
    assert counted(np.zeros((0, 4)), np.zeros(0, bool), np.array([LEFT])).tolist() == [True]
    assert counted(np.array([LEFT]), np.array([True]), np.zeros((0, 4))).tolist() == []
