"""Holds the parts taught at a site, as perception applies them; one immutable value, so that it is swapped in whole.

Legend of shape suffixes: N crops, D embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.detector import Detector
from models.detectors import DetectorConfig, build_detector
from models.embedder import Embedder
from models.embedders import EmbedderConfig, build_embedder
from models.errors import ModelError
from models.fewshot.camera import CameraAdapter
from models.fewshot.classes import ClassHead
from models.fewshot.detection import DetectionHead, FewShotDetector
from models.fewshot.detection_features import FeatureDetector, build_feature_detector
from models.learned import Backbones, LearnedVersion


class ClassScores:
    """Scores crops for all taught classes in one product."""

    def __init__(self, heads: Mapping[str, ClassHead]) -> None:
        self.names = tuple(heads)
        self._weight_CD = np.stack([head.weight_D for head in heads.values()])
        self._bias_C = np.array([head.bias for head in heads.values()], np.float32)

    def logits(self, embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return N x C natural logs of the odds."""
        return np.asarray(embeddings_ND @ self._weight_CD.T + self._bias_C, np.float32)


class FrozenNetworks(NamedTuple):
    """Is what all parts are made on."""

    detector: Detector
    embedder: Embedder
    open_features: Callable[[], FeatureDetector] | None = None
    """Loads the detector with its features given out, once; None where it has none to teach classes on."""

    @property
    def backbones(self) -> Backbones:
        """Their versions."""
        return Backbones(detector=self.detector.version, embedder=self.embedder.version)


def build_networks(detector: DetectorConfig, embedder: EmbedderConfig) -> FrozenNetworks:
    """Load the networks that a configuration names; see `build_detector` and `build_embedder` for what they raise."""
    has_features = detector.name == "nanodet"
    return FrozenNetworks(
        build_detector(detector), build_embedder(embedder),
        cache(partial(build_feature_detector, detector)) if has_features else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class LearnedParts:
    """Holds what a version of the learned parts makes of the frozen networks; empty, it changes nothing."""

    version: str = ""
    """Name of the version, empty for none."""
    classes: ClassScores | None = None
    cameras: Mapping[str, CameraAdapter] = field(default_factory=lambda: MappingProxyType({}))
    """Adapters by camera; a camera without one keeps the embeddings as they are."""
    detector: Detector | None = None
    """The detector with heads for taught classes on it; None while there are none."""

    def adapted(
        self, embeddings_ND: NDArray[np.float32], spans: Sequence[tuple[str, int]]
    ) -> NDArray[np.float32]:
        """Adapt embeddings that come in spans of (camera, number of rows)."""
        if not self.cameras:
            return embeddings_ND
        rows = []
        start = 0
        for camera, length in spans:
            part_ND = embeddings_ND[start : start + length]
            adapter = self.cameras.get(camera)
            rows.append(part_ND if adapter is None or not length else adapter.apply(part_ND))
            start += length
        return np.concatenate(rows) if rows else embeddings_ND


NOTHING_LEARNED = LearnedParts()


def parts_of(name: str, version: LearnedVersion | None, networks: FrozenNetworks) -> LearnedParts:
    """Build what a version makes of the frozen networks; None is nothing.

    Raises:
        ModelError: a part cannot be applied to these networks, because it was made on others or is ill-formed.
    """
    if version is None:
        return NOTHING_LEARNED
    unusable = [
        kind for kind in ("class", "camera", "detection")
        if version.parts(kind) and kind not in version.usable_kinds(networks.backbones)
    ]  # fmt: skip
    if unusable:
        raise ModelError(
            f"{name} holds {' and '.join(unusable)} parts made on {version.backbones}, but {networks.backbones} run "
            "here: teach them anew, or run the networks that they were made on"
        )
    try:
        heads = {one: ClassHead.from_arrays(arrays) for one, arrays in version.parts("class").items()}
        cameras = {one: CameraAdapter.from_arrays(arrays) for one, arrays in version.parts("camera").items()}
        found = {one: DetectionHead.from_arrays(arrays) for one, arrays in version.parts("detection").items()}
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError(f"{name} holds a part that is ill-formed: {error!r}") from error
    return LearnedParts(
        version=name,
        classes=ClassScores(heads) if heads else None,
        cameras=cameras,
        detector=_with_heads(networks, found) if found else None,
    )


def _with_heads(networks: FrozenNetworks, heads: Mapping[str, DetectionHead]) -> Detector:
    if networks.open_features is None:
        raise ModelError(
            f"{networks.detector.version} gives no features, on which {sorted(heads)} were taught: set the detector to nanodet"
        )
    return FewShotDetector(networks.open_features(), heads)
