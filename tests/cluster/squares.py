"""Makes frames of coloured rectangles on black, and a detector that finds them: a scene whose truth is plain."""

from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg

from models.detector import ImageHW3, RawDetections
from pipeline.frames import FrameHeader

WIDTH, HEIGHT = 320, 240
RED, GREEN, BLUE = (30, 30, 220), (30, 220, 30), (220, 30, 30)
NS = 1_000_000_000


class SquareDetector:
    """Finds bright rectangles as class `square`."""

    version = "squares@1"
    class_names = ("square",)
    input_size = (HEIGHT, WIDTH)

    def detect(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        return [self._detect(image) for image in images]

    def _detect(self, image: ImageHW3) -> RawDetections:
        _, _, stats, _ = cv2.connectedComponentsWithStats((image.max(axis=2) > 100).astype(np.uint8))
        boxes = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:] if area > 200]
        scale = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        n = len(boxes)
        return RawDetections(
            np.array(boxes, np.float32).reshape(n, 4) / scale,
            np.full(n, 0.95, np.float32),
            np.zeros(n, np.int64),
        )


class ColourEmbedder:
    """Embeds a crop as its mean colour."""

    version = "colour@1"
    dimension = 3

    def embed(self, crops: Sequence[ImageHW3]) -> np.ndarray:
        means = np.array([crop.reshape(-1, 3).mean(axis=0) for crop in crops], np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def jpeg(*squares: tuple[int, int, tuple[int, int, int]]) -> bytes:
    """Draw squares (left, top, colour) of 40 x 80 pixels."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for left, top, colour in squares:
        cv2.rectangle(image, (left, top), (left + 40, top + 80), colour, -1)
    return simplejpeg.encode_jpeg(image, 95, "BGR")


def header(
    camera: str, sequence: int, *, epoch: int = 1, fps: float = 10.0, ended: bool = False
) -> FrameHeader:
    at_ns = round((1000 + sequence / fps) * NS)
    return FrameHeader(
        camera=camera, sequence=sequence, captured_ns=at_ns, produced_ns=at_ns, epoch=epoch, width=WIDTH,
        height=HEIGHT, ended=ended,
    )  # fmt: skip
