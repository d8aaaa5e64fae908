"""Lists what can be taught at a site."""

from __future__ import annotations

from models.fewshot.camera_shipped import initialization_for
from models.fewshot.parts import FrozenNetworks
from pipeline.learning.camera_kind import CameraKind
from pipeline.learning.class_kind import ClassKind
from pipeline.learning.detection_kind import DetectionKind
from pipeline.learning.lessons import Kind
from pipeline.records import TaskKind


def kinds_over(networks: FrozenNetworks) -> dict[TaskKind, Kind]:
    """Return what these frozen networks can be taught."""
    embedder = networks.embedder
    kinds: dict[TaskKind, Kind] = {
        TaskKind.CLASS: ClassKind(embedder),
        TaskKind.CAMERA: CameraKind(embedder, initialization_for(embedder.version, embedder.dimension)),
    }
    if networks.open_features is not None:
        kinds[TaskKind.DETECTION] = DetectionKind(networks.open_features)
    return kinds
