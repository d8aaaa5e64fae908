"""Writes and reads an initialization of camera maps as it is shipped: safetensors, for embeddings of one version alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from models.errors import ModelError, WeightsCorrupt
from models.fewshot.camera_prior import CameraInitialization
from models.files import read_weights

SHIPPED: Final = Path(__file__).with_name("camera.safetensors")
MAX_BYTES: Final = 16 << 20
"""Far above any initialization; a larger file is not read into memory."""
EMBEDDER: Final = "embedder"
"""Metadata: the version of the embedder that it is for."""
_HEADER_BYTES: Final = 8


def pack(initialization: CameraInitialization, embedder: str) -> bytes:
    """Return the content of a file; directions and centres in half precision."""
    arrays = {
        name: np.ascontiguousarray(array.astype(np.float16) if name.endswith(("left", "right")) else array)
        for name, array in initialization.arrays().items()
    }
    return safetensors.numpy.save(arrays, metadata={EMBEDDER: embedder})


def initialization_for(embedder: str, dimension: int, path: Path = SHIPPED) -> CameraInitialization:
    """Return what is shipped where it is for this version of the embedder, else one that knows of no camera.

    Raises:
        WeightsUnavailable: when the file cannot be read.
        WeightsCorrupt: when it is no such file.
    """
    content = read_weights(path, MAX_BYTES, expected="a small initialization", remedy="install camweave anew")
    try:
        if _embedder_of(content) != embedder:
            return CameraInitialization.blank(dimension)
        return CameraInitialization.from_arrays(safetensors.numpy.load(content))
    except (SafetensorError, ModelError, ValueError, KeyError, TypeError) as error:
        raise WeightsCorrupt(
            f"{path} is no initialization of camera maps: {error}; install it anew"
        ) from error


def _embedder_of(content: bytes) -> str:
    length = int.from_bytes(content[:_HEADER_BYTES], "little")
    header = json.loads(content[_HEADER_BYTES : _HEADER_BYTES + min(length, MAX_BYTES)])
    return str(header["__metadata__"][EMBEDDER])
