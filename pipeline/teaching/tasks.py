"""Makes a task of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pipeline.errors import BadTask
from pipeline.records import TaskExample, TaskKind, TaskRecord, encode
from pipeline.teaching.checking import check_number, check_task, people_across_cameras, say_the_same
from pipeline.teaching.holding_out import hold_out
from pipeline.teaching.identity import task_digest
from pipeline.teaching.pictures import Picture

MAX_TASK_BYTES: Final = 7_990_000
"""Of a task's record: what a log takes of one, less its key."""


def make_task(kind: TaskKind, name: str, pictures: Sequence[Picture], *, taught_ns: int) -> TaskRecord:
    """Hold queries out (see `hold_out`), drop what is there twice, and return the task, checked.

    Args:
        kind: what the pictures teach.
        name: the class, or the camera.
        pictures: the examples.
        taught_ns: now, in Unix time.

    Raises:
        BadTask: `check_task` refuses it, or it does not fit into a record of the log.
    """
    check_number(kind, len(pictures))
    held = hold_out(_distinct(kind, pictures), _stratum(kind, name, pictures))
    examples = tuple(map(_example, held))
    task = TaskRecord(
        kind=kind, name=name, digest=task_digest(examples), taught_ns=taught_ns, examples=examples
    )
    check_task(task, [picture.place for picture in held])
    if (num_bytes := len(encode(task))) > MAX_TASK_BYTES:
        fitting = len(examples) * MAX_TASK_BYTES // num_bytes
        raise BadTask(
            f"the {len(examples)} examples of {name!r} make a record of {num_bytes} bytes, the log takes at most "
            f"{MAX_TASK_BYTES}: give about {fitting} of them, or smaller pictures"
        )
    return task


def forget(kind: TaskKind, name: str, *, taught_ns: int) -> TaskRecord:
    """Return the record that has a name forgotten."""
    return TaskRecord(kind=kind, name=name, digest=task_digest(()), taught_ns=taught_ns)


def _example(picture: Picture) -> TaskExample:
    return TaskExample(
        image=picture.jpeg,
        label=picture.label,
        camera=picture.camera,
        boxes=picture.boxes,
        query=picture.query,
    )


def _distinct(kind: TaskKind, pictures: Sequence[Picture]) -> list[Picture]:
    """Leave out what says of a picture what is said of it already."""
    kept: dict[tuple[bytes, bool], list[Picture]] = {}
    for picture in sorted(pictures, key=lambda one: one.place):
        same = kept.setdefault((picture.jpeg, picture.query), [])
        if not any(say_the_same(kind, _example(one), _example(picture)) for one in same):
            same.append(picture)
    return [picture for same in kept.values() for picture in same]


def _stratum(kind: TaskKind, name: str, pictures: Sequence[Picture]) -> Callable[[Picture], str]:
    """Say which pictures are of a sort, so that some of each are held out."""
    if kind is TaskKind.CLASS:
        return lambda picture: picture.label
    if kind is TaskKind.DETECTION:
        return lambda picture: "with boxes" if picture.boxes else "without"
    paired = people_across_cameras(name, [(picture.label, picture.camera) for picture in pictures])
    return lambda picture: "in two cameras" if picture.label in paired else "in one"
