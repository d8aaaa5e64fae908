"""Reads XML that nobody vouches for: no document types, no entities, bounded in depth and size."""

from __future__ import annotations

import math
from typing import Any, Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from pipeline.errors import BadTask

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 1_000_000
MAX_SIDE: Final = 1e6


def parse_xml(content: bytes, place: str) -> Element:
    """Parse a document and return its root; `place` is what messages call it.

    Raises:
        BadTask: it is not well formed, declares a document type (with which entities blow up or read files), or is too
            deep or too long.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = num_elements = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, num_elements
        depth, num_elements = depth + 1, num_elements + 1
        if depth > MAX_DEPTH or num_elements > MAX_ELEMENTS:
            raise BadTask(
                f"{place} is no file of annotations: more than {MAX_DEPTH} levels or {MAX_ELEMENTS} elements"
            )
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: Any) -> None:
        raise BadTask(
            f"{place} declares a document type, which no annotation needs; remove its <!DOCTYPE ...>"
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # also an encoding that Python does not know
        raise BadTask(f"{place} is no XML that can be read: {error}; export it again") from error
    return builder.close()


def number_of(text: str | None, what: str, place: str) -> float:
    """Read a finite number; raises BadTask where there is none."""
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadTask(f"{place}: {what} is {(text or '')[:40]!r}, expected a number; export it again")
    return number


def size_of(width: str | None, height: str | None, place: str) -> tuple[int, int] | None:
    """Read the size of a picture; None where none is stated, which some tools write as 0."""
    if width is None or height is None:
        return None
    size = (number_of(width, "width", place), number_of(height, "height", place))
    if not all(0 <= side < MAX_SIDE for side in size):
        raise BadTask(f"{place}: the size of a picture is {width} x {height}; export it again")
    return None if 0 in size else (int(size[0]), int(size[1]))
