"""Reads COCO: one JSON file for many pictures (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from pipeline.detections import Box
from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching.annotated import Annotated, Annotations, open_annotations, read_annotated
from pipeline.teaching.checking import check_number
from pipeline.teaching.pictures import Picture
from pipeline.teaching.source import is_held_out


class _Image(msgspec.Struct, frozen=True):
    id: int | str
    file_name: str
    width: int = 0
    height: int = 0


class _Category(msgspec.Struct, frozen=True):
    id: int | str
    name: str


class _Annotation(msgspec.Struct, frozen=True):
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float] | None = None
    iscrowd: int | bool = 0


class _Document(msgspec.Struct, frozen=True):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path, label: str, images: Path | None = None) -> list[Picture]:
    """Read pictures with boxes of the class `label` from COCO's JSON, or a folder or zip that holds some.

    Boxes around crowds are left out. The pictures of a file that is called `val` or alike (`instances_val.json`), or
    lies in such a folder, are held out.

    Raises:
        BadTask: a file is no COCO annotation, a picture is missing or not what was annotated, nothing is of the class,
            or there is too much; says where.
        BadCrops: a folder or zip cannot be read.
    """
    with open_annotations(path, images, ".json") as annotations:
        listed: list[Annotated] = []
        for name in annotations.names:
            document = _parse(annotations, name)
            check_number(TaskKind.DETECTION, len(listed) + len(document.images))
            listed += _annotated(annotations, name, document)
        return read_annotated(annotations, listed, label)


def _parse(annotations: Annotations, name: str) -> _Document:
    try:
        return msgspec.json.decode(annotations.read(name), type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadTask(
            f"{annotations.documents.place(name)} is no COCO annotation: {error}; expected an object with `images`, "
            "`annotations` and `categories`"
        ) from error


def _annotated(annotations: Annotations, name: str, document: _Document) -> Iterator[Annotated]:
    place = annotations.documents.place(name)
    labels = {category.id: category.name for category in document.categories}
    boxes: dict[int | str, list[tuple[str, Box]]] = {image.id: [] for image in document.images}
    for annotation in document.annotations:
        if annotation.image_id not in boxes or annotation.category_id not in labels:
            raise BadTask(
                f"{place} has an annotation of image {annotation.image_id!r} and category {annotation.category_id!r}, "
                "which it does not list; export it again"
            )
        if annotation.bbox is not None and not annotation.iscrowd:
            left, top, width, height = annotation.bbox
            box = (left, top, left + width, top + height)
            boxes[annotation.image_id].append((labels[annotation.category_id], box))
    if len(boxes) < len(document.images):
        raise BadTask(f"{place} lists two images under one id; export it again")
    query = _is_held_out(name)
    for image in document.images:
        yield Annotated(
            picture=annotations.find(image.file_name, name),
            size=(image.width, image.height) if image.width and image.height else None,
            boxes=tuple(boxes[image.id]),
            query=query,
        )


def _is_held_out(name: str) -> bool:
    path = PurePosixPath(name)
    words = re.split(r"[^a-z]+", path.stem.lower())
    return is_held_out([*path.parts[:-1], *words])
