"""Runs detector, tracker, embedder and identity decisions over data with truth, and scores them as reports show it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from cluster.config import SiteConfig
from cluster.errors import BadConfig, SourceUnavailable
from cluster.sample_video import SAMPLE_SEQUENCE, SAMPLE_VIDEO
from models.detector import Detector, ImageHW3
from models.detectors import DetectorConfig, build_detector
from models.embedders import EmbedderConfig, build_embedder
from models.reid.dataset import open_crops
from pipeline.detections import Detections
from pipeline.errors import BadInput
from pipeline.evaluation.detection import FrameBoxes, average_precision
from pipeline.evaluation.identity import score_identities
from pipeline.evaluation.ignore import counted
from pipeline.evaluation.mot import MotRows, MotSequence, read_results, read_sequences
from pipeline.evaluation.public_tracking import track_public_detections
from pipeline.evaluation.reid import ChosenCrops, IdSelection, OnProgress, score_reid
from pipeline.evaluation.site import score_site
from pipeline.evaluation.tracking import require_truth, score_sequences
from pipeline.tracker import TrackerConfig

IMAGES: Final = "img1"
"""Where MOTChallenge keeps a sequence's pictures."""
BATCH: Final = 8
MIN_SCORE: Final = 0.03


def evaluate_detector(
    truth: Path, name: str | None, video: Path | None, config: DetectorConfig, num_frames: int | None = None
) -> dict[str, Any]:
    """Detect in every frame of a video, and score against MOTChallenge truth over the full frame.

    Without a name the sequence is the only one there, or the sample video's. Without a video it is the sequence's
    own pictures (`img1`), or the sample video where the sequence is its truth.

    Raises:
        BadConfig: the truth does not hold the sequence, or nobody said where its pictures are.
        SourceUnavailable: the video cannot be read.
    """
    sequence = _chosen(truth, name)
    video = video or _pictures_of(truth, sequence.name)
    # A curve needs its low end; a running site cuts it off, because nobody looks at it.
    detector = build_detector(
        dataclasses.replace(config, score_threshold=min(config.score_threshold, MIN_SCORE))
    )
    pairs = list(_frames_with_truth(detector, video, sequence, num_frames))
    result = average_precision(pairs)
    return {
        "sequence": sequence.name,
        "detector": detector.version,
        "frames": len(pairs),
        "ap50": round(result.ap, 4),
        "best_f1": round(result.best_f1, 4),
        "best_f1_score": round(result.best_f1_score, 4),
        "truth_boxes": result.num_truth_boxes,
        "detections": result.num_predicted_boxes,
    }


def evaluate_tracking(source: Path, tracker: TrackerConfig, results: Path | None = None) -> dict[str, Any]:
    """Score tracks against MOTChallenge truth: each sequence alone, and all pooled.

    The tracks are those that our tracker makes of the public detections, or those in the result files of `results`.

    Raises:
        BadInput: there is no sequence, or one lacks truth, detections or results; names it.
    """
    sequences = read_sequences(source)
    for sequence in sequences:  # before the work begins
        require_truth(sequence)
    if results is None:
        predicted = {sequence.name: _tracked(sequence, tracker) for sequence in sequences}
    else:
        predicted = read_results(results, [sequence.name for sequence in sequences])
    scores, overall = score_sequences(sequences, predicted)
    return {
        "tracks": "public detections" if results is None else str(results),
        "sequences": {name: _rounded(asdict(one), 6) for name, one in scores.items()},
        "overall": _rounded(asdict(overall), 6),
    }


def _tracked(sequence: MotSequence, config: TrackerConfig) -> MotRows:
    if not len(sequence.detections):
        raise BadInput(
            f"sequence {sequence.name} has no public detections to track: expected boxes in its det/det.txt; "
            "add them, or score result files of a tracker with --results FOLDER"
        )
    return track_public_detections(sequence, config)


