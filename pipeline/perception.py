"""Turns JPEGs into detections, and boxes of them into embeddings. Holds no state that a result depends on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.detector import Detector, ImageHW3
from models.embedder import Embedder
from models.fewshot.parts import NOTHING_LEARNED, LearnedParts
from pipeline.detections import Detections
from pipeline.errors import BadFrame
from pipeline.frames import decode
from pipeline.looks import Looks, TaughtLogits, sharpness

FrameKey = tuple[str, int, int]
"""Topic, partition, offset: the identity of a frame."""


class EncodedFrame(NamedTuple):
    """Is a frame that passed the guard: still a JPEG."""

    key: FrameKey
    jpeg: bytes
    width: int
    height: int
    camera: str


class Models(NamedTuple):
    """Says what a result was made with."""

    version: str
    """Of the detector, the embedder, and the taught parts if there are any."""
    class_names: tuple[str, ...]
    """The class of each label index."""


class Seen(NamedTuple):
    """Is what was detected in a frame, and by which models."""

    detections: Detections
    models: Models


class Refusal(NamedTuple):
    """Stands in for the detections of a frame that could not be decoded."""

    cause: str
    detail: str


class CropRequest(NamedTuple):
    """Asks for the embeddings of some boxes of a frame."""

    frame: EncodedFrame
    boxes_N4: NDArray[np.float32]  # pixels of the source frame


class Perceiver(Protocol):
    """Is what a shard needs: in the same process (`Perception`) or behind a call (`placement: split`).

    Several threads may call it: a shard embeds crops of one batch while the next one is detected in.
    """

    @property
    def embedder_version(self) -> str:
        """Version of the embedder: what embeddings are compared within."""

    def detect(self, frames: Sequence[EncodedFrame]) -> list[Seen | Refusal]:
        """Decode and detect, one result a frame, in order."""

    def embed(self, requests: Sequence[CropRequest]) -> list[Looks]:
        """Embed boxes; the looks of N crops a request, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerceptionConfig:
    """Says how frames are decoded for the networks."""

    decode_threads: int = 2
    """Threads that decode JPEGs; the interpreter's lock is free meanwhile."""
    kept_frames: int = 32
    """Decoded frames kept for the embedding request that usually follows a detection."""
    min_crop_height: int = 96
    """A crop lower than this in the downscaled image is cut from the full image instead."""


class _Networks(NamedTuple):
    """Is what one version of the learned parts makes of the networks; calls take it whole."""

    detector: Detector
    parts: LearnedParts
    models: Models


class Perception:
    """Runs a detector and an embedder on JPEGs, and what was taught on top of them."""

    def __init__(self, detector: Detector, embedder: Embedder, config: PerceptionConfig) -> None:
        self._detector = detector
        self._embedder = embedder
        self._config = config
        self._decoded: OrderedDict[FrameKey, ImageHW3] = OrderedDict()
        self._decoded_lock = Lock()
        self._decoders = ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode")
        self.embedder_version = embedder.version
        self.use(NOTHING_LEARNED)

    def use(self, parts: LearnedParts) -> None:
        """Apply these parts from the next batch on; any thread may call it."""
        detector = parts.detector or self._detector
        versions = [self._detector.version, self._embedder.version, *filter(None, [parts.version])]
        self._networks = _Networks(detector, parts, Models("+".join(versions), detector.class_names))

    def detect(self, frames: Sequence[EncodedFrame]) -> list[Seen | Refusal]:
        """Decode at the smallest scale that the network can use, detect, and scale boxes to the source frame."""
        networks = self._networks
        height, width = self._detector.input_size
        images = list(self._decoders.map(lambda frame: _decode(frame, height, width), frames))
        readable = [image for image in images if not isinstance(image, Refusal)]
        raw = iter(networks.detector.detect(readable) if readable else [])
        results: list[Seen | Refusal] = []
        for frame, image in zip(frames, images, strict=True):
            if isinstance(image, Refusal):
                results.append(image)
            else:
                self._keep(frame.key, image)
                detections = Detections.from_raw(next(raw), frame.width, frame.height)
                results.append(Seen(detections, networks.models))
        return results

    def embed(self, requests: Sequence[CropRequest]) -> list[Looks]:
        """Embed boxes of frames that were detected in before (any frame will do, recent ones are cheaper)."""
        parts = self._networks.parts
        crops: list[ImageHW3] = []
        for request in requests:
            image = self._image_for(request)
            crops.extend(cut(image, request.boxes_N4 * (image.shape[1] / request.frame.width)))
        embeddings_ND = self._embedder.embed(crops)
        sharpness_N = np.array([sharpness(crop) for crop in crops], np.float32)
        spans = [(request.frame.camera, len(request.boxes_N4)) for request in requests]
        adapted_ND = parts.adapted(embeddings_ND, spans)
        ends = np.cumsum([length for _, length in spans])[:-1]
        looks = [
            Looks(*pieces)
            for pieces in zip(np.split(adapted_ND, ends), np.split(sharpness_N, ends), strict=True)
        ]
        if parts.classes is None:
            return looks
        # Classes are taught on embeddings that no camera has adapted.
        split = np.split(parts.classes.logits(embeddings_ND), ends)
        names = parts.classes.names
        return [
            look._replace(taught=TaughtLogits(parts.version, names, logits_NC))
            for look, logits_NC in zip(looks, split, strict=True)
        ]

    def close(self) -> None:
        """Stop the decoding threads."""
        self._decoders.shutdown()

    def _image_for(self, request: CropRequest) -> ImageHW3:
        with self._decoded_lock:
            image = self._decoded.get(request.frame.key)
        if image is None:
            image = decode(request.frame.jpeg, *self._detector.input_size)
        scale = image.shape[1] / request.frame.width
        lowest = float((request.boxes_N4[:, 3] - request.boxes_N4[:, 1]).min(initial=np.inf)) * scale
        if scale < 1 and lowest < self._config.min_crop_height:
            return decode(request.frame.jpeg)
        return image

    def _keep(self, key: FrameKey, image: ImageHW3) -> None:
        with self._decoded_lock:
            self._decoded[key] = image
            while len(self._decoded) > self._config.kept_frames:
                self._decoded.popitem(last=False)


def cut(image: ImageHW3, boxes_N4: NDArray[np.float32]) -> Iterable[ImageHW3]:
    """Cut boxes (pixels of `image`) out of it, each clipped to the image and at least one pixel wide and high."""
    height, width = image.shape[:2]
    for left, top, right, bottom in boxes_N4:
        x0 = int(np.clip(left, 0, width - 1))
        y0 = int(np.clip(top, 0, height - 1))
        x1 = int(np.clip(np.ceil(right), x0 + 1, width))
        y1 = int(np.clip(np.ceil(bottom), y0 + 1, height))
        yield image[y0:y1, x0:x1]


def _decode(frame: EncodedFrame, height: int, width: int) -> ImageHW3 | Refusal:
    try:
        return decode(frame.jpeg, height, width)
    except BadFrame as error:
        return Refusal(error.cause.value, str(error))
