"""Scores a whole run over several cameras against truth whose ids hold across cameras.

A run folder holds `tracks.jsonl` (one FrameResult a line) and `identities.jsonl` (one IdentityDecision a line).
A truth folder holds `<camera>/gt/gt.txt` in MOTChallenge format, frame = sequence + 1, ids shared by all cameras;
rows of confidence 0 are ignored on both sides (`evaluation.ignore`), for detections, tracks and identities alike.

Legend of shape suffixes: R rows of a camera, M truth boxes and N predicted boxes of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput
from pipeline.evaluation.detection import FrameBoxes, average_precision
from pipeline.evaluation.ignore import counted
from pipeline.evaluation.mot import MotRows, read_rows
from pipeline.evaluation.tracking import (
    TrackingPair,
    TrackingScores,
    rows_by_frame,
    score_tracking,
    score_tracking_pooled,
)
from pipeline.identity import identities_of_tracks
from pipeline.records import FrameResult, IdentityDecision
from pipeline.run_folder import IDENTITIES_FILE, TRACKS_FILE, read_records


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraScores:
    """Holds the scores of one camera alone."""

    ap50: float
    tracking: TrackingScores
    num_frames: int
    """Frames scored: up to the last frame that any camera of the run has a result of."""
    num_missing_frames: int
    """Of these, frames without a result; what truth they hold counts as missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteScores:
    """Holds the scores of a run; ratios, 1 is best."""

    ap50: float
    """Of all observations of all cameras, whether a track claims them or not."""
    best_f1: float
    best_f1_score: float
    """The detection score threshold that gives the best F1."""
    tracking: TrackingScores
    """Of confirmed tracks within each camera, pooled over cameras."""
    idf1: float
    """Of identities over the whole site: one truth id must be one identity in every camera."""
    idp: float
    idr: float
    num_identities: int
    """Identities decided in the run."""
    num_cross_camera_identities: int
    """Of these, those with tracks in two cameras or more."""
    cameras: dict[str, CameraScores]
    cameras_without_truth: tuple[str, ...]
    """Cameras of the run that were left out, because there is no truth of them."""


class _Observed(NamedTuple):
    """Holds what a camera saw, as rows; `tracks` and `confirmed` run beside them."""

    rows: MotRows
    tracks: tuple[str | None, ...]
    frames: frozenset[int]


class _Camera(NamedTuple):
    """Holds truth and observations of a camera after ignored regions are gone from both."""

    truth: MotRows
    observed: _Observed
    num_frames: int

    def detection_frames(self) -> Iterator[FrameBoxes]:
        """Yield truth boxes, observed boxes and scores, frame by frame."""
        observed = self.observed.rows
        for m, n in zip(
            rows_by_frame(self.truth.frames_R, self.num_frames),
            rows_by_frame(observed.frames_R, self.num_frames),
            strict=True,
        ):
            yield self.truth.boxes_R4[m], observed.boxes_R4[n], observed.confidences_R[n]

    def tracked(self, number_of: Mapping[str, int]) -> TrackingPair:
        """Return truth, and the observations of confirmed tracks under the number of their track's name."""
        kept = [index for index, track in enumerate(self.observed.tracks) if track is not None]
        rows = self.observed.rows[np.array(kept, np.intp)]
        names = [self.observed.tracks[index] for index in kept]
        ids_R = np.array([number_of[name] for name in names if name is not None], np.int64)
        return TrackingPair(self.truth, MotRows(rows.frames_R, ids_R, rows.boxes_R4, rows.confidences_R))


def score_site(run: Path, truth: Path) -> SiteScores:
    """Score the run in folder `run` against the truth in folder `truth`.

    Of several results of one frame the last in the file holds: the log is written at least once. An
    observation has the identity that its track has after all records, merges and splits too, even where that
    was found out later; a track without a decision is an identity of its own. For the site's IDF1 the
    cameras' frames follow one another as if they were one sequence.

    Raises:
        BadInput: a file is missing, or holds something else than it should; names file, line and what.
    """
    results = _latest_results(run / TRACKS_FILE)
    identity_of, cameras_of = _latest_identities(run / IDENTITIES_FILE)
    truth_of = _read_truth(truth)
    seen = {camera for camera, _ in results}
    if not seen & truth_of.keys():
        raise BadInput(
            f"{run / TRACKS_FILE} has cameras {sorted(seen)}, {truth} has truth of {sorted(truth_of)}: "
            "none in common; pass the truth that belongs to this run"
        )
    num_frames = 1 + max(sequence for camera, sequence in results if camera in truth_of)
    cameras = {
        name: _without_ignored(rows, _observed(name, results), num_frames) for name, rows in truth_of.items()
    }
    return _scores(cameras, identity_of, cameras_of, tuple(sorted(seen - truth_of.keys())))


def _scores(
    cameras: Mapping[str, _Camera],
    identity_of: Mapping[str, str],
    cameras_of: Mapping[str, set[str]],
    cameras_without_truth: tuple[str, ...],
) -> SiteScores:
    tracks = sorted({track for one in cameras.values() for track in one.observed.tracks if track is not None})
    number_of_track = {track: number for number, track in enumerate(tracks)}
    pairs = {name: one.tracked(number_of_track) for name, one in cameras.items()}
    detection = average_precision(frame for one in cameras.values() for frame in one.detection_frames())
    num_frames = max(one.num_frames for one in cameras.values())
    site = score_tracking(*_as_one_sequence(pairs, identity_of, tracks, num_frames))
    return SiteScores(
        ap50=detection.ap,
        best_f1=detection.best_f1,
        best_f1_score=detection.best_f1_score,
        tracking=score_tracking_pooled(list(pairs.values())),
        idf1=site.idf1,
        idp=site.idp,
        idr=site.idr,
        num_identities=len(cameras_of),
        num_cross_camera_identities=sum(len(places) > 1 for places in cameras_of.values()),
        cameras={
            name: CameraScores(
                ap50=average_precision(one.detection_frames()).ap,
                tracking=score_tracking(*pairs[name]),
                num_frames=one.num_frames,
                num_missing_frames=one.num_frames - len(one.observed.frames),
            )
            for name, one in cameras.items()
        },
        cameras_without_truth=cameras_without_truth,
    )


