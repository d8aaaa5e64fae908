"""Reads the weights, and only the weights, of a TensorFlow.js graph model: a JSON manifest and raw bytes.

The format is `weightsManifest` of tfjs-converter: groups of named tensors laid end to end, in order, each stored
raw or quantized to float16. Nothing is executed and nothing is unpickled; every length is checked before use.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import WeightsCorrupt

MAX_MANIFEST_BYTES: Final = 16 << 20
MAX_WEIGHT_BYTES: Final = 256 << 20
MAX_TENSORS: Final = 10_000
MAX_RANK: Final = 6

_STORED_DTYPES: Final = {"float32": "<f4", "int32": "<i4", "bool": "|u1", "float16": "<f2"}


def read_tfjs_weights(manifest: bytes, weights: bytes) -> dict[str, NDArray[np.float32]]:
    """Decode the float tensors of a tfjs graph model, by name, in their stored (TensorFlow) layout.

    Args:
        manifest: content of the `.json` file.
        weights: content of its weight files, joined in the order of the manifest.

    Raises:
        WeightsCorrupt: when either is over the cap, malformed, or does not account for the other to the byte.
    """
    _check_size("manifest", len(manifest), MAX_MANIFEST_BYTES)
    _check_size("weights", len(weights), MAX_WEIGHT_BYTES)
    tensors: dict[str, NDArray[np.float32]] = {}
    offset = 0
    for entry in _entries(manifest):
        name, shape, dtype = _describe(entry)
        if name in tensors:
            raise WeightsCorrupt(f"tensor {name!r} stands twice in the tfjs manifest")
        stored = np.dtype(_STORED_DTYPES[dtype])
        count = int(np.prod(shape, dtype=object))  # Python integers: no silent wrap-around
        end = offset + count * stored.itemsize
        if end > len(weights):
            raise WeightsCorrupt(
                f"tensor {name!r} {shape} {dtype} ends at byte {end}, but there are only {len(weights)} bytes"
            )
        if stored.kind == "f":
            tensors[name] = np.frombuffer(weights, stored, count, offset).astype(np.float32).reshape(shape)
        offset = end
    if offset != len(weights):
        raise WeightsCorrupt(f"the tfjs manifest accounts for {offset} bytes of weights, got {len(weights)}")
    return tensors


def _check_size(what: str, size: int, cap: int) -> None:
    if size > cap:
        raise WeightsCorrupt(f"the tfjs {what} has {size} bytes, more than the cap of {cap}")


def _entries(manifest: bytes) -> list[dict[str, Any]]:
    try:
        entries = [entry for group in json.loads(manifest)["weightsManifest"] for entry in group["weights"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsCorrupt(
            f"not a tfjs graph model: expected JSON with weightsManifest[].weights[], got {error!r}"
        ) from error
    if not 0 < len(entries) <= MAX_TENSORS:
        raise WeightsCorrupt(f"the tfjs manifest names {len(entries)} tensors, expected 1 to {MAX_TENSORS}")
    return entries


def _describe(entry: Any) -> tuple[str, tuple[int, ...], str]:
    """Return a manifest entry's name, shape and stored type after checking them."""
    try:
        name, shape = entry["name"], tuple(entry["shape"])
        dtype = entry["quantization"]["dtype"] if entry.get("quantization") else entry["dtype"]
        known = dtype in _STORED_DTYPES
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsCorrupt(f"a tfjs tensor needs name, shape and dtype, got {str(entry)[:200]}") from error
    if not isinstance(name, str) or not known:
        raise WeightsCorrupt(
            f"tensor {str(name)[:100]!r} is stored as {str(dtype)[:50]!r}, expected one of {sorted(_STORED_DTYPES)}"
        )
    if len(shape) > MAX_RANK or not all(
        type(size) is int and 0 <= size <= MAX_WEIGHT_BYTES for size in shape
    ):
        raise WeightsCorrupt(f"tensor {name[:100]!r} has the impossible shape {str(shape)[:100]}")
    return name, shape, dtype
