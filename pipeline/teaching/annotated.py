"""Reads pictures with boxes; the formats only differ in how the boxes are written down."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from pipeline.detections import Box
from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching.checking import check_number
from pipeline.teaching.pictures import PICTURE_SIDE, Picture, decode_strictly, shrink, within
from pipeline.teaching.source import SUFFIXES, Source, nearest, open_source

MAX_DOCUMENT_BYTES: Final = 32 << 20
"""Of a file of annotations: COCO's own of 5,000 pictures has 20 MB."""
_ANNOTATION_FOLDER: Final = "annotations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """Is what a format says of one picture."""

    picture: str
    """Its file."""
    size: tuple[int, int] | None
    """Width and height that the boxes are for, where that is said."""
    boxes: tuple[tuple[str, Box], ...]
    """Label and box of every object; left, top, right, bottom in pixels counted from 0."""
    query: bool = False
    """Whether it is held out."""


@dataclass(frozen=True)
class Annotations:
    """Holds files of annotations, and the pictures that they speak of."""

    documents: Source
    names: Sequence[str]
    """Of the files of annotations."""
    pictures: Source

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.pictures.names(SUFFIXES):
            found.setdefault(PurePosixPath(name).name, []).append(name)
        return found

    def read(self, name: str) -> bytes:
        """Read a file of annotations; see `Source.read` for what it raises."""
        return self.documents.read(name, MAX_DOCUMENT_BYTES)

    def find(self, wanted: str, document: str) -> str:
        """Return the file of a picture that a document names, by as much of its path as is the same.

        Raises:
            BadTask: there is none, or several.
        """
        path = PurePosixPath("/" + wanted.replace("\\", "/"))
        found = self._by_name.get(path.name, [])
        exact = [name for name in found if ("/" + name).endswith(str(path))]
        beside = [name for name in found if PurePosixPath(name).parent == PurePosixPath(document).parent]
        for chosen in (exact, beside, found):
            if len(chosen) == 1:
                return chosen[0]
        reason = f"holds {', '.join(found[:3])}, which could all be it" if found else "does not hold it"
        raise BadTask(
            f"{self.documents.place(document)} speaks of a picture {wanted[:200]!r}, and {self.pictures.root} "
            f"{reason}; say by --images where the pictures are"
        )


@contextmanager
def open_annotations(path: Path, images: Path | None, suffix: str) -> Iterator[Annotations]:
    """Open a file of annotations, or a folder or zip of them; the pictures are there too, or in `images`.

    Raises:
        BadTask: there is no such file.
        BadCrops: a folder or zip cannot be read.
    """
    with ExitStack() as stack:
        is_document = path.suffix.lower() == suffix and path.is_file()
        documents = stack.enter_context(open_source(path.parent if is_document else path))
        names = documents.names({suffix})
        if is_document:
            names = [name for name in names if name == path.name]
        if not names:
            raise BadTask(f"{path} holds no annotations, expected files that end in {suffix}; check the path")
        pictures = documents
        if images is not None:
            pictures = stack.enter_context(open_source(images))
        elif is_document and path.parent.name.lower() == _ANNOTATION_FOLDER:
            pictures = stack.enter_context(open_source(path.parent.parent))
        yield Annotations(documents, names, pictures)


def read_annotated(annotations: Annotations, listed: Sequence[Annotated], label: str) -> list[Picture]:
    """Read pictures, with the boxes of one class; those without such a box show what is not of it.

    Raises:
        BadTask: no box is of the class; there are too many pictures; one cannot be decoded, or has a box outside; says
            which.
        BadCrops: a file cannot be read.
    """
    labels = {name for one in listed for name, _ in one.boxes}
    if label not in labels:
        raise BadTask(
            f"no box in {annotations.documents.root} is of {label!r}; {nearest(label, labels)}. Say by --label what "
            "the class is called there"
        )
    check_number(TaskKind.DETECTION, len(listed))
    return [
        _read(annotations.pictures, one, [box for name, box in one.boxes if name == label]) for one in listed
    ]


def _read(pictures: Source, one: Annotated, boxes: Collection[Box]) -> Picture:
    place = pictures.place(one.picture)
    image = decode_strictly(pictures.read(one.picture), place, one.size)
    small = shrink(image, PICTURE_SIDE)
    clipped = []
    for box in boxes:
        inside = within(box, image.size)
        if inside is None:
            raise BadTask(
                f"{place} has a box {list(box)}, which is no box inside its {image.width} x {image.height} pixels "
                "(left, top, right, bottom); correct or remove it"
            )
        left, top, right, bottom = inside
        scale_x, scale_y = small.scale_x, small.scale_y
        clipped.append((left * scale_x, top * scale_y, right * scale_x, bottom * scale_y))
    return Picture(place=place, jpeg=small.jpeg, boxes=tuple(clipped), query=one.query)
