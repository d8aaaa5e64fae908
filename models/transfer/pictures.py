"""Reads labelled pictures, a folder for each class, from a folder or in place from a zip, and splits them.

`CLASS/*.jpg`, at any depth below the class. A folder `val` of class folders is what is held out; without one a share of
each class is. `train` beside `val` holds what is learned from, if it is there. One folder around them all is seen
through.

Legend of shape suffixes: N pictures, H height, W width.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.detector import ImageHW3
from models.errors import BadCrops
from models.picture_files import (
    IMAGE_SUFFIXES,
    PictureFiles,
    decode_picture,
    is_hidden,
    open_picture_files,
    read_bounded,
)
from models.reid.pixels import fit

TRAIN: Final = "train"
VALIDATION: Final = "val"
MIN_TRAIN: Final = 2
"""Pictures a class to learn from."""
MAX_CLASSES: Final = 1000
MAX_PICTURES: Final = 200_000
MAX_HELD_BYTES: Final = 16 << 30
"""Of pixels in memory."""
MAX_BYTES: Final = 32 << 20
"""Of one file; a larger one is not read into memory."""
MAX_PIXELS: Final = 64 << 20
"""Of one picture; checked in its header."""


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Holds pictures at the network's input size, and the number of each one's class."""

    pixels_NHW3: NDArray[np.uint8]
    """BGR."""
    labels_N: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassData:
    """Holds what is learned from and what is held out."""

    classes: tuple[str, ...]
    """Sorted; a label is the place in it."""
    train: LabelledPictures
    held_out: LabelledPictures
    digest: str
    """SHA-256 over classes, pictures and split."""


class _Picture(NamedTuple):
    name: str
    label: str
    is_held_out: bool
    sha256: str = ""


class _Layout(NamedTuple):
    """Says where in a path the class stands."""

    num_outer: int
    """Folders around all classes: 1 for the single top folder of many a zip, else 0."""
    has_validation: bool
    has_train: bool
    """Whether pictures in neither `train` nor `val` are left aside."""

    def place(self, parts: Sequence[str]) -> tuple[str, bool] | None:
        """Return the class and whether it is held out, of a folder's parts; None where that is no class's folder."""
        inner = parts[self.num_outer :]
        is_held_out = self.has_validation and inner[:1] == (VALIDATION,)
        is_train = self.has_train and inner[:1] == (TRAIN,)
        if is_held_out or is_train:
            inner = inner[1:]
        elif self.has_train:
            return None
        return (inner[0], is_held_out) if inner else None


def load_class_data(path: Path, size: int, *, held_out: float, seed: int) -> ClassData:
    """Read, split and decode pictures, stretched to `size` x `size`: of a crop all counts, so nothing is cut off.

    Args:
        path: a folder or a zip.
        size: side of the pictures in pixels.
        held_out: share of each class that is held out where no folder `val` says what is.
        seed: of the split.

    Raises:
        BadCrops: fewer than two classes, a class without pictures or with too few, a picture that cannot be decoded
            or that stands in two classes or on both sides of the split; each is named.
    """
    files = open_picture_files(path)
    try:
        pictures = _distinct(path, files, _list(path, files))
        if not any(picture.is_held_out for picture in pictures):
            pictures = _split(pictures, held_out, seed)
        classes = _checked_classes(path, pictures)
        if (num_bytes := len(pictures) * size * size * 3) > MAX_HELD_BYTES:
            raise BadCrops(
                f"{path} takes {num_bytes >> 30} GiB at {size} x {size} pixels, expected at most "
                f"{MAX_HELD_BYTES >> 30}; lower the size or give fewer pictures"
            )
        return _decode(path, files, pictures, classes, size)
    finally:
        files.close()


def _list(path: Path, files: PictureFiles) -> list[_Picture]:
    folder_of: dict[str, tuple[str, ...]] = {}
    for name, _ in files.sizes():
        pure = PurePosixPath(name)
        if pure.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name):
            folder_of[name] = pure.parts[:-1]
            if len(folder_of) > MAX_PICTURES:
                raise BadCrops(f"{path} holds more than {MAX_PICTURES} pictures; give fewer")
    if not folder_of:
        raise BadCrops(f"{path} holds no pictures, expected a folder of them for each class: CLASS/*.jpg")
    layout = _layout(list(folder_of.values()))
    pictures = []
    for name in sorted(folder_of):
        if (place := layout.place(folder_of[name])) is not None:
            pictures.append(_Picture(name, *place))
        elif not layout.has_train:
            raise BadCrops(f"{name} in {path} is in no class, expected CLASS/{name}; move or remove it")
    full = {(picture.label, picture.is_held_out) for picture in pictures}
    for folder in sorted(files.folders()):
        place = layout.place(PurePosixPath(folder).parts)
        if not is_hidden(folder) and (place or min(full)) not in full:
            raise BadCrops(f"{folder} in {path} holds no pictures; add some, or remove the folder")
    return pictures


