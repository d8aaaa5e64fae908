"""Embeds crops of people with the trained network, in torch or in ONNX Runtime.

Legend of shape suffixes: N crops, H height, W width, D embedding.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.checks import check_images
from models.detector import ImageHW3
from models.errors import ModelError
from models.execution import MAX_BATCH, OPSET, GraphInput, derived, exported, onnx_session
from models.reid.osnet import DIMENSION, GRAPH, INPUT_SIZE, OmniScaleNetwork
from models.reid.pixels import fit
from models.reid.shipped import load

NAME: Final = "osnet"
CPU_RUN: Final = 8
"""Crops in a run of ONNX Runtime on the CPU: a quarter faster than one, and no slower than sixteen."""


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


class EmbeddingExecution(Protocol):
    """Runs the network on crops of its input size."""

    def run(self, crops_NHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return N x D rows of unit length."""


class TorchEmbedding:
    """Runs in eager torch, channels-last, at most `MAX_BATCH` crops at once."""

    def __init__(self, predictor: EmbeddingPredictor, device: torch.device) -> None:
        self._predictor = predictor.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # nn.Module.to has no stub for both
        self._device = device

    @torch.inference_mode()
    def run(self, crops_NHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return N x D rows of unit length."""
        rows = [
            self._predictor(torch.from_numpy(crops_NHW3[start : start + MAX_BATCH]).to(self._device))
            for start in range(0, len(crops_NHW3), MAX_BATCH)
        ]
        return np.concatenate([row.float().cpu().numpy() for row in rows])


class OnnxEmbedding:
    """Runs an exported predictor in ONNX Runtime.

    On the CPU crops are shared out in runs of at most `CPU_RUN`, and `threads` of them go side by side: that uses all
    cores without the cost of splitting each layer. There a row does not depend on the other crops, to the bit.
    """

    def __init__(self, model: bytes, device: torch.device, threads: int) -> None:
        self._session = onnx_session(model, device)
        self._threads = threads if device.type == "cpu" else 1
        self._longest_run = CPU_RUN if device.type == "cpu" else MAX_BATCH
        self._pool = ThreadPoolExecutor(self._threads, "reid") if self._threads > 1 else None

    def run(self, crops_NHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return N x D rows of unit length."""
        length = min(self._longest_run, math.ceil(len(crops_NHW3) / self._threads))
        runs = [crops_NHW3[start : start + length] for start in range(0, len(crops_NHW3), length)]
        parts: Iterable[NDArray[np.float32]] = map(self._run, runs)
        if self._pool is not None and len(runs) > 1:
            parts = self._pool.map(self._run, runs)
        return np.concatenate(list(parts))

    def _run(self, crops_NHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
        (rows_ND,) = self._session.run(None, {"crops": crops_NHW3})
        return np.asarray(rows_ND, np.float32)


class ReidEmbedder:
    """Embeds people with the omni-scale network (see `models.reid.osnet`)."""

    def __init__(self, execution: EmbeddingExecution, *, version: str, flip_averaging: bool = False) -> None:
        self._execution = execution
        self._version = version
        self._flip_averaging = flip_averaging

    @property
    def version(self) -> str:
        """Name, and digest of weights and preprocessing; embeddings of different versions are never compared."""
        return self._version

    @property
    def dimension(self) -> int:
        """Length D of an embedding."""
        return DIMENSION

    def embed(self, crops: Sequence[ImageHW3]) -> NDArray[np.float32]:
        """Embed crops, uint8 BGR, each H x W x 3 of any size >= 1; returns N x D rows of unit length.

        Raises:
            ModelError: when a crop is empty or of another type (names its index), or a row is not of unit length,
                which only broken weights can cause.
        """
        check_images(crops)
        if not crops:
            return np.zeros((0, DIMENSION), np.float32)
        crops_NHW3 = np.stack([fit(crop, INPUT_SIZE) for crop in crops])
        rows_ND = self._execution.run(crops_NHW3)
        if self._flip_averaging:
            mirrored_NHW3 = np.ascontiguousarray(crops_NHW3[:, :, ::-1])
            rows_ND = rows_ND + self._execution.run(mirrored_NHW3)
            rows_ND /= np.linalg.norm(rows_ND, axis=1, keepdims=True)
        _check_rows(rows_ND, self._version)
        return rows_ND


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """Holds a network and the digest of what it computes."""

    predictor: EmbeddingPredictor
    digest: str

    def version(self, *, flip_averaging: bool) -> str:
        """Return the version of embeddings made with it."""
        computed = (
            hashlib.sha256(f"{self.digest} mirrored".encode()).hexdigest() if flip_averaging else self.digest
        )
        return f"{NAME}@{computed[:12]}"


def read_network(weights: Path) -> LoadedNetwork:
    """Read the weights.

    Raises:
        WeightsUnavailable: when the file cannot be read.
        WeightsCorrupt: when it holds something else.
    """
    network, digest = load(weights)
    computed = hashlib.sha256(f"{digest} {INPUT_SIZE} {GRAPH}".encode()).hexdigest()
    return LoadedNetwork(EmbeddingPredictor(network), computed)


def onnx_of(network: LoadedNetwork, folder: Path) -> bytes:
    """Return the predictor as ONNX, from a file in `folder` or exported to it.

    Raises:
        ModelError: when the file has to be exported and cannot be written.
    """
    path = folder / f"{NAME}@{network.digest[:12]}-opset{OPSET}.onnx"
    return derived(path, lambda: export_embedding(network.predictor))


def export_embedding(predictor: EmbeddingPredictor) -> bytes:
    """Export with a free batch size. GraphInput: `crops` N x H x W x 3 uint8. Output: `embeddings` N x D float32."""
    crops = GraphInput("crops", torch.zeros(2, *INPUT_SIZE, 3, dtype=torch.uint8), free_axis="n")
    return exported(predictor, [crops], ["embeddings"])


def _check_rows(rows_ND: NDArray[np.float32], version: str) -> None:
    norms_N = np.linalg.norm(rows_ND, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms_N - 1) < 1e-3))  # NaN is not near 1 either
    if wrong.size:
        raise ModelError(
            f"{version} gave crop {wrong[0]} an embedding of length {norms_N[wrong[0]]}, expected 1; "
            "its weights are broken: train or install them anew"
        )
