"""Keeps versions as immutable files in one folder that all processes of a site see.

A file is named by the SHA-256 of its content, so that writing a version twice, or by two learners at once, is harmless.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from models.errors import VersionCorrupt, VersionMissing, VersionUnwritable
from models.files import write_atomically
from models.learned.packing import MAX_VERSION_BYTES, pack, unpack
from models.learned.version import LearnedVersion

PREFIX: Final = "learned@"
GRACE_S: Final = 3600.0
"""How long a file is left alone that nobody seems to need: its announcement may be on its way."""
_SUFFIX: Final = ".safetensors"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class StoredVersion(NamedTuple):
    """Says by what a version is found again; all of it stands in its announcement."""

    name: str
    """E.g. `learned@1f0c2a7b9d3e`."""
    sha256: str
    """Of its file, in hexadecimal."""
    num_bytes: int


def name_of(sha256: str) -> str:
    """Return the name of the version whose file has this SHA-256 (in hexadecimal)."""
    return f"{PREFIX}{sha256[:12]}"


def is_name_of(name: str, sha256: str) -> bool:
    """Tell whether a name and a SHA-256, as somebody states them, belong together and have their form."""
    return bool(_SHA256.fullmatch(sha256)) and name == name_of(sha256)


def describe(version: LearnedVersion) -> StoredVersion:
    """Return how a version would be stored, without storing it.

    Raises:
        ModelError: the version is too large, or its scores are nothing that JSON can hold.
    """
    return _described(pack(version))


class VersionStore:
    """Reads and writes the versions in one folder; it is made when the first one is written.

    Args:
        folder: a relative one is taken from the working directory at this moment.
        clock_s: Unix time in seconds, against which the age of files is judged.
    """

    def __init__(self, folder: Path, clock_s: Callable[[], float] = time.time) -> None:
        self.folder = folder.absolute()
        self._clock_s = clock_s

    def put(self, version: LearnedVersion) -> StoredVersion:
        """Write a version durably and return where it is; putting the same again is harmless, and mends its file.

        Raises:
            ModelError: the version is too large, or its scores are nothing that JSON can hold.
            VersionUnwritable: the folder cannot be written to.
        """
        content = pack(version)
        stored = _described(content)
        path = self._path(stored.sha256)
        try:
            if _content(path) == content:
                os.utime(path, (self._clock_s(), self._clock_s()))  # young again: see GRACE_S
            else:
                write_atomically(path, content)
        except OSError as error:
            raise VersionUnwritable(
                f"cannot write {path}: {error.strerror or error}; make room in the folder of versions, or let camweave write there"
            ) from error
        return stored

    def get(self, name: str, sha256: str) -> LearnedVersion:
        """Read a version, after its checksum has been verified.

        Raises:
            VersionMissing: there is no such file, or it cannot be read.
            VersionCorrupt: the file is torn, tampered with, too large, or no version; or name and checksum differ.
        """
        if not is_name_of(name, sha256):
            raise VersionCorrupt(
                f"version {name[:64]!r} is announced with SHA-256 {sha256[:64]!r}, of which it is not the name"
            )
        path = self._path(sha256)
        try:
            content = _content(path)
        except OSError as error:
            raise VersionMissing(
                f"{path} of version {name} cannot be read: {error.strerror or error}"
            ) from error
        if content is None:
            raise VersionMissing(
                f"version {name} is not in {self.folder}: let `learning.store` name the folder that the learner "
                "writes to, shared by all machines of the site, or roll back to another version"
            )
        got = hashlib.sha256(content).hexdigest()
        if got != sha256:
            size = (
                str(len(content)) if len(content) <= MAX_VERSION_BYTES else f"more than {MAX_VERSION_BYTES}"
            )
            raise VersionCorrupt(
                f"{path} is not version {name}: its {size} bytes have SHA-256 {got}, expected {sha256}; it is torn "
                "or was changed: restore it, or roll back to another version"
            )
        return unpack(content, str(path))

    def names(self) -> list[str]:
        """Return the names of the versions in the folder, sorted; their content is not looked at."""
        return sorted(name_of(path.stem) for path in self._files() if _SHA256.fullmatch(path.stem))

    def prune(self, keep: Collection[str]) -> list[str]:
        """Remove the versions that are not among the names to keep, and what crashed writers left; return their names.

        Files younger than `GRACE_S` stay.

        Raises:
            VersionUnwritable: a file cannot be removed.
        """
        removed = []
        for path in self._files():
            is_version = bool(_SHA256.fullmatch(path.stem))
            if is_version and name_of(path.stem) in keep:
                continue
            try:
                if self._clock_s() - path.stat().st_mtime < GRACE_S:
                    continue
                path.unlink()
            except FileNotFoundError:
                continue  # another process was faster
            except OSError as error:
                raise VersionUnwritable(f"cannot remove {path}: {error.strerror or error}") from error
            if is_version:
                removed.append(name_of(path.stem))
        return sorted(removed)

    def _files(self) -> Iterator[Path]:
        """Yield files of versions, and those that `write_atomically` writes aside."""
        for pattern in (f"*{_SUFFIX}", f".*{_SUFFIX}-*"):
            yield from self.folder.glob(pattern)

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}{_SUFFIX}"


def _described(content: bytes) -> StoredVersion:
    sha256 = hashlib.sha256(content).hexdigest()
    return StoredVersion(name_of(sha256), sha256, len(content))


def _content(path: Path) -> bytes | None:
    """Return the content of a file, or its beginning where it is larger than a version can be; None without one."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_VERSION_BYTES + 1)
    except FileNotFoundError:
        return None
