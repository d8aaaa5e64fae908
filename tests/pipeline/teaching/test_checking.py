import dataclasses
from collections.abc import Callable

import msgspec
import pytest

from pipeline.errors import BadInput, BadTask
from pipeline.records import TaskExample, TaskKind, TaskRecord
from pipeline.teaching import check_name_is_free, check_task, forget
from pipeline.teaching.pictures import PICTURE_SIDE
from tests.pipeline.teaching.examples import (
    BOX,
    camera_examples,
    class_examples,
    detection_examples,
    encoded,
    task,
)

KINDS = [
    (TaskKind.CLASS, "courier", class_examples),
    (TaskKind.DETECTION, "raccoon", detection_examples),
    (TaskKind.CAMERA, "door", camera_examples),
]


def changed(example: TaskExample, **changes: object) -> TaskExample:
    return msgspec.structs.replace(example, **changes)


@pytest.mark.parametrize(("kind", "name", "examples"), KINDS)
def test_a_sound_task_passes(kind: TaskKind, name: str, examples: Callable[[], list[TaskExample]]) -> None:
    check_task(task(*examples(), kind=kind, name=name))


@pytest.mark.parametrize(("kind", "name", "examples"), KINDS)
@pytest.mark.parametrize(("query", "words"), [(False, "held out as queries"), (True, "to learn from")])
def test_a_task_without_queries_or_with_queries_alone_is_refused(
    kind: TaskKind, name: str, examples: Callable[[], list[TaskExample]], query: bool, words: str
) -> None:
    one_sided = [changed(example, query=query) for example in examples()]
    with pytest.raises(BadTask, match=f"none of the .* examples of '{name}' is {words}; give at least two"):
        check_task(task(*one_sided, kind=kind, name=name))


def test_what_cannot_be_taught_is_bad_input() -> None:
    assert issubclass(BadTask, BadInput)


def test_a_record_that_has_a_name_forgotten_passes() -> None:
    check_task(forget(TaskKind.CLASS, "courier", taught_ns=1))


@pytest.mark.parametrize("name", ["", "a/b", "-x", " x", "x ", "_other", "../up", "ä", "x" * 65, "a\nb", "."])
def test_a_name_that_is_not_allowed_is_refused(name: str) -> None:
    with pytest.raises(BadTask, match="is not allowed as the name of a class; use 1 to 64 letters"):
        check_task(task(*class_examples(name), name=name))


@pytest.mark.parametrize("name", ["x", "9", "red van 2.0", "a-b_c", "x" * 64])
def test_a_name_that_is_allowed_passes(name: str) -> None:
    check_task(task(*class_examples(name), name=name))


@pytest.mark.parametrize(
    ("name", "is_camera"), [("gate-1.b", True), ("x" * 128, True), ("my door", False), ("", False)]
)
def test_a_camera_is_called_as_a_site_file_may_call_it(name: str, is_camera: bool) -> None:
    examples = [
        changed(one, camera=name if one.camera == "door" else one.camera) for one in camera_examples()
    ]
    taught = task(*examples, kind=TaskKind.CAMERA, name=name)
    if is_camera:
        check_task(taught)
    else:
        with pytest.raises(BadTask, match="is no camera's id"):
            check_task(taught)


def test_more_examples_than_are_learned_while_serving_are_sent_to_training() -> None:
    many = [TaskExample(image=b"%d" % number, label="courier") for number in range(10_000)]
    with pytest.raises(BadTask, match=r"10000 examples are more than the 200 .*`camweave train transfer`"):
        check_task(task(*many))


def test_a_task_that_was_altered_on_its_way_is_refused() -> None:
    with pytest.raises(BadTask, match="it was altered on its way"):
        check_task(msgspec.structs.replace(task(*class_examples()), digest="0" * 64))


@pytest.mark.parametrize("label", ["courier", "", "visitor"])
def test_a_class_needs_examples_of_it_and_of_something_else_on_both_sides(label: str) -> None:
    alike = [changed(example, label=label) for example in class_examples()]
    with pytest.raises(BadTask, match=r"there is (nothing else|none of 'courier'); give at least two crops"):
        check_task(task(*alike))
    halves = [changed(one, label=label) if one.query else one for one in class_examples()]
    with pytest.raises(BadTask, match="of the examples held out as queries, 2 in all"):
        check_task(task(*halves))


def test_the_same_picture_under_two_labels_is_refused_and_both_places_are_named() -> None:
    examples = class_examples()
    examples[3] = changed(examples[3], image=examples[0].image)
    with pytest.raises(
        BadTask, match=r"a and d are the same picture, of 'courier' in one and of 'no taught class'"
    ):
        check_task(task(*examples), ["a", "b", "c", "d", "e", "f"])


def test_the_same_picture_learned_from_and_held_out_is_refused() -> None:
    examples = class_examples()
    examples[2] = changed(examples[2], image=examples[0].image)
    with pytest.raises(
        BadTask, match="example 1 and example 3 are the same picture, once to learn from and once held"
    ):
        check_task(task(*examples))


def test_one_person_s_crop_that_is_said_to_be_of_two_cameras_is_refused() -> None:
    examples = camera_examples()
    examples[1] = changed(examples[1], image=examples[0].image)
    with pytest.raises(BadTask, match=r"'person 0' in 'door' in one and of 'person 0' in 'yard'"):
        check_task(task(*examples, kind=TaskKind.CAMERA, name="door"))


def test_a_box_that_was_drawn_twice_contradicts_nothing_and_another_box_does() -> None:
    twice, nearly = detection_examples(), tuple(side + 0.5 for side in BOX)
    twice.append(changed(twice[0], boxes=(nearly,)))
    check_task(task(*twice, kind=TaskKind.DETECTION))
    for others in ((), (BOX, (0.0, 26.0, 10.0, 31.0)), ((0.0, 26.0, 10.0, 31.0),)):
        twice[-1] = changed(twice[0], boxes=others)
        with pytest.raises(BadTask, match="are the same picture, with boxes"):
            check_task(task(*twice, kind=TaskKind.DETECTION))


