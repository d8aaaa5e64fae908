"""Holds the tracker to what it reached on MOTChallenge 2015, with public detections and its default settings."""

import numpy as np
import pytest

from pipeline.detections import Detections
from pipeline.evaluation.mot import MotRows, MotSequence, read_sequences
from pipeline.evaluation.tracking import TrackingPair, rows_by_frame, score_tracking_pooled
from pipeline.records import FrameRef
from pipeline.tracker import CameraTracker, TrackerConfig


def tracked(sequence: MotSequence) -> MotRows:
    tracker = CameraTracker(sequence.name, TrackerConfig())
    found, numbers = sequence.detections, {}
    kept, ids = [], []
    for index, rows in enumerate(rows_by_frame(found.frames_R, sequence.num_frames)):
        detections = Detections(
            found.boxes_R4[rows].astype(np.float32),
            found.confidences_R[rows].astype(np.float32),
            np.zeros(len(rows), np.int64),
        )
        captured_ns = round(index / sequence.frame_rate * 1e9)
        update = tracker.update(detections, captured_ns, FrameRef(topic="frames", partition=0, offset=index))
        for row, track, confirmed in zip(rows, update.track_ids, update.confirmed, strict=True):
            if confirmed:
                kept.append(row)
                ids.append(numbers.setdefault(track, len(numbers)))
    claimed = found[np.array(kept, np.intp)]
    return MotRows(claimed.frames_R, np.array(ids, np.int64), claimed.boxes_R4, claimed.confidences_R)


@pytest.mark.data
def test_one_setting_tracks_four_public_sequences_as_well_as_when_it_was_chosen(mot15_zip):
    pairs = [TrackingPair(one.truth, tracked(one)) for one in read_sequences(mot15_zip)]
    scores = score_tracking_pooled(pairs)
    # supervision 0.25.1's ByteTrack on the same detections: MOTA 0.404, IDF1 0.472, HOTA 0.365.
    assert scores.mota > 0.435
    assert scores.idf1 > 0.535
    assert scores.hota > 0.39
