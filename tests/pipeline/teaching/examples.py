"""Makes small pictures, files of annotations, and tasks, for the tests of teaching."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.records import TaskExample, TaskKind, TaskRecord
from pipeline.teaching import Picture, task_digest


def image(seed: int, width: int = 24, height: int = 32) -> Image.Image:
    """A smooth random picture: another one for every seed."""
    rough = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(rough).resize((width, height))


def encoded(seed: int, width: int = 24, height: int = 32, form: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    image(seed, width, height).save(stream, form)
    return stream.getvalue()


def write(path: Path, seed: int, width: int = 24, height: int = 32) -> Path:
    """Write a picture file; its suffix says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image(seed, width, height).save(path)
    return path


def size_of(jpeg: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(jpeg)) as opened:
        assert opened.format == "JPEG"
        return opened.size


def picture(place: str, label: str = "", **more: object) -> Picture:
    return Picture(place=place, jpeg=place.encode(), label=label, **more)


def task(*examples: TaskExample, kind: TaskKind = TaskKind.CLASS, name: str = "courier") -> TaskRecord:
    return TaskRecord(kind=kind, name=name, digest=task_digest(examples), taught_ns=1, examples=examples)


def class_examples(name: str = "courier") -> list[TaskExample]:
    """A sound task of a class: two crops of each to learn from, one of each held out."""
    return [
        TaskExample(image=encoded(3 * side + number), label=(name, "")[side], query=number == 2)
        for side in range(2)
        for number in range(3)
    ]


BOX = (4.0, 5.0, 14.0, 25.0)


def detection_examples() -> list[TaskExample]:
    return [TaskExample(image=encoded(number), boxes=(BOX,), query=number == 2) for number in range(3)]


def camera_examples() -> list[TaskExample]:
    """Three people, each seen once at the door and once in the yard; the last one is held out."""
    return [
        TaskExample(
            image=encoded(10 * who + seen),
            label=f"person {who}",
            camera=("door", "yard")[seen],
            query=who == 2,
        )
        for who in range(3)
        for seen in range(2)
    ]
