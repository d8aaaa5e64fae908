"""Reads picture files out of a folder, or in place out of a zip, bounded before they are decoded."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import cv2
import numpy as np
from PIL import Image

from models.detector import ImageHW3
from models.errors import BadCrops

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


class PictureFiles(Protocol):
    """Holds named files; names are paths inside the folder or zip, with `/`."""

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the name and the size in bytes of each file."""

    def folders(self) -> Iterator[str]:
        """Yield the name of each folder that is listed, empty ones too."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """Read one file, no more than a byte above `max_bytes`."""

    def close(self) -> None:
        """Release what is open."""


def is_hidden(name: str) -> bool:
    """Tell whether a path inside is one that a file browser hides, or that macOS leaves in a zip."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def open_picture_files(path: Path) -> PictureFiles:
    """Open a folder or a zip.

    Raises:
        BadCrops: when it is neither.
    """
    if path.is_dir():
        return _Folder(path)
    try:
        return _Zip(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise BadCrops(f"{path} is neither a folder nor a zip of crops: {error}; check the path") from error


def read_bounded(files: PictureFiles, name: str, place: str, max_bytes: int) -> bytes:
    """Read a file that may have at most `max_bytes`; `place` is what messages call it.

    Raises:
        BadCrops: when it cannot be read, or has more.
    """
    try:
        content = files.read(name, max_bytes)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # also encrypted zips
        raise BadCrops(f"{place} cannot be read: {error}; replace or remove it") from error
    if len(content) > max_bytes:
        raise BadCrops(f"{place} has more than {max_bytes} bytes, expected a crop; replace or remove it")
    return content


def decode_picture(content: bytes, place: str, max_pixels: int) -> ImageHW3:
    """Decode a picture of at most `max_pixels`; uint8 H x W x 3, BGR. `place` is what messages call it.

    Raises:
        BadCrops: when it cannot be decoded, or has more.
    """
    try:
        with Image.open(io.BytesIO(content)) as header:
            width, height = header.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadCrops(f"{place} is no image that can be read: {error}; replace or remove it") from error
    if width * height > max_pixels:
        raise BadCrops(f"{place} has {width} x {height} pixels, expected at most {max_pixels}; shrink it")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise BadCrops(f"{place} is no image that can be decoded; replace or remove it")
    return image  # type: ignore[return-value]  # cv2's stub says any dtype


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def sizes(self) -> Iterator[tuple[str, int]]:
        for path in self._root.rglob("*"):
            if path.is_file():
                yield path.relative_to(self._root).as_posix(), path.stat().st_size

    def folders(self) -> Iterator[str]:
        return (path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_dir())

    def read(self, name: str, max_bytes: int) -> bytes:
        with (self._root / name).open("rb") as stream:
            return stream.read(max_bytes + 1)

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def sizes(self) -> Iterator[tuple[str, int]]:
        for member in self._archive.infolist():
            if not member.is_dir():
                yield member.filename, member.file_size

    def folders(self) -> Iterator[str]:
        return (member.filename.rstrip("/") for member in self._archive.infolist() if member.is_dir())

    def read(self, name: str, max_bytes: int) -> bytes:
        with self._archive.open(name) as stream:
            return stream.read(max_bytes + 1)

    def close(self) -> None:
        self._archive.close()
