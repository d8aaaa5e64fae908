"""Brings the real weights and real frames, and builds detectors once a session."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torchvision.models import get_model

from models.boxes import Selection
from models.detector import Detector, ImageHW3
from models.detectors import DetectorConfig, NetworkDetector, build_detector, load_nanodet
from models.nanodet import NanoDet
from models.torchvision_detector import TorchvisionExecution, torchvision_categories, torchvision_input_size
from models.weights import NANODET, WeightStore

VIDEO = Path(os.environ.get("CAMWEAVE_VIDEO", Path(__file__).parents[2] / ".cache/video/vtest.avi"))


@pytest.fixture(scope="session")
def weight_files() -> dict[str, bytes]:
    """The real files, fetched into the default cache by the first test that needs them."""
    return WeightStore().read(NANODET)


@pytest.fixture
def weights_dir(weight_files: dict[str, bytes], tmp_path: Path) -> Path:
    """A directory as an air-gapped site would have it."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, content in weight_files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def frames() -> list[ImageHW3]:
    """Nine real frames, 768 x 576, a second apart."""
    if not VIDEO.is_file():
        pytest.fail(f"the sample video is not at {VIDEO}: run `make setup`, or set CAMWEAVE_VIDEO")
    with av.open(str(VIDEO)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in islice(container.decode(video=0), 0, 81, 10)]


@pytest.fixture
def network(weight_files: dict[str, bytes]) -> NanoDet:
    return load_nanodet(WeightStore())


@pytest.fixture(scope="session")
def detector(weight_files: dict[str, bytes]) -> Callable[[str], Detector]:
    """Builds, once each, the detectors that must pass the conformance suite."""

    @cache
    def build(kind: str) -> Detector:
        if kind == "untrained torchvision":
            return untrained("ssdlite320_mobilenet_v3_large")
        execution, _, precision = kind.partition(" ")
        return build_detector(
            DetectorConfig(execution=execution, precision=precision or "float32", device="cpu", threads=2)  # type: ignore[arg-type]
        )

    return build


def untrained(name: str) -> Detector:
    """A torchvision detector with random weights that sees many things in anything."""
    torch.manual_seed(0)
    names = torchvision_categories(name)
    network = get_model(name, weights=None, weights_backbone=None)
    selection = Selection(score_threshold=0.0, nms_iou=0.6, max_detections=20, labels=tuple(range(1, 91)))
    return NetworkDetector(
        TorchvisionExecution(network, selection, torch.device("cpu"), half=True),
        version=f"{name}@000000000000",
        class_names=names,
        input_size=torchvision_input_size(network),
    )


def noise(height: int, width: int, seed: int = 0) -> ImageHW3:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
