"""Reads the trained network that embeds crops of people (see `models.reid.osnet`), and makes it ready to run.

Legend of shape suffixes: N crops, H height, W width, D embedding.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from models.reid.osnet import DIMENSION, GRAPH, INPUT_SIZE, OmniScaleNetwork
from models.reid.shipped import load

NAME: Final = "osnet"


class EmbeddingPredictor(nn.Module):
    """Turns 8-bit crops into unit vectors; the same module runs in torch and as ONNX.

    Takes over the network: its first convolution is turned to read blue, green, red, which saves turning the pixels.
    """

    def __init__(self, network: OmniScaleNetwork) -> None:
        super().__init__()
        self.network = network
        weight_O3HW = network.trunk.first_convolution.weight
        with torch.no_grad():
            weight_O3HW.copy_(weight_O3HW.flip(1))

    def forward(self, crops_NHW3: Tensor) -> Tensor:
        """Return N x D rows of unit length, of crops N x H x W x 3, uint8, blue green red."""
        # A permuted view of N x H x W x 3 is exactly channels-last.
        embeddings_ND: Tensor = self.network(crops_NHW3.permute(0, 3, 1, 2).float())
        return embeddings_ND


@dataclass(frozen=True, slots=True)
class LoadedOsnet:
    """Holds a network and the digest of what it computes."""

    predictor: EmbeddingPredictor
    digest: str

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the crops that it takes."""
        return INPUT_SIZE

    @property
    def dimension(self) -> int:
        """Return the length of an embedding."""
        return DIMENSION

    def version(self, *, flip_averaging: bool) -> str:
        """Return the version of embeddings made with it."""
        computed = (
            hashlib.sha256(f"{self.digest} mirrored".encode()).hexdigest() if flip_averaging else self.digest
        )
        return f"{NAME}@{computed[:12]}"

    @property
    def graph(self) -> str:
        """Return the name of what `predictor` computes."""
        return f"{NAME}@{self.digest[:12]}"


def read_network(weights: Path) -> LoadedOsnet:
    """Read the weights.

    Raises:
        WeightsUnavailable: when the file cannot be read.
        WeightsCorrupt: when it holds something else.
    """
    network, digest = load(weights)
    computed = hashlib.sha256(f"{digest} {INPUT_SIZE} {GRAPH}".encode()).hexdigest()
    return LoadedOsnet(EmbeddingPredictor(network), computed)