def evaluate_embedder(
    source: Path, ids: str, config: EmbedderConfig, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Score the embedder on crops of people, by the protocol that their names call for.

    Raises:
        BadInput: `ids` names no selection, or names of both data sets are mixed.
        ModelError: the crops cannot be read, or the embedder cannot be built.
    """
    selection = IdSelection.parse(ids)
    with open_crops(source) as crops:
        embedder = build_embedder(config)
        report = score_reid(crops, embedder.embed, selection, on_progress=on_progress)
    return {**_rounded(asdict(report), 6), "embedder": embedder.version}


def evaluate_identities(
    source: Path, ids: str, site: SiteConfig, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Replay crops as the tracklets of a site, and score the identities that they get, with and without context.

    Raises:
        BadInput: `ids` names no selection, or the names of the crops tell no times.
        ModelError: the crops cannot be read, or the embedder cannot be built.
    """
    selection = IdSelection.parse(ids)
    with open_crops(source) as crops:
        kept = tuple(index for index in selection.kept(crops.crops) if not crops.crops[index].is_distractor)
        chosen = ChosenCrops(crops, kept)
        embedder = build_embedder(site.embedder)
        scores = score_identities(
            chosen, embedder.embed, embedder.version, site.identity, on_progress=on_progress
        )
    return {**_rounded(asdict(scores), 6), "embedder": embedder.version}


def score_run(run: Path, truth: Path) -> dict[str, Any]:
    """Score a run folder against truth, as the report shows it."""
    scores = score_site(run, truth)
    return {
        "detection": {"ap50": round(scores.ap50, 4), "best_f1": round(scores.best_f1, 4)},
        "tracking": _rounded(asdict(scores.tracking)),
        "site": {
            "idf1": round(scores.idf1, 4), "idp": round(scores.idp, 4), "idr": round(scores.idr, 4),
            "num_identities": scores.num_identities,
            "num_cross_camera_identities": scores.num_cross_camera_identities,
        },
    }  # fmt: skip


def _rounded(scores: Mapping[str, Any], digits: int = 4) -> dict[str, Any]:
    return {
        name: round(value, digits) if isinstance(value, float) else value for name, value in scores.items()
    }


def fetch_weights(cache: Path | None = None) -> dict[str, Any]:
    """Make sure that the default models can run here: fetch, verify and cache their weights, and export them.

    Raises:
        WeightsUnavailable: they are not to be had; the message names the remedies.
    """
    cache_dir = "" if cache is None else str(cache)
    detector = build_detector(DetectorConfig(cache_dir=cache_dir))
    embedder = build_embedder(EmbedderConfig(cache_dir=cache_dir))
    return {
        "detector": detector.version,
        "input_size": list(detector.input_size),
        "embedder": embedder.version,
        "dimension": embedder.dimension,
    }


def _frames_with_truth(
    detector: Detector, video: Path, sequence: MotSequence, num_frames: int | None
) -> Iterator[FrameBoxes]:
    total = min(num_frames or sequence.num_frames, sequence.num_frames)
    images = _images(video, total)
    number = 0
    while batch := list(islice(images, BATCH)):
        for raw, image in zip(detector.detect(batch), batch, strict=True):
            number += 1
            seen = Detections.from_raw(raw, image.shape[1], image.shape[0])
            yield _with_truth(seen, sequence.truth[sequence.truth.frames_R == number])


def _with_truth(seen: Detections, truth: MotRows) -> FrameBoxes:
    """Pair a frame's detections with its truth; truth flagged 0 counts neither way, nor do detections of it."""
    ignored_M = truth.confidences_R == 0
    boxes_N4 = seen.boxes_N4.astype(np.float64)
    keep_N = counted(truth.boxes_R4, ignored_M, boxes_N4)
    return truth.boxes_R4[~ignored_M], boxes_N4[keep_N], seen.scores_N[keep_N]


def _chosen(truth: Path, name: str | None) -> MotSequence:
    sequences = {sequence.name: sequence for sequence in read_sequences(truth)}
    wanted = name or (next(iter(sequences)) if len(sequences) == 1 else SAMPLE_SEQUENCE)
    if wanted not in sequences:
        raise BadConfig(f"{truth} holds {sorted(sequences)}, not {wanted!r}; give --sequence NAME")
    if not (sequences[wanted].truth.confidences_R != 0).any():
        raise BadInput(
            f"sequence {wanted} in {truth} has no truth: expected boxes of confidence 1 in gt/gt.txt"
        )
    return sequences[wanted]


def _pictures_of(truth: Path, name: str) -> Path:
    """Find a sequence's own pictures in the folder of its truth."""
    found = [truth / IMAGES] if (truth / IMAGES).is_dir() else sorted(truth.rglob(f"{name}/{IMAGES}"))
    if found:
        return found[0]
    if name == SAMPLE_SEQUENCE:
        return SAMPLE_VIDEO
    raise BadConfig(
        f"{truth} holds no pictures of {name}, expected {name}/{IMAGES}; give its video with --video FILE, or the "
        "folder of its pictures"
    )


def _images(video: Path, num_frames: int) -> Iterator[ImageHW3]:
    return islice(_images_in(video) if video.is_dir() else _frames_of(video), num_frames)


def _images_in(folder: Path) -> Iterator[ImageHW3]:
    """Read a folder's pictures in the order of their names, which MOTChallenge pads with zeros."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not paths:
        raise SourceUnavailable(f"{folder} holds no pictures, expected .jpg or .png files; give --video FILE")
    for path in paths:
        image = cv2.imread(str(path))
        if image is None:
            raise SourceUnavailable(f"cannot read picture {path}; replace it")
        yield np.asarray(image, np.uint8)


def _frames_of(video: Path) -> Iterator[ImageHW3]:
    try:
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (OSError, av.FFmpegError, IndexError) as error:
        raise SourceUnavailable(
            f"cannot read video {video}: {error}; run `make setup` to fetch the sample, or give --video FILE"
        ) from error
