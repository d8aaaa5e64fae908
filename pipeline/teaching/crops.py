"""Reads crops of a class, and of what is not it, from folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching.checking import check_name, check_number
from pipeline.teaching.pictures import Picture, shrink_crop
from pipeline.teaching.source import (
    QUERY_FOLDERS,
    SUFFIXES,
    SUPPORT_FOLDERS,
    Source,
    is_held_out,
    nearest,
    open_source,
)

OTHER: Final = "_other"
"""The folder of what is none of the classes."""


class _Crop(NamedTuple):
    source: Source
    name: str
    folders: tuple[str, ...]
    """That it lies in, without those that say whether it is held out."""
    query: bool


def read_crops(crops: Path, name: str, against: Path | None = None) -> list[Picture]:
    """Read the crops of a class from a folder or zip: `CLASS/*.jpg` for each class, or only those of the class itself.

    What lies in a folder `_other`, or anywhere in `against`, is none of the classes. What lies in a folder `query`,
    `val`, `valid`, `validation` or `test` is held out.

    Raises:
        BadTask: there is no such class, too much, or a picture cannot be decoded; says which.
        BadCrops: a folder or zip cannot be read.
    """
    check_name(TaskKind.CLASS, name)
    with ExitStack() as stack:
        listed = list(_list(stack.enter_context(open_source(crops))))
        labelled = list(_labelled(crops, name, _unwrapped(listed, name)))
        if against is not None:
            labelled += [("", crop) for crop in _list(stack.enter_context(open_source(against)))]
        check_number(TaskKind.CLASS, len(labelled))
        return [_read(label, crop) for label, crop in labelled]


def _list(source: Source) -> Iterator[_Crop]:
    for name in source.names(SUFFIXES):
        folders = PurePosixPath(name).parts[:-1]
        rest = tuple(one for one in folders if one.lower() not in QUERY_FOLDERS | SUPPORT_FOLDERS)
        yield _Crop(source, name, rest, is_held_out(folders))


def _unwrapped(crops: Sequence[_Crop], name: str) -> Sequence[_Crop]:
    """Leave away a folder that all the others lie in, as zips often have one."""
    while len({crop.folders[:1] for crop in crops}) == 1 and crops[0].folders[:1] not in {
        (),
        (name,),
        (OTHER,),
    }:
        if not all(len(crop.folders) > 1 for crop in crops):
            break
        crops = [crop._replace(folders=crop.folders[1:]) for crop in crops]
    return crops


def _labelled(root: Path, name: str, crops: Sequence[_Crop]) -> Iterator[tuple[str, _Crop]]:
    classes = {crop.folders[0] for crop in crops if crop.folders}
    loose = [crop.name for crop in crops if not crop.folders]
    if loose and classes - {OTHER}:
        raise BadTask(
            f"{root} holds {loose[0]} beside the folder {sorted(classes - {OTHER})[0]!r}: put every crop into the "
            f"folder of its class, or only those of {name!r} into one folder"
        )
    if not loose and name not in classes:
        raise BadTask(
            f"{root} holds no crops of {name!r}, expected pictures in {root / name}; {nearest(name, classes)}"
        )
    for crop in crops:
        own = crop.folders[0] if crop.folders else name
        yield "" if own == OTHER else own, crop


def _read(label: str, crop: _Crop) -> Picture:
    place = crop.source.place(crop.name)
    jpeg = shrink_crop(crop.source.read(crop.name), place)
    return Picture(place=place, jpeg=jpeg, label=label, query=crop.query)
