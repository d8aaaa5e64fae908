"""Builds embedders from configuration: a trained network, or colour histograms without any."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

import torch

from models.checks import check
from models.embedder import Embedder
from models.execution import onnx_device, resolve_device, usable_cores
from models.network_embedder import (
    EmbeddingExecution,
    LoadedNetwork,
    NetworkEmbedder,
    OnnxEmbedding,
    TorchEmbedding,
    onnx_of,
)
from models.reid.embedder import read_network
from models.reid.shipped import SHIPPED
from models.stripes import StripeHistogram, StripesConfig
from models.transfer.embedder import read_backbone
from models.weights import default_cache_dir

NAMES: Final = ("osnet", "transfer", "stripes")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderConfig:
    """Says how the appearance of a crop is described."""

    name: Literal["osnet", "transfer", "stripes"] = "osnet"
    """`osnet`: the network trained to tell people apart; `transfer`: the backbone of a classifier of one's own, for tasks
    near its classes; `stripes`: colour histograms in horizontal stripes."""
    execution: Literal["onnxruntime", "torch"] = "onnxruntime"
    """What runs the network."""
    device: str = "auto"
    """`auto` (CUDA when there), `cpu`, `cuda` or `cuda:N`."""
    threads: int = 0
    """CPU threads; 0 is one a usable core. With torch they are the process's, as torch has them."""
    weights: str = ""
    """A file that `camweave train embedder` wrote, or for `transfer` `camweave train transfer`; empty is what camweave
    ships, an `osnet`."""
    flip_averaging: bool = True
    """Whether a crop and its mirror image are averaged: more accurate (see the model card), at twice the cost."""
    cache_dir: str = ""
    """Where exported networks are kept; empty is `~/.cache/camweave`."""
    stripes: StripesConfig = field(default_factory=StripesConfig)
    """How `stripes` counts colours."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        check(self.name in NAMES, "embedder name", self.name, ", ".join(NAMES[:-1]) + f" or {NAMES[-1]}")
        check(
            self.name != "transfer" or bool(self.weights), "weights of the embedder `transfer`", "none",
            "the file that `camweave train transfer` wrote",
        )  # fmt: skip
        check(self.execution in ("onnxruntime", "torch"), "execution", self.execution, "onnxruntime or torch")
        check(self.threads >= 0, "threads", self.threads, "0 (all cores) or more")


def build_embedder(config: EmbedderConfig) -> Embedder:
    """Build the configured embedder.

    Raises:
        WeightsUnavailable: when the weights cannot be read.
        WeightsCorrupt: when the file holds something else.
        DeviceUnavailable: when this machine lacks the device.
    """
    if config.name == "stripes":
        return StripeHistogram(config.stripes)
    network = _read_network(config)
    return NetworkEmbedder(
        _execution(config, network), version=network.version(flip_averaging=config.flip_averaging), size=network.size,
        dimension=network.dimension, flip_averaging=config.flip_averaging,
    )  # fmt: skip


class EmbeddingSpace(NamedTuple):
    """Says which embeddings may be compared."""

    version: str
    """As `Embedder.version`."""
    dimension: int
    """Length of an embedding."""


def embedding_space(config: EmbedderConfig) -> EmbeddingSpace:
    """Return what the configured embedder would say of its embeddings; exports nothing and touches no device.

    Raises:
        WeightsUnavailable: when the weights cannot be read.
        WeightsCorrupt: when the file holds something else.
    """
    if config.name == "stripes":
        stripes = StripeHistogram(config.stripes)
        return EmbeddingSpace(stripes.version, stripes.dimension)
    network = _read_network(config)
    return EmbeddingSpace(network.version(flip_averaging=config.flip_averaging), network.dimension)


def _read_network(config: EmbedderConfig) -> LoadedNetwork:
    if config.name == "transfer":
        return read_backbone(Path(config.weights).expanduser())
    return read_network(Path(config.weights).expanduser() if config.weights else SHIPPED)


def _execution(config: EmbedderConfig, network: LoadedNetwork) -> EmbeddingExecution:
    if config.execution == "torch":
        if config.threads:
            torch.set_num_threads(config.threads)
        return TorchEmbedding(network.predictor, resolve_device(config.device))
    cache_dir = Path(config.cache_dir).expanduser() if config.cache_dir else default_cache_dir()
    model = onnx_of(network, cache_dir / "onnx")
    return OnnxEmbedding(model, onnx_device(config.device), config.threads or usable_cores())