def _layout(folders: Sequence[tuple[str, ...]]) -> _Layout:
    num_outer = int(len({parts[:1] for parts in folders}) == 1 and all(len(parts) > 1 for parts in folders))
    inner = [parts[num_outer:] for parts in folders]
    splits = {
        name: any(parts[:1] == (name,) for parts in inner)
        and all(len(parts) > 1 for parts in inner if parts[:1] == (name,))
        for name in (TRAIN, VALIDATION)
    }  # a folder `val` with pictures right in it is a class of that name
    return _Layout(num_outer, splits[VALIDATION], splits[VALIDATION] and splits[TRAIN])


def _distinct(path: Path, files: PictureFiles, pictures: Sequence[_Picture]) -> list[_Picture]:
    """Take each picture once: a copy on the other side of the split would be learned by heart."""
    seen: dict[str, _Picture] = {}
    for picture in pictures:
        content = read_bounded(files, picture.name, f"{picture.name} in {path}", MAX_BYTES)
        sha256 = hashlib.sha256(content).hexdigest()
        first = seen.setdefault(sha256, picture._replace(sha256=sha256))
        if (first.label, first.is_held_out) != (picture.label, picture.is_held_out):
            raise BadCrops(
                f"{first.name} and {picture.name} in {path} are the same picture, expected it in one class and on one "
                "side of the split; remove one"
            )
    return list(seen.values())


def _split(pictures: Sequence[_Picture], share: float, seed: int) -> list[_Picture]:
    """Hold out a share of each class, drawn by the seed."""
    random = np.random.default_rng(seed)
    held_out: set[str] = set()
    for label in sorted({picture.label for picture in pictures}):
        names = [picture.name for picture in pictures if picture.label == label]
        held_out.update(random.permutation(names)[: max(1, round(share * len(names)))].tolist())
    return [picture._replace(is_held_out=picture.name in held_out) for picture in pictures]


def _checked_classes(path: Path, pictures: Sequence[_Picture]) -> tuple[str, ...]:
    train = Counter(picture.label for picture in pictures if not picture.is_held_out)
    held_out = Counter(picture.label for picture in pictures if picture.is_held_out)
    classes = tuple(sorted(train | held_out))
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise BadCrops(
            f"{path} holds {len(classes)} class{'es' * (len(classes) != 1)} ({', '.join(classes[:3])}), expected 2 to "
            f"{MAX_CLASSES}; add a folder of pictures for each other class, if only `other`"
        )
    for label in classes:
        if train[label] and held_out[label] and train[label] >= MIN_TRAIN:
            continue
        near = difflib.get_close_matches(label, [other for other in classes if other != label], n=1)
        raise BadCrops(
            f"class {label!r} in {path} has {train[label]} pictures to learn from and {held_out[label]} held out, "
            f"expected at least {MIN_TRAIN} and 1; " + (f"did you mean {near[0]!r}?" if near else "add some")
        )
    return classes


def _decode(
    path: Path, files: PictureFiles, pictures: Sequence[_Picture], classes: tuple[str, ...], size: int
) -> ClassData:
    pixels: dict[bool, list[ImageHW3]] = {False: [], True: []}
    labels: dict[bool, list[int]] = {False: [], True: []}
    for picture in pictures:
        place = f"{picture.name} in {path}"
        image = decode_picture(read_bounded(files, picture.name, place, MAX_BYTES), place, MAX_PIXELS)
        pixels[picture.is_held_out].append(fit(image, (size, size)))
        labels[picture.is_held_out].append(classes.index(picture.label))
    train, held_out = (
        LabelledPictures(np.stack(pixels[side]), np.array(labels[side], np.int64)) for side in (False, True)
    )
    lines = sorted(f"{picture.sha256} {picture.label} {picture.is_held_out}" for picture in pictures)
    return ClassData(classes, train, held_out, hashlib.sha256("\n".join(lines).encode()).hexdigest())
