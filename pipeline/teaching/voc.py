"""Reads Pascal VOC: an XML file a picture (Everingham et al., IJCV 2010; annotations as in VOC2012)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final
from xml.etree.ElementTree import Element

from pipeline.detections import Box
from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching.annotated import Annotated, Annotations, open_annotations, read_annotated
from pipeline.teaching.checking import check_number
from pipeline.teaching.pictures import Picture
from pipeline.teaching.source import SUFFIXES, is_held_out
from pipeline.teaching.xml import number_of, parse_xml, size_of

FIRST_PIXEL: Final = 1.0
"""VOC counts pixels from 1, and the last one belongs to the box."""


def read_voc(path: Path, label: str, images: Path | None = None) -> list[Picture]:
    """Read pictures with boxes of the class `label` from a folder or zip of VOC files, or a single one.

    Boxes marked as difficult count like others. What lies in a folder `val` or of a like name is held out.

    Raises:
        BadTask: a file is no VOC annotation, its picture is missing or not what was annotated, nothing is of the
            class, or there is too much; says where.
        BadCrops: a folder or zip cannot be read.
    """
    with open_annotations(path, images, ".xml") as annotations:
        check_number(TaskKind.DETECTION, len(annotations.names))
        listed = [_annotated(annotations, name) for name in annotations.names]
        return read_annotated(annotations, listed, label)


def _annotated(annotations: Annotations, name: str) -> Annotated:
    place = annotations.documents.place(name)
    root = parse_xml(annotations.read(name), place)
    if root.tag != "annotation":
        raise BadTask(
            f"{place} begins with <{root.tag[:40]}>, expected <annotation> as Pascal VOC has it; remove it, or give "
            "the format that it is in (--cvat)"
        )
    return Annotated(
        picture=_picture(annotations, name, root.findtext("filename", "").strip()),
        size=size_of(root.findtext("size/width"), root.findtext("size/height"), place),
        boxes=tuple((_label(one, place), _box(one, place)) for one in root.findall("object")),
        query=is_held_out(PurePosixPath(name).parts[:-1]),
    )


def _picture(annotations: Annotations, name: str, file_name: str) -> str:
    """Find the picture by the name in the file, or by that of the file: who renames pictures forgets the former."""
    stem = PurePosixPath(name).stem
    wanted = [file_name] if file_name else []
    for one in [*wanted, *(stem + suffix for suffix in sorted(SUFFIXES))]:
        try:
            return annotations.find(one, name)
        except BadTask:
            continue
    return annotations.find(file_name or f"{stem}.jpg", name)


def _label(element: Element, place: str) -> str:
    label = element.findtext("name", "").strip()
    if not label:
        raise BadTask(f"{place} has an <object> without <name>; say what it is, or remove it")
    return label


def _box(element: Element, place: str) -> Box:
    left, top, right, bottom = (
        number_of(element.findtext(f"bndbox/{side}"), f"{side} of an object", place)
        for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return left - FIRST_PIXEL, top - FIRST_PIXEL, right, bottom
