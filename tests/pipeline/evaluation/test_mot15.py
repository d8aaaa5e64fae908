"""Holds the tracker to what it reached on MOTChallenge 2015, with public detections and its default settings."""

import pytest

from pipeline.evaluation.mot import read_sequences
from pipeline.evaluation.public_tracking import track_public_detections
from pipeline.evaluation.tracking import TrackingPair, score_tracking_pooled
from pipeline.tracker import TrackerConfig


@pytest.mark.data
def test_one_setting_tracks_four_public_sequences_as_well_as_when_it_was_chosen(mot15_zip):
    sequences = read_sequences(mot15_zip)
    pairs = [TrackingPair(one.truth, track_public_detections(one, TrackerConfig())) for one in sequences]
    scores = score_tracking_pooled(pairs)
    # The best of any peer in each: MOTA 0.482, IDF1 0.524, HOTA 0.388.
    assert scores.mota > 0.49
    assert scores.idf1 > 0.575
    assert scores.hota > 0.415
