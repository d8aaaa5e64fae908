"""Reads crops of people whom several cameras have seen, named as in Market-1501 or CUHK03."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from models.reid.dataset import JUNK, parse_crop
from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching.checking import check_name, check_number
from pipeline.teaching.pictures import Picture, shrink_crop
from pipeline.teaching.source import SUFFIXES, Source, is_held_out, nearest, open_source


class _Pair(NamedTuple):
    name: str
    who: str
    camera: str


def read_pairs(path: Path, camera: str, number: str = "") -> list[Picture]:
    """Read crops of people from a folder or zip; names are `ID_cCsS_FRAME_BB.jpg` or `ID_NN.jpg`.

    What lies in a folder `query`, `val`, `valid`, `validation` or `test` is held out.

    Args:
        path: the folder or zip.
        camera: the camera that is taught, as the site calls it.
        number: of that camera in the names; empty where the site calls it by its number too.

    Raises:
        BadTask: a name says neither who nor which camera, that camera has no crops, there are too many, or one cannot
            be decoded; says which.
        BadCrops: the folder or zip cannot be read.
    """
    check_name(TaskKind.CAMERA, camera)
    number = number or camera
    with open_source(path) as source:
        pairs = list(_list(source))
        numbers = {pair.camera for pair in pairs}
        if number not in numbers:
            raise BadTask(
                f"{path} holds no crops of camera {number!r}; {nearest(number, numbers)}. Say by --number which of "
                f"them is {camera!r}"
            )
        if camera != number and camera in numbers:
            raise BadTask(
                f"{path} has another camera {camera!r} beside {number!r}, which is to be {camera!r}: give the camera's "
                "own number"
            )
        check_number(TaskKind.CAMERA, len(pairs))
        return [_read(source, pair, camera if pair.camera == number else pair.camera) for pair in pairs]


def _list(source: Source) -> Iterator[_Pair]:
    for name in source.names(SUFFIXES):
        crop = parse_crop(name)
        if crop is None:
            raise BadTask(
                f"{source.place(name)} does not say who is on it and which camera saw it, expected a name "
                "ID_cCsS_FRAME_BB.jpg (Market-1501) or ID_NN.jpg with NN from 00 to 09 (CUHK03); rename or remove it"
            )
        if crop.identity != JUNK and not crop.is_distractor:
            yield _Pair(name, crop.identity, crop.camera)


def _read(source: Source, pair: _Pair, camera: str) -> Picture:
    place = source.place(pair.name)
    query = is_held_out(PurePosixPath(pair.name).parts[:-1])
    return Picture(
        place=place, jpeg=shrink_crop(source.read(pair.name), place), label=pair.who, camera=camera, query=query,
        group=pair.who,
    )  # fmt: skip