@pytest.mark.parametrize("image", [b"", b"no picture", encoded(1, 24, 32, "PNG"), encoded(1, 200, 200)[:900]])
def test_a_picture_that_does_not_decode_is_named(image: bytes) -> None:
    examples = class_examples()
    examples[1] = changed(examples[1], image=image)
    with pytest.raises(BadTask, match=r"second\.jpg is no picture that can be decoded"):
        check_task(task(*examples), ["1", "second.jpg", "3", "4", "5", "6"])


def test_a_picture_larger_than_tasks_hold_is_refused_before_it_is_decoded() -> None:
    examples = class_examples()
    header = bytearray(encoded(1))
    start = header.index(b"\xff\xc0") + 5
    header[start : start + 4] = (PICTURE_SIDE + 1).to_bytes(2, "big") + (PICTURE_SIDE + 1).to_bytes(2, "big")
    examples[1] = changed(examples[1], image=bytes(header))
    with pytest.raises(BadTask, match=r"example 2 .* would decode to 1281 x 1281 pixels"):
        check_task(task(*examples))


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 30.0, 10.0), (9.0, 9.0, 9.0, 12.0), (12.0, 9.0, 9.0, 12.0), (-5.0, 0, 9.0, 9.0)]
)
def test_a_box_outside_its_picture_is_refused(box: tuple[float, float, float, float]) -> None:
    examples = detection_examples()
    examples[1] = changed(examples[1], boxes=(BOX, box))
    with pytest.raises(BadTask, match=r"example 2 has a box .* no box inside its 24 x 32 pixels"):
        check_task(task(*examples, kind=TaskKind.DETECTION))


def test_a_detection_task_without_boxes_is_refused() -> None:
    bare = [changed(example, boxes=()) for example in detection_examples()]
    with pytest.raises(BadTask, match="no picture to learn from, of 2, has a box of 'courier'"):
        check_task(task(*bare, kind=TaskKind.DETECTION))


def test_boxes_on_crops_are_refused() -> None:
    examples = class_examples()
    examples[0] = changed(examples[0], boxes=(BOX,))
    with pytest.raises(BadTask, match="example 1 has boxes, expected a crop of one object"):
        check_task(task(*examples))


def test_a_camera_needs_somebody_seen_in_it_and_elsewhere_on_both_sides() -> None:
    with pytest.raises(
        BadTask, match="nobody in the examples to learn from, 4 in all, is seen in 'gate' and in"
    ):
        check_task(task(*camera_examples(), kind=TaskKind.CAMERA, name="gate"))
    apart = [
        changed(one, label=f"{one.label} {one.camera}") if one.query else one for one in camera_examples()
    ]
    with pytest.raises(BadTask, match="nobody in the examples held out as queries, 2 in all"):
        check_task(task(*apart, kind=TaskKind.CAMERA, name="door"))


def test_a_camera_is_not_judged_by_people_whom_it_was_taught_by() -> None:
    known = [changed(one, label="person 1") if one.query else one for one in camera_examples()]
    with pytest.raises(BadTask, match="'person 1' is among those to learn from and among those held out"):
        check_task(task(*known, kind=TaskKind.CAMERA, name="door"))


@pytest.mark.parametrize("missing", [{"label": ""}, {"camera": ""}, {"camera": "../yard"}, {"label": "a\0b"}])
def test_a_crop_that_does_not_say_who_or_where_is_refused_for_a_camera(missing: dict[str, str]) -> None:
    examples = camera_examples()
    examples[3] = changed(examples[3], **missing)
    with pytest.raises(BadTask, match="example 4 does not say who is on it and which camera saw it"):
        check_task(task(*examples, kind=TaskKind.CAMERA, name="door"))


@dataclasses.dataclass
class Names:
    taught: dict[tuple[TaskKind, str], str]

    def check(self, kind: TaskKind, name: str, *, replace: bool = False) -> None:
        record = TaskRecord(kind=kind, name=name, digest="", taught_ns=1)
        check_name_is_free(record, ("person", "traffic light"), self.taught, replace=replace)


def test_a_class_that_the_detector_knows_cannot_be_taught() -> None:
    names = Names({})
    for kind in (TaskKind.CLASS, TaskKind.DETECTION):
        for replace in (False, True):
            with pytest.raises(BadTask, match="the detector knows a class 'person' already"):
                names.check(kind, "Person", replace=replace)
    names.check(TaskKind.CAMERA, "person")
    names.check(TaskKind.CLASS, "courier")


def test_a_name_that_was_taught_is_taught_anew_only_on_demand() -> None:
    names = Names({(TaskKind.CLASS, "courier"): "class/courier/1 on monday"})
    with pytest.raises(
        BadTask, match=r"'courier' was taught already \(class/courier/1 on monday\); give --replace"
    ):
        names.check(TaskKind.CLASS, "courier")
    names.check(TaskKind.CLASS, "courier", replace=True)
    names.check(TaskKind.CAMERA, "courier")


def test_a_name_does_not_stand_for_a_class_of_crops_and_one_of_pictures() -> None:
    names = Names({(TaskKind.CLASS, "courier"): "monday", (TaskKind.CAMERA, "door"): "monday"})
    for replace in (False, True):
        with pytest.raises(
            BadTask, match=r"'courier' is taught as a class task already.*camweave teach forget"
        ):
            names.check(TaskKind.DETECTION, "Courier", replace=replace)
    names.check(TaskKind.DETECTION, "door")
