"""Runs models over videos to score them against truth, and fetches what models need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from cluster.errors import BadConfig, SourceUnavailable
from models.detector import Detector, ImageHW3
from models.detectors import DetectorConfig, build_detector
from pipeline.detections import Detections
from pipeline.evaluation.detection import FrameBoxes, average_precision
from pipeline.evaluation.ignore import counted
from pipeline.evaluation.mot import MotRows, MotSequence, read_sequences
from pipeline.evaluation.site import score_site

BATCH = 8
MIN_SCORE = 0.03


def evaluate_detector(
    truth: Path, sequence_name: str, video: Path, config: DetectorConfig, num_frames: int | None = None
) -> dict[str, Any]:
    """Detect in every frame of a video, and score against MOTChallenge truth over the full frame.

    Raises:
        BadConfig: the truth does not hold the sequence.
        SourceUnavailable: the video cannot be read.
    """
    sequences = {sequence.name: sequence for sequence in read_sequences(truth)}
    if sequence_name not in sequences:
        raise BadConfig(f"{truth} holds {sorted(sequences)}, not {sequence_name!r}; give --sequence NAME")
    # A curve needs its low end; a running site cuts it off, because nobody looks at it.
    detector = build_detector(
        dataclasses.replace(config, score_threshold=min(config.score_threshold, MIN_SCORE))
    )
    pairs = list(_frames_with_truth(detector, video, sequences[sequence_name], num_frames))
    result = average_precision(pairs)
    return {
        "sequence": sequence_name,
        "detector": detector.version,
        "frames": len(pairs),
        "ap50": round(result.ap, 4),
        "best_f1": round(result.best_f1, 4),
        "best_f1_score": round(result.best_f1_score, 4),
        "truth_boxes": result.num_truth_boxes,
        "detections": result.num_predicted_boxes,
    }


def score_run(run: Path, truth: Path) -> dict[str, Any]:
    """Score a run folder against truth, as the report shows it."""
    scores = score_site(run, truth)
    return {
        "detection": {"ap50": round(scores.ap50, 4), "best_f1": round(scores.best_f1, 4)},
        "tracking": _rounded(asdict(scores.tracking)),
        "site": {"idf1": round(scores.idf1, 4), "idp": round(scores.idp, 4), "idr": round(scores.idr, 4)},
    }


def _rounded(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in scores.items()}


def fetch_weights(cache: Path | None = None) -> dict[str, Any]:
    """Make sure that the default detector can run here: fetch, verify and cache its weights, and export it.

    Raises:
        WeightsUnavailable: they are not to be had; the message names the remedies.
    """
    detector = build_detector(DetectorConfig(cache_dir="" if cache is None else str(cache)))
    return {"detector": detector.version, "input_size": list(detector.input_size)}


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


def _images(video: Path, num_frames: int) -> Iterator[ImageHW3]:
    try:
        with av.open(str(video)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index >= num_frames:
                    return
                yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (OSError, av.FFmpegError, IndexError) as error:
        raise SourceUnavailable(
            f"cannot read video {video}: {error}; run `make setup` to fetch the sample, or give --video FILE"
        ) from error
