"""Runs a network that embeds crops, in torch or in ONNX Runtime.

Legend of shape suffixes: N crops, H height, W width, D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.checks import check_images
from models.detector import ImageHW3
from models.errors import ModelError
from models.execution import MAX_BATCH, OPSET, GraphInput, derived, exported, onnx_session
from models.reid.pixels import fit

CPU_RUN: Final = 8
"""Crops in a run of ONNX Runtime on the CPU: a quarter faster than one, and no slower than sixteen."""


class EmbeddingExecution(Protocol):
    """Runs the network on crops of its input size."""

    def run(self, crops_NHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return N x D rows of unit length."""


class LoadedNetwork(Protocol):
    """Is a network read from its file, ready to be run in either way."""

    @property
    def predictor(self) -> nn.Module:
        """Return the module: crops N x H x W x 3, uint8, blue green red, to N x D rows of unit length."""

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the crops that it takes."""

    @property
    def dimension(self) -> int:
        """Return the length D of a row."""

    def version(self, *, flip_averaging: bool) -> str:
        """Return the version of embeddings made with it."""

    @property
    def graph(self) -> str:
        """Return the name of what `predictor` computes, with a digest of all that it depends on."""


class TorchEmbedding:
    """Runs in eager torch, channels-last, at most `MAX_BATCH` crops at once."""

    def __init__(self, predictor: nn.Module, device: torch.device) -> None:
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


class NetworkEmbedder:
    """Embeds crops with a network.

    Args:
        execution: runs the network.
        version: of its embeddings.
        size: (height, width) that crops are stretched to.
        dimension: length D of an embedding.
        flip_averaging: whether a crop and its mirror image are averaged.
    """

    def __init__(
        self, execution: EmbeddingExecution, *, version: str, size: tuple[int, int], dimension: int,
        flip_averaging: bool = False,
    ) -> None:  # fmt: skip
        self._execution = execution
        self._version = version
        self._size = size
        self._dimension = dimension
        self._flip_averaging = flip_averaging

    @property
    def version(self) -> str:
        """Name, and digest of weights and preprocessing; embeddings of different versions are never compared."""
        return self._version

    @property
    def dimension(self) -> int:
        """Length D of an embedding."""
        return self._dimension

    def embed(self, crops: Sequence[ImageHW3]) -> NDArray[np.float32]:
        """Embed crops, uint8 BGR, each H x W x 3 of any size >= 1; returns N x D rows of unit length.

        Raises:
            ModelError: when a crop is empty or of another type (names its index), or a row is not of unit length,
                which only broken weights can cause.
        """
        check_images(crops)
        if not crops:
            return np.zeros((0, self._dimension), np.float32)
        crops_NHW3 = np.stack([fit(crop, self._size) for crop in crops])
        rows_ND = self._execution.run(crops_NHW3)
        if self._flip_averaging:
            mirrored_NHW3 = np.ascontiguousarray(crops_NHW3[:, :, ::-1])
            rows_ND = rows_ND + self._execution.run(mirrored_NHW3)
            rows_ND /= np.linalg.norm(rows_ND, axis=1, keepdims=True)
        _check_rows(rows_ND, self._version)
        return rows_ND


def onnx_of(network: LoadedNetwork, folder: Path) -> bytes:
    """Return a network's predictor as ONNX, from a file in `folder` or exported to it.

    Raises:
        ModelError: when the file has to be exported and cannot be written.
    """
    path = folder / f"{network.graph}-opset{OPSET}.onnx"
    return derived(path, lambda: export_embedding(network.predictor, network.size))


def export_embedding(predictor: nn.Module, size: tuple[int, int]) -> bytes:
    """Export with a free batch size. GraphInput: `crops` N x H x W x 3 uint8. Output: `embeddings` N x D float32."""
    crops = GraphInput("crops", torch.zeros(2, *size, 3, dtype=torch.uint8), free_axis="n")
    return exported(predictor, [crops], ["embeddings"])


def _check_rows(rows_ND: NDArray[np.float32], version: str) -> None:
    norms_N = np.linalg.norm(rows_ND, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms_N - 1) < 1e-3))  # NaN is not near 1 either
    if wrong.size:
        raise ModelError(
            f"{version} gave crop {wrong[0]} an embedding of length {norms_N[wrong[0]]}, expected 1; "
            "its weights are broken: train or install them anew"
        )
