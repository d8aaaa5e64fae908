"""Decodes the crops that the re-identification network is trained and validated on.

Legend of shape suffixes: N crops, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.reid.dataset import ReidCrop, open_crops
from models.reid.osnet import INPUT_SIZE
from models.reid.pixels import fit
from models.reid.training_config import EmbedderTrainingConfig
from models.reid.validation import LabelledCrops


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Holds all crops, decoded once, at the network's input size."""

    pixels_NHW3: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    """Identities of all sets, numbered from 0."""
    cameras_N: NDArray[np.int64]
    sets_N: NDArray[np.int64]
    """Which set a crop is from."""
    market: LabelledCrops
    """Held-out people of the first set."""
    pairs: LabelledCrops | None


def load_training_data(config: EmbedderTrainingConfig) -> TrainingData:
    """Decode the training sets and hold out validation people.

    Raises:
        BadCrops: when a set cannot be used.
        ModelError: when the first set has too few identities.
    """
    sets = [load_crops(config.data / name) for name in config.train_sets]
    identities = sorted({crop.identity for crop in sets[0].crops if not crop.is_distractor})
    if len(identities) <= config.held_out_identities:
        raise ModelError(
            f"{config.train_sets[0]} has {len(identities)} identities, expected more than the "
            f"{config.held_out_identities} that are held out; lower held_out_identities"
        )
    held_out = set(identities[-config.held_out_identities :])
    market = _where(sets[0], lambda crop: crop.identity in held_out)
    sets[0] = _where(
        sets[0],
        lambda crop: (
            crop.identity not in held_out
            and not crop.is_distractor
            and crop.camera not in config.left_out_cameras
        ),
    )
    people = [(number, crop.identity) for number, part in enumerate(sets) for crop in part.crops]
    label_of = {person: label for label, person in enumerate(sorted(set(people)))}
    return TrainingData(
        pixels_NHW3=np.concatenate([part.pixels_NHW3 for part in sets]),
        labels_N=np.array([label_of[person] for person in people]),
        cameras_N=np.array([int(crop.camera) for part in sets for crop in part.crops]),
        sets_N=np.array([number for number, _ in people]),
        market=market,
        pairs=load_crops(config.data / config.pair_set) if config.pair_set else None,
    )


def load_crops(path: Path) -> LabelledCrops:
    """Decode all crops of a folder or a zip at the network's input size.

    Raises:
        BadCrops: when it cannot be used.
    """
    with open_crops(path) as crops:
        pixels = np.stack([fit(crops.read(index), INPUT_SIZE) for index in range(len(crops))])
        return LabelledCrops(pixels, crops.crops)


def _where(part: LabelledCrops, keep: Callable[[ReidCrop], bool]) -> LabelledCrops:
    chosen = [index for index, crop in enumerate(part.crops) if keep(crop)]
    return LabelledCrops(part.pixels_NHW3[chosen], tuple(part.crops[index] for index in chosen))
