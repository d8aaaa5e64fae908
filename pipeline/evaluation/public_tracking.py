"""Runs the tracker over the detections that a MOTChallenge sequence comes with, so that only tracking is compared.

Legend of shape suffixes: R rows of a sequence.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.detections import Detections
from pipeline.evaluation.mot import MotRows, MotSequence
from pipeline.evaluation.tracking import rows_by_frame
from pipeline.records import FrameRef
from pipeline.tracker import CameraTracker, TrackerConfig

_CUTS: Final = 10
"""A detector's cut is a round number: so many to the unit."""


def track_public_detections(sequence: MotSequence, config: TrackerConfig) -> MotRows:
    """Track `sequence.detections` online: what is told of a frame is final, and only confirmed tracks are told."""
    found = sequence.detections
    scores_R = unit_scores(found.confidences_R)
    tracker = CameraTracker(sequence.name, config)
    numbers: dict[str, int] = {}
    kept: list[int] = []
    ids: list[int] = []
    boxes: list[NDArray[np.float32]] = [np.zeros((0, 4), np.float32)]
    for index, rows in enumerate(rows_by_frame(found.frames_R, sequence.num_frames)):
        detections = Detections(
            found.boxes_R4[rows].astype(np.float32),
            scores_R[rows].astype(np.float32),
            np.zeros(len(rows), np.int64),
        )
        captured_ns = round(index / sequence.frame_rate * 1e9)
        update = tracker.update(detections, captured_ns, FrameRef(topic="frames", partition=0, offset=index))
        told = [n for n, sure in enumerate(update.confirmed) if sure]
        kept += rows[told].tolist()
        ids += [numbers.setdefault(str(update.track_ids[n]), len(numbers) + 1) for n in told]
        boxes.append(tracker.steadied(detections, update)[told])
    return MotRows(
        found.frames_R[kept],
        np.array(ids, np.int64),
        np.concatenate(boxes).astype(np.float64),
        found.confidences_R[kept],
    )


def unit_scores(confidences_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring a detector's confidences to [0, 1], where 0 is where it stopped listing.

    A published list is cut somewhere: MOTChallenge 2015's at 0.5 of a probability, so that its 0.6 is as doubtful as
    another's 0.2. Probabilities are stretched from the round number at or below the lowest; other scales (logits,
    votes) from their lowest to their highest; a list without confidences, all alike, is taken as certain.
    """
    if not len(confidences_R) or confidences_R.min() == confidences_R.max():
        return np.ones(len(confidences_R))
    lowest, highest = float(confidences_R.min()), float(confidences_R.max())
    if lowest >= 0.0 and highest <= 1.0:
        lowest, highest = math.floor(lowest * _CUTS) / _CUTS, 1.0
    return (confidences_R - lowest) / (highest - lowest)
