"""Reads "CVAT for images 1.1": one XML file for many pictures (https://docs.cvat.ai/docs/manual/advanced/xml_format)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from pipeline.detections import Box
from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching.annotated import Annotated, Annotations, open_annotations, read_annotated
from pipeline.teaching.checking import check_number
from pipeline.teaching.pictures import Picture
from pipeline.teaching.source import is_held_out
from pipeline.teaching.xml import number_of, parse_xml, size_of

_SHAPES: Final = frozenset({"polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton"})
_EXPORT: Final = "export the task from CVAT as `CVAT for images 1.1`"


def read_cvat(path: Path, label: str, images: Path | None = None) -> list[Picture]:
    """Read pictures with boxes of the class `label` from CVAT's annotations.xml, or the folder or zip that it is in.

    Of a box that is turned, the upright box around it is taken. Pictures of a subset `val` or of a like name are held
    out.

    Raises:
        BadTask: it is no such export, marks the class by other shapes than boxes, a picture is missing or not what was
            annotated, nothing is of the class, or there is too much; says where.
        BadCrops: a folder or zip cannot be read.
    """
    with open_annotations(path, images, ".xml") as annotations:
        listed: list[Annotated] = []
        for name in annotations.names:
            place = annotations.documents.place(name)
            elements = _images(parse_xml(annotations.read(name), place), place)
            check_number(TaskKind.DETECTION, len(listed) + len(elements))
            listed += [_annotated(annotations, name, element, label) for element in elements]
        return read_annotated(annotations, listed, label)


def _images(root: Element, place: str) -> list[Element]:
    if root.tag != "annotations" or root.find("track") is not None:
        found = "tracks of a video" if root.find("track") is not None else f"<{root.tag[:40]}>"
        raise BadTask(f"{place} holds {found}, expected <annotations> of <image>; {_EXPORT}")
    return root.findall("image")


def _annotated(annotations: Annotations, document: str, image: Element, label: str) -> Annotated:
    place = f"picture {image.get('name', '')[:200]!r} of {annotations.documents.place(document)}"
    for shape in image:
        if shape.tag in _SHAPES and shape.get("label") == label:
            raise BadTask(f"{place} marks {label!r} by a {shape.tag}, expected boxes; draw a box around it")
    return Annotated(
        picture=annotations.find(image.get("name", ""), document),
        size=size_of(image.get("width"), image.get("height"), place),
        boxes=tuple(_boxes(image, place)),
        query=is_held_out([image.get("subset", "")]),
    )


def _boxes(image: Element, place: str) -> Iterator[tuple[str, Box]]:
    for element in image.findall("box"):
        left, top, right, bottom = (
            number_of(element.get(side), f"{side} of a box", place) for side in ("xtl", "ytl", "xbr", "ybr")
        )
        degrees = number_of(element.get("rotation", "0"), "rotation of a box", place)
        yield element.get("label", ""), _upright((left, top, right, bottom), math.radians(degrees))


def _upright(box: Box, turned_by: float) -> Box:
    """Return the upright box around one that is turned about its middle."""
    if not turned_by:
        return box
    left, top, right, bottom = box
    cosine, sine = abs(math.cos(turned_by)), abs(math.sin(turned_by))
    width, height = right - left, bottom - top
    half_x, half_y = (width * cosine + height * sine) / 2, (width * sine + height * cosine) / 2
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    return middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y
