"""Checks a task, also one that somebody else put on the topic: what passes can be learned from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from pipeline.errors import BadFrame, BadTask
from pipeline.frames import check_jpeg, decode
from pipeline.records import TaskExample, TaskKind, TaskRecord
from pipeline.teaching.identity import task_digest
from pipeline.teaching.pictures import PICTURE_SIDE, overlap, within

MAX_EXAMPLES: Final = 200
SAME_BOX: Final = 0.5
"""Intersection over union from which two boxes are taken for one that was drawn twice."""
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9._-])?")
_CAMERA: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_WHO: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_SIDES: Final = ((False, "to learn from"), (True, "held out as queries"))


def check_task(task: TaskRecord, places: Sequence[str] = ()) -> None:
    """Refuse a task that cannot be learned from; one without examples has a name forgotten, and passes.

    Args:
        task: to be learned.
        places: where each example is from, for messages; without it they are numbered.

    Raises:
        BadTask: the name is not allowed; there are more than `MAX_EXAMPLES`; the digest is not of these examples; a
            picture does not decode, or is there under two labels; a label, camera or box is missing or makes no sense;
            or the examples to learn from, or those held out, lack what the kind needs. Says which and what to do.
    """
    check_name(task.kind, task.name)
    check_number(task.kind, len(task.examples))
    if task.digest != task_digest(task.examples):
        raise BadTask(
            f"task {task.name!r} has the digest {task.digest[:12]!r}, its examples have "
            f"{task_digest(task.examples)[:12]!r}: it was altered on its way; teach it again"
        )
    if not task.examples:
        return
    named = [
        (places[index] if places else f"example {index + 1}", example)
        for index, example in enumerate(task.examples)
    ]
    for place, example in named:
        _check_fields(task.kind, place, example)
    _check_contradictions(task.kind, named)
    for query, words in _SIDES:
        _check_side(task, [example for example in task.examples if example.query is query], words)
    if task.kind is TaskKind.CAMERA:
        _check_people_apart(task)
    for place, example in named:
        _check_image(place, example)


def check_name(kind: TaskKind, name: str) -> None:
    """Refuse a name that could not be told, or not be put into file names; raises BadTask."""
    if kind is TaskKind.CAMERA:
        if not _CAMERA.fullmatch(name):
            raise BadTask(f"{name[:64]!r} is no camera's id: give one of the site file's, under `cameras`")
    elif not _NAME.fullmatch(name):
        raise BadTask(
            f"{name[:64]!r} is not allowed as the name of a class; use 1 to 64 letters, digits, spaces, dots, dashes "
            "and underscores, a letter or digit first"
        )


def check_name_is_free(
    task: TaskRecord, known: Collection[str], taught: Mapping[tuple[TaskKind, str], str], *, replace: bool
) -> None:
    """Refuse to teach a class whose name means something already.

    Args:
        task: to be taught.
        known: classes of the detector.
        taught: what was taught at the site, by kind and name, and in words when.
        replace: whether what was taught under the same kind and name may be taught anew.

    Raises:
        BadTask: the detector knows the class, another kind of task has taught it, or this kind has and `replace` is
            not given. Upper and lower case make no difference.
    """
    if task.kind is not TaskKind.CAMERA:
        if clash := _same(task.name, known):
            raise BadTask(
                f"the detector knows a class {clash!r} already, so none can be taught under the name {task.name!r}: "
                "list it under detector.classes in the site file, or choose another name"
            )
        for kind, name in taught:
            if _same(task.name, [name]) and kind not in (task.kind, TaskKind.CAMERA):
                raise BadTask(
                    f"{name!r} is taught as a {kind.value} task already; choose another name, or first "
                    f"`camweave teach forget {name!r}`"
                )
    if (when := taught.get((task.kind, task.name))) is not None and not replace:
        raise BadTask(
            f"{task.name!r} was taught already ({when}); give --replace to teach it anew with these examples alone"
        )


def check_number(kind: TaskKind, num_examples: int) -> None:
    """Refuse more examples than are learned while serving; raises BadTask."""
    if num_examples > MAX_EXAMPLES:
        trainer = "embedder" if kind is TaskKind.CAMERA else "transfer"
        raise BadTask(
            f"{num_examples} examples are more than the {MAX_EXAMPLES} that are learned while the site runs: give the "
            f"most telling ones; that many belong to `camweave train {trainer}`"
        )


def people_across_cameras(camera: str, seen: Collection[tuple[str, str]]) -> set[str]:
    """Return who was seen in `camera` and in another one too, of those seen as (who, in which camera)."""
    here = {who for who, where in seen if where == camera}
    return here & {who for who, where in seen if where != camera}


def say_the_same(kind: TaskKind, one: TaskExample, other: TaskExample) -> bool:
    """Tell whether two examples say the same of a picture; boxes drawn twice need only overlap by `SAME_BOX`."""
    if one.label != other.label or (kind is TaskKind.CAMERA and one.camera != other.camera):
        return False
    return one.boxes == other.boxes or all(
        any(overlap(box, like) >= SAME_BOX for like in there)
        for here, there in ((one.boxes, other.boxes), (other.boxes, one.boxes))
        for box in here
    )


def _same(name: str, others: Collection[str]) -> str:
    return next((other for other in others if other.casefold() == name.casefold()), "")


def _check_fields(kind: TaskKind, place: str, example: TaskExample) -> None:
    if kind is not TaskKind.DETECTION and example.boxes:
        raise BadTask(
            f"{place} has boxes, expected a crop of one object; teach it as a detection task instead"
        )
    if kind is TaskKind.CLASS and example.label and not _NAME.fullmatch(example.label):
        raise BadTask(
            f"{place} has the label {example.label[:64]!r}; use 1 to 64 letters, digits, spaces, dots, dashes and "
            "underscores"
        )
    if kind is TaskKind.CAMERA and not (_WHO.fullmatch(example.label) and _CAMERA.fullmatch(example.camera)):
        raise BadTask(
            f"{place} does not say who is on it and which camera saw it (got {example.label[:64]!r} and "
            f"{example.camera[:64]!r}), expected both; without them it shows nothing about a camera"
        )


def _check_contradictions(kind: TaskKind, named: Sequence[tuple[str, TaskExample]]) -> None:
    first: dict[bytes, tuple[str, TaskExample]] = {}
    for place, example in named:
        before, same = first.setdefault(example.image, (place, example))
        if not say_the_same(kind, same, example):
            raise BadTask(
                f"{before} and {place} are the same picture, {_said_of(same)} in one and {_said_of(example)} in the "
                "other: keep the one that is right"
            )
        if same.query != example.query:
            raise BadTask(
                f"{before} and {place} are the same picture, once to learn from and once held out to judge by: keep "
                "it in one of the two"
            )


def _said_of(example: TaskExample) -> str:
    if example.boxes:
        return f"with boxes {list(example.boxes)}"
    return f"of {example.label or 'no taught class'!r}" + (
        f" in {example.camera!r}" if example.camera else ""
    )


def _check_side(task: TaskRecord, examples: Sequence[TaskExample], words: str) -> None:
    """Check that what is learned from, and what is held out, each hold what the kind needs."""
    if not examples:
        raise BadTask(
            f"none of the {len(task.examples)} examples of {task.name!r} is {words}; give at least two of everything, "
            "or some in a folder `query` and some beside it"
        )
    if task.kind is TaskKind.CLASS:
        labels = {example.label for example in examples}
        if task.name not in labels or len(labels) == 1:
            found = "nothing else" if task.name in labels else f"none of {task.name!r}"
            raise BadTask(
                f"of the examples {words}, {len(examples)} in all, there is {found}; give at least two crops of "
                f"{task.name!r}, and two of what is alike but not it (folder `_other`, or --against DIR)"
            )
    elif task.kind is TaskKind.DETECTION:
        if not any(example.boxes for example in examples):
            raise BadTask(
                f"no picture {words}, of {len(examples)}, has a box of {task.name!r}; give at least two that have one"
            )
    elif not people_across_cameras(task.name, [(example.label, example.camera) for example in examples]):
        raise BadTask(
            f"nobody in the examples {words}, {len(examples)} in all, is seen in {task.name!r} and in another camera; "
            f"give crops of at least two people, each from {task.name!r} and from another camera"
        )


def _check_people_apart(task: TaskRecord) -> None:
    """Refuse to judge by people who were learned from: whoever is known is found again in any case."""
    learned, held_out = ({one.label for one in task.examples if one.query is query} for query, _ in _SIDES)
    if both := sorted(learned & held_out):
        raise BadTask(
            f"{both[0]!r} is among those to learn from and among those held out; hold out all crops of a person or "
            "none, of at least two people seen in this camera and in another one"
        )


def _check_image(place: str, example: TaskExample) -> None:
    try:
        size = check_jpeg(example.image, PICTURE_SIDE * PICTURE_SIDE)
        decode(example.image)
    except BadFrame as error:
        raise BadTask(f"{place} is no picture that can be decoded: {error}; replace or remove it") from error
    for box in example.boxes:
        if within(box, size) is None:
            raise BadTask(
                f"{place} has a box {list(box)}, which is no box inside its {size[0]} x {size[1]} pixels (left, top, "
                "right, bottom); correct or remove it"
            )
