import numpy as np
import pytest

from pipeline.evaluation.mot import MotRows, MotSequence
from pipeline.evaluation.public_tracking import track_public_detections, unit_scores
from pipeline.evaluation.tracking import score_tracking
from pipeline.tracker import TrackerConfig


def two_walkers(num_frames=30, confidence=0.9):
    frames_R = np.repeat(np.arange(1, num_frames + 1), 2)
    ids_R = np.tile([1, 2], num_frames)
    left_R = np.where(ids_R == 1, 10.0 + 3.0 * frames_R, 600.0 - 2.0 * frames_R)
    boxes_R4 = np.stack(
        (left_R, np.full(len(left_R), 50.0), left_R + 40.0, np.full(len(left_R), 150.0)), axis=1
    )
    return MotRows(frames_R, ids_R, boxes_R4, np.full(len(ids_R), confidence))


def sequence(truth, detections):
    return MotSequence(
        name="walk", num_frames=30, frame_rate=10.0, width=800, height=600, truth=truth, detections=detections
    )


def test_walkers_are_tracked_from_their_third_frame_on():
    truth = two_walkers()
    tracks = track_public_detections(sequence(truth, truth), TrackerConfig())
    assert tracks.frames_R.min() == 3
    assert sorted(set(tracks.ids_R.tolist())) == [1, 2]
    assert score_tracking(truth, tracks).id_switches == 0


def test_rows_of_detections_may_stand_in_any_order():
    truth = two_walkers()
    order = np.random.default_rng(0).permutation(len(truth))
    tracks = track_public_detections(sequence(truth, truth[order]), TrackerConfig())
    assert score_tracking(truth, tracks).idf1 > 0.95


def test_a_sequence_without_detections_has_no_tracks():
    assert len(track_public_detections(sequence(two_walkers(), MotRows.empty()), TrackerConfig())) == 0


@pytest.mark.parametrize(
    ("confidences", "expected"),
    [
        ([0.53, 0.75, 1.0], [0.06, 0.5, 1.0]),  # cut at 0.5
        ([0.04, 0.5, 0.9], [0.04, 0.5, 0.9]),  # not cut
        ([-1.0, 0.0, 3.0], [0.0, 0.25, 1.0]),  # logits
        ([-1.0, -1.0], [1.0, 1.0]),  # no confidences
        ([], []),
    ],
)
def test_confidences_become_scores_that_begin_where_the_detector_stopped(confidences, expected):
    np.testing.assert_allclose(unit_scores(np.array(confidences)), expected)
