"""Runs the frozen detector and gives out, beside its own boxes, what heads for taught classes read.

Each image of a call is one pass, as without taught classes; only the cells' features are handed out as well.

Legend of shape suffixes: N images, A cells of all strides, K classes looked for, D hidden features, C classes that the
network knows, L strides; 3 = blue, green, red; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.boxes import Selection
from models.checks import check_images
from models.detector import ImageHW3
from models.detectors import DetectorConfig, PreparedNanoDet, prepare_nanodet
from models.errors import ModelError
from models.execution import MAX_BATCH, onnx_session, resize, upload_and_resize, usable_cores
from models.nanodet import COCO_CLASSES, STRIDES, NanoDetFeaturePredictor

NUM_LEVELS: Final = len(STRIDES)

Floats = NDArray[np.float32]


class CellView(NamedTuple):
    """Holds what the detector made of one image, cell by cell; cells run by stride, then row, then column."""

    boxes_4A: Floats  # relative to the image, not clipped to it
    scores_KA: Floats  # of the classes looked for, in [0, 1]
    objectness_A: Floats  # best score for any class that the network knows, in [0, 1]
    hidden_DA: Floats  # what the last convolution reads


class FeatureDetector:
    """Runs NanoDet with its features given out, in the way and in the version that a configuration says."""

    def __init__(self, prepared: PreparedNanoDet, threads: int, half: bool) -> None:
        self.version = prepared.version
        self.input_size = prepared.size
        self.selection: Selection = prepared.selection
        self.class_names = COCO_CLASSES
        self.class_rows_CLD = _class_rows(prepared)
        """Weights, and last the bias, of the classes that the network knows, for each stride: C x L x (D + 1)."""
        self._device = prepared.device
        self._session = onnx_session(prepared.model, prepared.device) if prepared.model else None
        if self._session is None:
            self._predictor = prepared.predictor.eval().to(prepared.device)
            if half and prepared.device.type == "cuda":
                self._predictor.network.half()
        alone = self._session is not None and prepared.device.type == "cpu"
        self._batch = 1 if alone else MAX_BATCH
        self._pool = ThreadPoolExecutor(threads, "onnx-features") if alone and threads > 1 else None

    @property
    def level_starts(self) -> tuple[int, ...]:
        """The first cell of each stride, and the number of all cells."""
        height, width = self.input_size
        sizes = [(height // stride) * (width // stride) for stride in STRIDES]
        return tuple(sum(sizes[:level]) for level in range(NUM_LEVELS + 1))

    def views(self, images: Sequence[ImageHW3]) -> list[CellView]:
        """Look at images of any size, uint8 BGR, each H x W x 3; one view an image, in order.

        Raises:
            ModelError: when an image has another shape or type; names its index.
        """
        check_images(images)
        batches = [images[start : start + self._batch] for start in range(0, len(images), self._batch)]
        each = self._pool.map if self._pool is not None and len(batches) > 1 else map
        return [view for part in each(self._look, batches) for view in part]

    def _look(self, images: Sequence[ImageHW3]) -> list[CellView]:
        labels_K = np.asarray(self.selection.labels, np.int64)
        if self._session is not None:
            pixels_NHW3 = np.stack([resize(image, self.input_size) for image in images])
            outputs = self._session.run(None, {"images": pixels_NHW3, "labels": labels_K})
        else:
            outputs = self._look_in_torch(images, torch.from_numpy(labels_K).to(self._device))
        return [CellView(*parts) for parts in zip(*outputs, strict=True)]

    @torch.inference_mode()
    def _look_in_torch(self, images: Sequence[ImageHW3], labels_K: torch.Tensor) -> list[Floats]:
        if self._device.type == "cuda":
            pixels_NHW3 = upload_and_resize(images, self.input_size, self._device)
        else:
            pixels_NHW3 = torch.from_numpy(np.stack([resize(image, self.input_size) for image in images]))
        return [output.cpu().numpy() for output in self._predictor(pixels_NHW3, labels_K)]


def build_feature_detector(config: DetectorConfig, cpu: Collection[str] | None = None) -> FeatureDetector:
    """Build the configured detector so that heads for taught classes can stand on it.

    Its version is that of the same detector without heads: what it sees itself is the same.

    Raises:
        ModelError: when the detector is none whose features are known, or as `build_detector`.
        WeightsUnavailable, WeightsCorrupt, DeviceUnavailable: as `build_detector`.
    """
    if config.name != "nanodet":
        raise ModelError(
            f"detector is {config.name}, which gives no features to teach classes on; set it to nanodet, or teach "
            "a class on the detector's crops instead"
        )
    prepared = prepare_nanodet(config, NanoDetFeaturePredictor, cpu)
    return FeatureDetector(prepared, config.threads or usable_cores(), config.half)


def _class_rows(prepared: PreparedNanoDet) -> Floats:
    rows = []
    for convolution in prepared.predictor.network.output_convolutions:
        assert convolution.bias is not None
        weight_CD = convolution.weight.detach().flatten(1)[: len(COCO_CLASSES)]
        bias_C = convolution.bias.detach()[: len(COCO_CLASSES)]
        rows.append(torch.column_stack((weight_CD, bias_C)))
    return torch.stack(rows, dim=1).float().cpu().numpy()
