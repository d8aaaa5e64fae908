"""Writes files so that they are seen whole or not at all, also after a power cut; reads weights, bounded."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from models.errors import WeightsCorrupt, WeightsUnavailable


def read_weights(path: Path, max_bytes: int, *, expected: str, remedy: str) -> bytes:
    """Read a file of weights that may have at most `max_bytes`; the last two say in messages what it holds, and what to do.

    Raises:
        WeightsUnavailable: when it cannot be read.
        WeightsCorrupt: when it is larger.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise WeightsUnavailable(f"{path} cannot be read: {error}; {remedy}") from error
    if len(content) > max_bytes:
        raise WeightsCorrupt(f"{path} has more than {max_bytes} bytes, expected {expected}")
    return content


def write_atomically(path: Path, content: bytes) -> None:
    """Write aside, flush to disk, and rename over `path`; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
