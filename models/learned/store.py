"""Keeps versions as immutable files in one folder that all processes of a site see.

A file is named by the SHA-256 of its content, so that writing a version twice, or by two learners at once, is harmless.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from models.errors import VersionCorrupt, VersionMissing, VersionUnwritable
from models.files import write_atomically
from models.learned.packing import MAX_VERSION_BYTES, pack, unpack
from models.learned.version import LearnedVersion

PREFIX: Final = "learned@"
GRACE_S: Final = 3600.0
"""How long a file is left alone that nobody seems to need: its announcement may be on its way."""
PRUNED: Final = "pruned"
"""The file in a store that says which versions were pruned from it, and when; a line each."""
MAX_PRUNED_BYTES: Final = 16 << 20
"""Of that file: its end, some 190,000 versions, is what is read."""
_SUFFIX: Final = ".safetensors"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class StoredVersion(NamedTuple):
    """Says by what a version is found again; all of it stands in its announcement."""

    name: str
    """E.g. `learned@1f0c2a7b9d3e`."""
    sha256: str
    """Of its file, in hexadecimal."""
    num_bytes: int


class PrunableFile(NamedTuple):
    """Is a file of a store that nobody needs."""

    path: Path
    name: str
    """Of the version in it; empty for what a crashed writer left."""
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
            if when := self.pruned().get(name):
                raise VersionMissing(
                    f"version {name} cannot be served any more: its file was pruned from {self.folder} at {when}; roll "
                    "back to one of those that were kept, see `camweave models list`, or teach again"
                )
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

    def renew(self, sha256: str) -> None:
        """Make a version's file young, so that nobody prunes it meanwhile; where it cannot be, it stays as it is."""
        with contextlib.suppress(OSError):
            os.utime(self._path(sha256), (self._clock_s(), self._clock_s()))

    def prunable(self, keep: Collection[str]) -> list[PrunableFile]:
        """Return the files of versions that are not among the names to keep, and what crashed writers left, sorted.

        Files younger than `GRACE_S` are not among them.
        """
        found = []
        for path in self._files():
            name = name_of(path.stem) if _SHA256.fullmatch(path.stem) else ""
            if name in keep:
                continue
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                stat = path.stat()
                if self._clock_s() - stat.st_mtime >= GRACE_S:
                    found.append(PrunableFile(path, name, stat.st_size))
        return sorted(found)

    def remove(self, files: Iterable[PrunableFile]) -> list[PrunableFile]:
        """Remove files that have been found prunable, and return those that were; `get` knows of them from now on.

        Raises:
            VersionUnwritable: a file cannot be removed.
        """
        removed = []
        for file in files:
            try:
                if self._clock_s() - file.path.stat().st_mtime < GRACE_S:
                    continue  # somebody needs it again
                if file.name:
                    self._note_pruned(file.path.stem)
                file.path.unlink()
            except FileNotFoundError:
                continue  # another process was faster
            except OSError as error:
                raise VersionUnwritable(
                    f"cannot remove {file.path}: {error.strerror or error}; let camweave write to the folder of versions"
                ) from error
            removed.append(file)
        return removed

    def pruned(self) -> dict[str, str]:
        """Return which versions were pruned, and when: UTC by name; one that is there again is not among them."""
        try:
            with (self.folder / PRUNED).open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - MAX_PRUNED_BYTES))
                lines = stream.read(MAX_PRUNED_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return {}
        noted = (line.split() for line in lines)
        pruned = {name_of(words[1]): words[0] for words in noted if len(words) == 2}
        there = set(self.names())
        return {name: when for name, when in pruned.items() if name not in there}

    def _note_pruned(self, sha256: str) -> None:
        """Say so before it happens: a crash in between leaves a file that is there, which is what counts."""
        when = datetime.fromtimestamp(self._clock_s(), UTC).isoformat(timespec="seconds")
        with (self.folder / PRUNED).open("a") as stream:
            stream.write(f"{when} {sha256}\n")

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
            size = os.fstat(stream.fileno()).st_size  # reading sets aside what is asked for, before it knows
            return stream.read(min(size, MAX_VERSION_BYTES) + 1)
    except FileNotFoundError:
        return None
