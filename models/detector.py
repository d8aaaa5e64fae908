"""States what a detector is: images in, boxes in relative coordinates out."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

# Legend of shape suffixes: N boxes, H height, W width; 3 = blue, green, red; 4 = left, top, right, bottom.
ImageHW3 = NDArray[np.uint8]


class RawDetections(NamedTuple):
    """Holds what a network saw in one image, best score first.

    Coordinates are relative to the image (0 left/top, 1 right/bottom), so that they hold at whatever scale
    the image was decoded; `pipeline` turns them into `Detections` in pixels of the source frame.
    """

    boxes_N4: NDArray[np.float32]  # left, top, right, bottom in [0, 1]
    scores_N: NDArray[np.float32]  # in [0, 1]
    labels_N: NDArray[np.int64]  # index into the detector's class_names


class Detector(Protocol):
    """Finds objects in a batch of images."""

    @property
    def version(self) -> str:
        """Name and weights digest, e.g. `nanodet@1f0c2a7b9d3e`; every result carries it."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class of each label index."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels below which decoding an image smaller would lose detail."""

    def detect(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        """Detect in images of any size, uint8 BGR, each H x W x 3; one result an image, in order."""
