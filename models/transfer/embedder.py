"""Embeds crops by the backbone of a classifier that `camweave train transfer` made: where tasks of its kind can start from.

Legend of shape suffixes: N crops, H height, W width, D features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from models.transfer.backbones import Backbone
from models.transfer.classifier import Trained, read_trained, version_of

FLOOR: Final = 1e-6
"""Is added to every feature, so that a crop in which the network sees nothing has a direction too."""
NORMALISATION: Final = f"unit length, floor {FLOOR}"


class FeaturePredictor(nn.Module):
    """Turns 8-bit crops into features of unit length; the same module runs in torch and as ONNX."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, crops_NHW3: Tensor) -> Tensor:
        """Return N x D rows of unit length, of crops N x H x W x 3, uint8, blue green red."""
        features_ND: Tensor = self.backbone(crops_NHW3.flip(3).permute(0, 3, 1, 2).float())
        return F.normalize(features_ND + FLOOR)


class LoadedBackbone:
    """Holds a backbone, ready to run, and what is to be known of it.

    Args:
        trained: as `read_trained` returns it.
    """

    def __init__(self, trained: Trained) -> None:
        self.predictor = FeaturePredictor(trained.backbone.eval().requires_grad_(False))
        self.size = (trained.about.size, trained.about.size)
        self.dimension = trained.backbone.dimension
        self._name = trained.backbone.name
        self._digest = trained.sha256

    def version(self, *, flip_averaging: bool) -> str:
        """Return the version of embeddings made with it."""
        how = f"{NORMALISATION}, mirrored" if flip_averaging else NORMALISATION
        return version_of(self._name, f"{self._digest} {how}", self.size[0])

    @property
    def graph(self) -> str:
        """Return the name of what `predictor` computes."""
        return self.version(flip_averaging=False)


def read_backbone(weights: Path) -> LoadedBackbone:
    """Read the backbone of a file that `camweave train transfer` wrote.

    Raises:
        WeightsUnavailable: when it cannot be read.
        WeightsCorrupt: when it is something else.
    """
    return LoadedBackbone(read_trained(weights))
