"""Reads the files that somebody teaches from, out of a folder or in place out of a zip, bounded before they are read."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from models.picture_files import (
    IMAGE_SUFFIXES,
    PictureFiles,
    is_hidden,
    open_picture_files,
    read_bounded,
)
from pipeline.errors import BadTask
from pipeline.teaching.pictures import MAX_FILE_BYTES

SUFFIXES: Final = IMAGE_SUFFIXES | {".webp"}
QUERY_FOLDERS: Final = frozenset({"query", "val", "valid", "validation", "test"})
"""A folder of one of these names holds what is kept from learning."""
SUPPORT_FOLDERS: Final = frozenset({"support", "train"})
MAX_FILES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Source:
    """Holds the files of a folder or a zip."""

    root: Path
    files: PictureFiles
    sizes: Mapping[str, int]
    """Bytes of each file, by its path inside, sorted."""

    def names(self, suffixes: Collection[str]) -> list[str]:
        """Return the files that end like this, in order."""
        return [name for name in self.sizes if PurePosixPath(name).suffix.lower() in suffixes]

    def place(self, name: str) -> str:
        """Say where a file is, for messages."""
        return f"{name} in {self.root}"

    def read(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Read a file of at most so many bytes.

        Raises:
            BadTask: it is empty or larger.
            BadCrops: it cannot be read.
        """
        if not 0 < self.sizes[name] <= max_bytes:
            raise BadTask(
                f"{self.place(name)} has {self.sizes[name]} bytes, expected 1 to {max_bytes}; replace or remove it"
            )
        return read_bounded(self.files, name, self.place(name), max_bytes)


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a folder or a zip.

    Raises:
        BadCrops: it is neither.
        BadTask: it holds more than `MAX_FILES`.
    """
    files = open_picture_files(path)
    try:
        yield Source(path, files, dict(sorted(_listed(path, files))))
    finally:
        files.close()


def is_held_out(folders: Iterable[str]) -> bool:
    """Tell whether a file in these folders is kept from learning."""
    return any(folder.lower() in QUERY_FOLDERS for folder in folders)


def nearest(wanted: str, known: Collection[str]) -> str:
    """Name what there is, the one that was perhaps meant first."""
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    shown = ", ".join(repr(name) for name in sorted(known)[:10]) + (" ..." if len(known) > 10 else "")
    return (f"did you mean {near[0]!r}? " if near else "") + f"There is {shown or 'nothing'}"


def _listed(path: Path, files: PictureFiles) -> Iterator[tuple[str, int]]:
    for number, (name, size) in enumerate(files.sizes(), 1):
        if number > MAX_FILES:
            raise BadTask(
                f"{path} holds more than {MAX_FILES} files; give a folder with those to teach alone"
            )
        if not is_hidden(name):
            yield name, size
