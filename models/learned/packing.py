"""Writes a version as the bytes of a safetensors file, and reads it back. Equal versions give equal bytes.

All that is not an array stands as one JSON text in the header's metadata: with several entries there, the order in
which the library writes them would change from run to run.
"""

from __future__ import annotations

import json
from typing import Any, Final

import safetensors.numpy
from safetensors import SafetensorError

from models.checks import check
from models.errors import ModelError, VersionCorrupt
from models.learned.version import Backbones, LearnedVersion

MAX_VERSION_BYTES: Final = 64 << 20
"""Tens of thousands of parts; a larger file is neither written nor read into memory."""
MAX_HEADER_BYTES: Final = 8 << 20
"""What of a file may be header: it is parsed as JSON, so it is capped by itself."""
_METADATA: Final = "camweave"
_FORMAT: Final = 1
_LENGTH_BYTES: Final = 8
_DTYPES: Final = frozenset({"F32", "F16", "I64"})


def pack(version: LearnedVersion) -> bytes:
    """Return the content of a version's file.

    Raises:
        ModelError: the scores are nothing that JSON can hold, or it is larger than `MAX_VERSION_BYTES`.
    """
    metadata = {
        "format": _FORMAT,
        "parent": version.parent,
        "detector": version.backbones.detector,
        "embedder": version.backbones.embedder,
        "created_ns": version.created_ns,
        "tasks": list(version.tasks),
        "data_digest": version.data_digest,
        "scores": dict(version.scores),
        "reason": version.reason,
    }
    try:
        text = json.dumps(metadata, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the scores of a version are nothing that JSON can hold: {error}") from error
    content = safetensors.numpy.save(dict(version.arrays), metadata={_METADATA: text})
    check(
        len(content) <= MAX_VERSION_BYTES,
        "size of a version",
        len(content),
        f"{MAX_VERSION_BYTES} bytes at most",
    )
    header = _header_length(content)
    check(header <= MAX_HEADER_BYTES, "header of a version", header, f"{MAX_HEADER_BYTES} bytes at most")
    return content


def unpack(content: bytes, place: str = "the version") -> LearnedVersion:
    """Read the content of a version's file.

    Args:
        content: all bytes of it, of which nothing is trusted.
        place: how messages name it, such as its path.

    Raises:
        VersionCorrupt: it is cut off, no safetensors file, not one that `pack` wrote, or holds what no version holds.
    """
    header = _header(content, place)
    metadata = _metadata(header, place)
    if wrong := sorted({_dtype(entry) for name, entry in header.items() if name != "__metadata__"} - _DTYPES):
        raise VersionCorrupt(f"{place} holds arrays of type {wrong[:3]}, expected only {sorted(_DTYPES)}")
    try:
        return LearnedVersion(arrays=safetensors.numpy.load(content), **metadata)
    except (SafetensorError, ModelError, ValueError, KeyError, TypeError) as error:
        raise VersionCorrupt(f"{place} cannot be read: {error}") from error


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:_LENGTH_BYTES], "little")


def _header(content: bytes, place: str) -> dict[str, Any]:
    """Return the header after its length has been checked, so that nothing large or absent is parsed."""
    if len(content) > MAX_VERSION_BYTES:
        raise VersionCorrupt(f"{place} has {len(content)} bytes, expected at most {MAX_VERSION_BYTES}")
    length = _header_length(content)
    if not 0 < length <= min(MAX_HEADER_BYTES, len(content) - _LENGTH_BYTES):
        raise VersionCorrupt(
            f"{place} says that its header has {length} bytes, of {len(content)} in all; expected at most "
            f"{MAX_HEADER_BYTES} and no more than there are: it is cut off or no safetensors file"
        )
    return _parsed(content[_LENGTH_BYTES : _LENGTH_BYTES + length], place)


def _metadata(header: dict[str, Any], place: str) -> dict[str, Any]:
    entries = header.get("__metadata__")
    text = entries.get(_METADATA) if isinstance(entries, dict) else None
    if not isinstance(text, str):
        raise VersionCorrupt(
            f"{place} is a safetensors file of something else: its header has no {_METADATA!r}; "
            "versions are written by the learner alone"
        )
    raw = _parsed(text.encode(), place)
    if raw.get("format") != _FORMAT:
        raise VersionCorrupt(f"{place} has format {raw.get('format')!r}, expected {_FORMAT}: update camweave")
    return _fields(raw, place)


def _fields(raw: dict[str, Any], place: str) -> dict[str, Any]:
    texts = ("parent", "detector", "embedder", "data_digest", "reason")
    kinds: dict[str, type] = dict.fromkeys(texts, str) | {"created_ns": int, "tasks": list, "scores": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(raw.get(name), kind)]
    if wrong or not all(isinstance(task, str) for task in raw["tasks"]):
        raise VersionCorrupt(f"{place} lacks or has ill-formed {wrong or ['tasks']} in its metadata")
    backbones = Backbones(detector=raw["detector"], embedder=raw["embedder"])
    kept = {name: raw[name] for name in ("parent", "created_ns", "data_digest", "scores", "reason")}
    return {**kept, "backbones": backbones, "tasks": tuple(raw["tasks"])}


def _parsed(text: bytes, place: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VersionCorrupt(f"{place} has a header that is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise VersionCorrupt(f"{place} has a header that is {type(parsed).__name__}, expected an object")
    return parsed


def _dtype(entry: Any) -> str:
    return str(entry.get("dtype")) if isinstance(entry, dict) else type(entry).__name__