def _as_one_sequence(
    pairs: Mapping[str, TrackingPair], identity_of: Mapping[str, str], tracks: list[str], num_frames: int
) -> TrackingPair:
    """Lay the cameras' frames end to end, under identities in place of tracks."""
    names = sorted(set(identity_of.values()))
    number_of = {name: len(tracks) + number for number, name in enumerate(names)}
    identity_of_track = np.array(
        [number_of[identity_of[t]] if t in identity_of else own for own, t in enumerate(tracks)], np.int64
    )
    truth = [_shifted(pair.truth, index * num_frames) for index, pair in enumerate(pairs.values())]
    predicted = [
        _shifted(_identified(pair.predicted, identity_of_track), index * num_frames)
        for index, pair in enumerate(pairs.values())
    ]
    return TrackingPair(_joined(truth), _joined(predicted))


def _identified(rows: MotRows, identity_of_track: NDArray[np.int64]) -> MotRows:
    """Replace the number of each track by that of its identity, but at most once in a frame.

    Two tracks of one camera may have been given one identity by mistake. An object is in one place at a time:
    the box of the best score keeps the identity, the others keep the number of their track, and so count as false.
    """
    order_R = np.lexsort((-rows.confidences_R, identity_of_track[rows.ids_R], rows.frames_R))
    rows = rows[order_R]
    ids_R = identity_of_track[rows.ids_R]
    again_R = np.zeros(len(rows), np.bool_)
    again_R[1:] = (rows.frames_R[1:] == rows.frames_R[:-1]) & (ids_R[1:] == ids_R[:-1])
    ids_R[again_R] = rows.ids_R[again_R]
    return MotRows(rows.frames_R, ids_R, rows.boxes_R4, rows.confidences_R)


def _shifted(rows: MotRows, frames: int) -> MotRows:
    return MotRows(rows.frames_R + frames, rows.ids_R, rows.boxes_R4, rows.confidences_R)


def _joined(parts: list[MotRows]) -> MotRows:
    return MotRows(
        np.concatenate([part.frames_R for part in parts]),
        np.concatenate([part.ids_R for part in parts]),
        np.concatenate([part.boxes_R4 for part in parts]),
        np.concatenate([part.confidences_R for part in parts]),
    )


def _without_ignored(truth: MotRows, observed: _Observed, num_frames: int) -> _Camera:
    truth = truth[truth.frames_R <= num_frames]
    kept_R = np.ones(len(observed.rows), np.bool_)
    for m, n in zip(
        rows_by_frame(truth.frames_R, num_frames),
        rows_by_frame(observed.rows.frames_R, num_frames),
        strict=True,
    ):
        kept_R[n] = counted(truth.boxes_R4[m], truth.confidences_R[m] == 0, observed.rows.boxes_R4[n])
    tracks = tuple(track for track, kept in zip(observed.tracks, kept_R.tolist(), strict=True) if kept)
    return _Camera(
        truth[truth.confidences_R != 0], _Observed(observed.rows[kept_R], tracks, observed.frames), num_frames
    )


def _observed(camera: str, results: Mapping[tuple[str, int], FrameResult]) -> _Observed:
    mine = [(sequence + 1, result) for (name, sequence), result in results.items() if name == camera]
    seen = [(frame, one) for frame, result in mine for one in result.observations]
    rows = MotRows(
        np.array([frame for frame, _ in seen], np.int64),
        np.full(len(seen), -1, np.int64),
        np.array([one.box for _, one in seen], np.float64).reshape(-1, 4),
        np.array([one.score for _, one in seen], np.float64),
    )
    tracks = tuple(one.track if one.confirmed else None for _, one in seen)
    return _Observed(rows, tracks, frozenset(frame for frame, _ in mine))


def _latest_results(path: Path) -> dict[tuple[str, int], FrameResult]:
    results = {(result.camera, result.sequence): result for result in read_records(path, FrameResult)}
    if not results:
        raise BadInput(f"{path} is empty; expected one FrameResult a line")
    return results


def _latest_identities(path: Path) -> tuple[dict[str, str], dict[str, set[str]]]:
    decisions = list(read_records(path, IdentityDecision))
    camera_of = {decision.track: decision.camera for decision in decisions}
    identity_of = identities_of_tracks(decisions)
    cameras_of: dict[str, set[str]] = {}
    for track, identity in identity_of.items():
        if track in camera_of:
            cameras_of.setdefault(identity, set()).add(camera_of[track])
    return identity_of, cameras_of


def _read_truth(truth: Path) -> dict[str, MotRows]:
    files = sorted(truth.glob("*/gt/gt.txt"))
    if not files:
        raise BadInput(f"{truth} holds no truth: expected <camera>/gt/gt.txt in MOTChallenge format in it")
    return {file.parent.parent.name: read_rows(file) for file in files}
