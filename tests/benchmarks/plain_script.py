"""Is the peer of the end-to-end benchmark: what one would write in an afternoon, in one process, with good parts.

Per frame: cv2.imdecode, the same weights in eager torch on one image at a time (as published: 416 x 416 pixels,
torch's own memory layout and threads), supervision's ByteTrack for each camera, and the same embedder once for each
track that has lasted. It keeps no log, decides no identities and survives nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from supervision.detection.core import Detections
from supervision.tracker.byte_tracker.core import ByteTrack

from models.boxes import Selection, select
from models.detector import Detector, ImageHW3, RawDetections
from models.detectors import load_nanodet
from models.embedder import Embedder
from models.nanodet import COCO_CLASSES, NanoDetPredictor
from models.weights import WeightStore

CONFIRMED_AFTER = 3
"""Consecutive frames after which supervision's tracker tells a track; its other settings are its defaults."""


class EagerNanoDet:
    """Runs NanoDet as its recipe says, in eager torch: one image at a time, 416 x 416, no tuning."""

    version = "nanodet-eager"
    class_names = COCO_CLASSES
    input_size = (416, 416)

    def __init__(self, label: str = "person") -> None:
        self._predictor = NanoDetPredictor(load_nanodet(WeightStore()).eval(), *self.input_size)
        self._labels_K = torch.tensor([COCO_CLASSES.index(label)])
        self._selection = Selection(
            score_threshold=0.1, nms_iou=0.6, max_detections=300, labels=tuple(self._labels_K.tolist())
        )

    @torch.inference_mode()
    def detect(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        """Detect in each image, one after the other."""
        return [self._detect(image) for image in images]

    def _detect(self, image: ImageHW3) -> RawDetections:
        stretched = cv2.resize(image, self.input_size)
        pixels_13HW = torch.from_numpy(np.ascontiguousarray(stretched.transpose(2, 0, 1)))[None]
        # The predictor takes channels last; this view leaves the memory as it is, channels first.
        return select(*self._predictor(pixels_13HW.permute(0, 2, 3, 1), self._labels_K), self._selection)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRun:
    """Holds what a run of the plain script took and found."""

    num_frames: int
    num_detections: int
    num_tracks: int
    elapsed_s: float
    stage_s: dict[str, float]
    """Seconds in decode, detect, track and embed; together at most `elapsed_s`."""

    @property
    def fps(self) -> float:
        """Frames of all cameras a second."""
        return self.num_frames / self.elapsed_s if self.elapsed_s else 0.0


@dataclass(slots=True)
class _CameraState:
    tracker: ByteTrack = field(default_factory=lambda: ByteTrack(minimum_consecutive_frames=CONFIRMED_AFTER))
    embeddings: dict[int, NDArray[np.float32]] = field(default_factory=dict)


def run_plain_script(
    frames: Iterable[tuple[str, bytes]], detector: Detector, embedder: Embedder, *, label: str = "person"
) -> PlainRun:
    """Process (camera, JPEG) pairs in order; `label` is the class that is tracked.

    What `frames` takes to yield is in the time too, so hand in JPEGs that are in memory.

    Raises:
        ValueError: a frame is not a JPEG, or the detector does not know the label.
    """
    wanted = detector.class_names.index(label)
    cameras: dict[str, _CameraState] = {}
    stage_s = dict.fromkeys(("decode", "detect", "track", "embed"), 0.0)
    num_frames = num_detections = 0
    start = time.perf_counter()
    for camera, jpeg in frames:
        t0 = time.perf_counter()
        decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if decoded is None:
            raise ValueError(f"frame {num_frames} of {camera} is not a JPEG that OpenCV reads")
        image = np.asarray(decoded, np.uint8)  # as it is already: tells the type
        t1 = time.perf_counter()
        found = _in_pixels(detector.detect([image])[0], wanted, image.shape[1], image.shape[0])
        t2 = time.perf_counter()
        state = cameras.setdefault(camera, _CameraState())
        tracked = state.tracker.update_with_detections(found)
        t3 = time.perf_counter()
        _embed_new(state, tracked, image, embedder)
        t4 = time.perf_counter()
        for stage, seconds in zip(stage_s, (t1 - t0, t2 - t1, t3 - t2, t4 - t3), strict=True):
            stage_s[stage] += seconds
        num_frames += 1
        num_detections += len(found)
    return PlainRun(
        num_frames=num_frames,
        num_detections=num_detections,
        num_tracks=sum(len(state.embeddings) for state in cameras.values()),
        elapsed_s=time.perf_counter() - start,
        stage_s=stage_s,
    )


def _in_pixels(raw: RawDetections, wanted: int, width: int, height: int) -> Detections:
    keep = raw.labels_N == wanted
    scale = np.array([width, height, width, height], np.float32)
    return Detections(
        xyxy=raw.boxes_N4[keep] * scale, confidence=raw.scores_N[keep], class_id=raw.labels_N[keep]
    )


def _embed_new(state: _CameraState, tracked: Detections, image: ImageHW3, embedder: Embedder) -> None:
    """Embed the tracks that have no embedding yet."""
    ids = [] if tracked.tracker_id is None else tracked.tracker_id.tolist()
    new = [index for index, track in enumerate(ids) if track not in state.embeddings]
    if not new:
        return
    height, width = image.shape[:2]
    crops = []
    for left, top, right, bottom in tracked.xyxy[new]:
        x0, y0 = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
        x1, y1 = int(np.clip(right, x0 + 1, width)), int(np.clip(bottom, y0 + 1, height))
        crops.append(image[y0:y1, x0:x1])
    for index, embedding in zip(new, embedder.embed(crops), strict=True):
        state.embeddings[ids[index]] = embedding
