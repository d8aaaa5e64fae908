"""Measures the network while it learns: on held-out people of Market-1501, and on CUHK03's validation pairs.

Legend of shape suffixes: N crops, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.detector import ImageHW3
from models.reid.dataset import ReidCrop
from models.reid.pixels import to_input
from models.reid.scoring import choose_queries, rank_crops, single_shot_rank1

BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class LabelledCrops:
    """Holds crops resized to the network's input, and who is on them."""

    pixels_NHW3: NDArray[np.uint8]
    """BGR."""
    crops: tuple[ReidCrop, ...]


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """Holds what held-out people scored; shares from 0 to 1."""

    market_rank1: float
    market_map: float
    market_map_all_queries: float
    """Mean average precision when every crop is a query once."""
    cuhk_rank1: float
    """Single shot, as many ways as there are people; 0 without such a set."""


def validate(network: nn.Module, market: LabelledCrops, cuhk: LabelledCrops | None) -> ValidationScores:
    """Score a network by both protocols."""
    embeddings_ND = embed_pixels(network, market.pixels_NHW3)
    queries, gallery = choose_queries(market.crops)
    chosen = rank_crops(embeddings_ND, market.crops, queries, gallery)
    everyone = list(range(len(market.crops)))
    whole = rank_crops(embeddings_ND, market.crops, everyone, everyone)
    cuhk_rank1 = 0.0
    if cuhk is not None:
        cuhk_rank1 = single_shot_rank1(
            embed_pixels(network, cuhk.pixels_NHW3),
            [crop.identity for crop in cuhk.crops],
            [crop.camera for crop in cuhk.crops],
        )
    return ValidationScores(chosen.rank1, chosen.map, whole.map, cuhk_rank1)


@torch.inference_mode()
def embed_pixels(
    network: nn.Module, pixels_NHW3: Sequence[ImageHW3] | NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Embed crops of the network's input size, in batches; N x D rows of unit length."""
    network.eval()
    device = next(network.parameters()).device
    rows = [
        network(to_input(np.asarray(pixels_NHW3[start : start + BATCH]), device)).cpu().numpy()
        for start in range(0, len(pixels_NHW3), BATCH)
    ]
    return np.concatenate(rows)
