"""Writes a gallery to bytes or to a file and reads it back, refusing what is corrupt or another embedder's.

Layout: magic with the format's version (8 bytes), SHA-256 of what follows (32 bytes), safetensors. Nothing is
unpickled.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.files import write_atomically
from pipeline.errors import BadInput
from pipeline.gallery.gallery import GallerySnapshot

MAGIC: Final = b"CWGAL\x00\x00\x01"  # the last byte is the version of the format
HEAD_BYTES: Final = len(MAGIC) + hashlib.sha256().digest_size


def encode(snapshot: GallerySnapshot, embedder: str) -> bytes:
    """Return the snapshot of a gallery of this embedder version as bytes."""
    header = {
        "embedder": embedder,
        "capacity": snapshot.capacity,
        "ttl_ns": snapshot.ttl_ns,
        "tracks": snapshot.tracks,
    }
    body = safetensors.save(
        {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "put_ns": snapshot.put_ns_N.astype("<i8"),
            "embeddings": np.ascontiguousarray(snapshot.embeddings_ND, "<f4"),
            "centroids": np.ascontiguousarray(snapshot.centroids_LD, "<f4"),
        }
    )
    return MAGIC + hashlib.sha256(body).digest() + body


def decode(content: bytes, *, embedder: str, dimension: int) -> GallerySnapshot:
    """Return the snapshot that `encode` wrote.

    Raises:
        BadInput: truncated, altered or foreign bytes, or the gallery of another embedder version or dimension.
    """
    body = content[HEAD_BYTES:]
    if content[: len(MAGIC)] != MAGIC:
        raise BadInput(
            f"this is no gallery snapshot of format {MAGIC[-1]}: it begins with {content[: len(MAGIC)]!r}; "
            "rebuild the gallery from the identity log"
        )
    if hashlib.sha256(body).digest() != content[len(MAGIC) : HEAD_BYTES]:
        raise BadInput(
            f"gallery snapshot of {len(content)} bytes does not match its checksum: it is truncated or altered; "
            "rebuild the gallery from the identity log"
        )
    try:
        parts = safetensors.load(body)
        header = json.loads(parts["header"].tobytes())
        found = str(header["embedder"]), parts["embeddings"].shape[1]
        snapshot = _built(header, parts)
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput(
            f"gallery snapshot cannot be read: {error!r}; rebuild it from the identity log"
        ) from error
    if found != (embedder, dimension):
        raise BadInput(
            f"gallery snapshot holds embeddings of {found[0]!r} of length {found[1]}, expected {embedder!r} of "
            f"length {dimension}; embeddings of different versions are never compared"
        )
    return snapshot


def save(snapshot: GallerySnapshot, embedder: str, path: Path) -> None:
    """Write the snapshot to a file, whole or not at all."""
    write_atomically(path, encode(snapshot, embedder))


def load(path: Path, *, embedder: str, dimension: int) -> GallerySnapshot:
    """Return the snapshot in a file.

    Raises:
        BadInput: a file that is missing, or one that `decode` refuses.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"gallery snapshot {path} cannot be read: {error}") from error
    return decode(content, embedder=embedder, dimension=dimension)


def _built(header: dict[str, Any], parts: dict[str, Any]) -> GallerySnapshot:
    """Return the value, its parts checked against each other."""
    snapshot = GallerySnapshot(
        capacity=int(header["capacity"]),
        ttl_ns=int(header["ttl_ns"]),
        tracks=tuple(str(track) for track in header["tracks"]),
        put_ns_N=parts["put_ns"].astype(np.int64),
        embeddings_ND=parts["embeddings"].astype(np.float32),
        centroids_LD=parts["centroids"].astype(np.float32),
    )
    num, dimension = snapshot.embeddings_ND.shape
    if not len(set(snapshot.tracks)) == num == len(snapshot.put_ns_N) <= snapshot.capacity:
        raise ValueError(
            f"{num} embeddings, {len(snapshot.put_ns_N)} times and {len(set(snapshot.tracks))} different tracks, "
            f"expected as many of each, and at most {snapshot.capacity}"
        )
    if snapshot.centroids_LD.shape[1:] != (dimension,):
        raise ValueError(f"centroids have shape {snapshot.centroids_LD.shape}, expected (L, {dimension})")
    return snapshot
