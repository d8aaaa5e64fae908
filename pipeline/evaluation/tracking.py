"""Scores tracks against truth: HOTA, CLEAR and identity metrics as `trackeval` computes them.

HOTA: Luiten et al., IJCV 2021. CLEAR (MOTA): Bernardin and Stiefelhagen, 2008. IDF1: Ristani et al., 2016.
The metric classes of the reference implementation get their data in memory; nothing is written to files.

Legend of shape suffixes: R rows of a sequence, M truth boxes and N predicted boxes of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from trackeval.metrics import CLEAR, HOTA, Identity

from pipeline.association import buffered_iou
from pipeline.errors import BadInput
from pipeline.evaluation.mot import MotRows, MotSequence

PEDESTRIAN: Final = 1
DISTRACTORS: Final = (2, 7, 8, 12)
"""Of the classes of 2016 on: a person on a vehicle, a static person, a distractor, a reflection. A prediction that is
matched to one counts neither way; the other classes are no excuse."""
_MATCHED: Final = 0.5  # the overlap from which a prediction is matched
_THRESHOLD: Final = {"THRESHOLD": _MATCHED, "PRINT_CONFIG": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingScores:
    """Holds scores of one or several sequences; ratios, 1 is best (MOTA may be negative)."""

    hota: float
    """Mean over the localisation thresholds 0.05 ... 0.95."""
    deta: float
    """The detection half of HOTA."""
    assa: float
    """The association half of HOTA."""
    idf1: float
    idp: float
    """Share of predicted boxes whose identity is right."""
    idr: float
    """Share of truth boxes whose identity is found."""
    mota: float
    id_switches: int
    num_false_positives: int
    num_misses: int
    num_truth_boxes: int
    num_predicted_boxes: int
    num_truth_ids: int
    num_predicted_ids: int


class TrackingPair(NamedTuple):
    """Holds the truth and the prediction of one sequence."""

    truth: MotRows
    predicted: MotRows


def score_tracking(truth: MotRows, predicted: MotRows) -> TrackingScores:
    """Score the tracks of one sequence.

    Truth rows of confidence 0 are removed first, as the MOT15 protocol does; what is predicted there counts as
    false. `evaluation.ignore` takes such predictions away too, where that is wanted. Where truth names classes, as
    from MOT16 on, pedestrians alone are scored, and predictions matched to a distractor are removed.

    Raises:
        BadInput: a predicted row has no id, or an id appears twice in one frame.
    """
    return score_tracking_pooled([TrackingPair(truth, predicted)])


def score_tracking_pooled(sequences: Sequence[TrackingPair]) -> TrackingScores:
    """Score several sequences as one: counts are added up before ratios are taken, ids are not shared.

    Raises:
        BadInput: there is no sequence; a predicted row has no id, or an id appears twice in one frame.
    """
    return _scores([_measured(pair) for pair in sequences])


def score_sequences(
    sequences: Sequence[MotSequence], predicted: Mapping[str, MotRows]
) -> tuple[dict[str, TrackingScores], TrackingScores]:
    """Score what was tracked in each sequence, by name, and in all of them pooled.

    Raises:
        BadInput: there is no sequence, one has no truth, or a prediction lies beyond its end; names the sequence.
    """
    measured: dict[str, _Measured] = {}
    for sequence in sequences:
        rows = predicted[sequence.name]
        require_truth(sequence)
        if rows.frames_R.max(initial=0) > sequence.num_frames:
            raise BadInput(
                f"a result of sequence {sequence.name} lies in frame {rows.frames_R.max()}, expected frames 1 to "
                f"{sequence.num_frames}; are these another sequence's results?"
            )
        measured[sequence.name] = _measured(TrackingPair(sequence.truth, rows))
    return {name: _scores([one]) for name, one in measured.items()}, _scores(list(measured.values()))


def require_truth(sequence: MotSequence) -> None:
    """Check that there is something to score a sequence against.

    Raises:
        BadInput: it has no truth that is scored; says what to do.
    """
    if not _scored(sequence.truth).any():
        raise BadInput(
            f"sequence {sequence.name} has no truth to score against: expected boxes of confidence 1 in its "
            "gt/gt.txt; leave it out, or give a sequence of a training set"
        )


class _Measured(NamedTuple):
    """Holds what the metrics count in one sequence; to be added up with others before ratios are taken."""

    data: dict[str, Any]
    hota: dict[str, Any]
    clear: dict[str, Any]
    identity: dict[str, Any]


def _measured(pair: TrackingPair) -> _Measured:
    data = _sequence_data(pair)
    return _Measured(data, *(metric.eval_sequence(data) for metric in _metrics()))


def _metrics() -> tuple[Any, Any, Any]:
    return HOTA(), CLEAR(_THRESHOLD), Identity(_THRESHOLD)


def _scores(measured: Sequence[_Measured]) -> TrackingScores:
    if not measured:
        raise BadInput("got no sequence to score, expected at least one")
    hota, clear, identity = (
        metric.combine_sequences({str(index): counts for index, counts in enumerate(column)})
        for metric, column in zip(_metrics(), list(zip(*measured, strict=True))[1:], strict=True)
    )
    data = [one.data for one in measured]
    return TrackingScores(
        hota=float(np.mean(hota["HOTA"])),
        deta=float(np.mean(hota["DetA"])),
        assa=float(np.mean(hota["AssA"])),
        idf1=float(identity["IDF1"]),
        idp=float(identity["IDP"]),
        idr=float(identity["IDR"]),
        mota=float(clear["MOTA"]),
        id_switches=int(clear["IDSW"]),
        num_false_positives=int(clear["CLR_FP"]),
        num_misses=int(clear["CLR_FN"]),
        num_truth_boxes=sum(one["num_gt_dets"] for one in data),
        num_predicted_boxes=sum(one["num_tracker_dets"] for one in data),
        num_truth_ids=sum(one["num_gt_ids"] for one in data),
        num_predicted_ids=sum(one["num_tracker_ids"] for one in data),
    )


def _scored(truth: MotRows) -> NDArray[np.bool_]:
    """Say which truth is scored: what is not flagged 0, and is a pedestrian where classes are named."""
    scored_R: NDArray[np.bool_] = truth.confidences_R != 0
    return scored_R if truth.classes_R is None else scored_R & (truth.classes_R == PEDESTRIAN)


def _without_distractors(truth: MotRows, predicted: MotRows) -> MotRows:
    """Leave out predictions that an optimal pairing, frame by frame, gives to a distractor (Milan et al., 2016)."""
    classes_R = truth.classes_R
    if classes_R is None or not len(predicted):
        return predicted
    kept_R = np.ones(len(predicted), np.bool_)
    num_frames = int(predicted.frames_R.max())
    for m, n in zip(
        rows_by_frame(truth.frames_R, num_frames), rows_by_frame(predicted.frames_R, num_frames), strict=True
    ):
        overlap_MN = buffered_iou(truth.boxes_R4[m], predicted.boxes_R4[n])
        overlap_MN[overlap_MN < _MATCHED - np.finfo(float).eps] = 0.0
        rows, columns = linear_sum_assignment(-overlap_MN)
        taken_P = (overlap_MN[rows, columns] > 0) & np.isin(classes_R[m][rows], DISTRACTORS)
        kept_R[n[columns[taken_P]]] = False
    return predicted[kept_R]


def _sequence_data(pair: TrackingPair) -> dict[str, Any]:
    truth = pair.truth[_scored(pair.truth)]
    predicted = _without_distractors(pair.truth, pair.predicted)
    if len(predicted) and predicted.ids_R.min() < 0:
        raise BadInput("a predicted row has id -1; score only boxes that a track claims")
    num_frames = int(max(truth.frames_R.max(initial=0), predicted.frames_R.max(initial=0)))
    truth_ids_R, num_truth_ids = _contiguous(truth, "truth")
    predicted_ids_R, num_predicted_ids = _contiguous(predicted, "prediction")
    truth_of = rows_by_frame(truth.frames_R, num_frames)
    predicted_of = rows_by_frame(predicted.frames_R, num_frames)
    return {
        "num_timesteps": num_frames,
        "num_gt_dets": len(truth),
        "num_tracker_dets": len(predicted),
        "num_gt_ids": num_truth_ids,
        "num_tracker_ids": num_predicted_ids,
        "gt_ids": [truth_ids_R[rows] for rows in truth_of],
        "tracker_ids": [predicted_ids_R[rows] for rows in predicted_of],
        "similarity_scores": [
            buffered_iou(truth.boxes_R4[m], predicted.boxes_R4[n])
            for m, n in zip(truth_of, predicted_of, strict=True)
        ],
    }


def rows_by_frame(frames_R: NDArray[np.int64], num_frames: int) -> list[NDArray[np.intp]]:
    """Return the row indices of each frame 1 ... `num_frames`."""
    order_R = np.argsort(frames_R, kind="stable")
    edges = np.searchsorted(frames_R[order_R], np.arange(1, num_frames + 2))
    return [order_R[start:stop] for start, stop in pairwise(edges.tolist())]


def _contiguous(rows: MotRows, name: str) -> tuple[NDArray[np.intp], int]:
    unique, ids_R = np.unique(rows.ids_R, return_inverse=True)
    keys_R = rows.frames_R * max(len(unique), 1) + ids_R
    if len(np.unique(keys_R)) != len(keys_R):
        raise BadInput(f"the {name} holds an id twice in one frame; an object is in one place at a time")
    return ids_R, len(unique)
