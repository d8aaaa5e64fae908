import cv2
import numpy as np
import pytest

from models.fewshot.parts import FrozenNetworks
from pipeline.errors import BadInput
from pipeline.learning.class_kind import ClassKind
from pipeline.learning.kinds import kinds_over
from pipeline.records import TaskExample, TaskKind, TaskRecord
from pipeline.teaching import task_digest
from tests.cluster.squares import BLUE, GREEN, RED, ColourEmbedder, SquareDetector

KIND = ClassKind(ColourEmbedder())


def crop(colour: tuple[int, int, int], seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(-25, 25, (40, 20, 3))
    image = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def task(
    member: tuple[int, int, int] = RED,
    others: tuple[tuple[int, int, int], ...] = (BLUE, GREEN),
    each: int = 4,
) -> TaskRecord:
    examples = tuple(
        TaskExample(
            image=crop(colour, 10 * side + number), label="red" if side == 0 else "", query=number % 2 == 1
        )
        for side, colour in enumerate((member, *others))
        for number in range(each)
    )
    return TaskRecord(
        kind=TaskKind.CLASS, name="red", digest=task_digest(examples), taught_ns=1, examples=examples
    )


@pytest.mark.parametrize("method", KIND.methods)
def test_a_colour_is_learned_by_every_method_and_judged_on_the_queries(method: str) -> None:
    lesson = KIND.study(task())
    part = KIND.fit(lesson, method, KIND.first_initialization())
    assert lesson.num_queries == 6
    assert KIND.score(lesson, None) == 0.5
    assert KIND.score(lesson, part) == 1.0


def test_labels_that_mean_nothing_are_not_learned() -> None:
    lesson = KIND.study(task(member=BLUE, others=(BLUE,)))
    part = KIND.fit(lesson, "meta", KIND.first_initialization())
    assert KIND.score(lesson, part) <= 0.75


def test_a_scarce_lesson_keeps_both_sides_and_all_queries() -> None:
    lesson = KIND.study(task(each=8))
    scarce = KIND.scarce(lesson)
    assert scarce.num_queries == lesson.num_queries
    assert len(scarce.material.support.is_member_N) == len(lesson.material.support.is_member_N) // 2
    assert scarce.material.support.is_member_N.any()
    smallest = KIND.scarce(KIND.scarce(KIND.scarce(scarce)))
    assert smallest.material.support.is_member_N.tolist() == [True, False]


def test_a_task_with_one_side_only_is_refused_with_its_name() -> None:
    one_sided = task(others=())
    with pytest.raises(BadInput, match=r"class 'red'.*some that are not"):
        KIND.study(one_sided)


def test_a_site_can_be_taught_classes_and_cameras() -> None:
    kinds = kinds_over(FrozenNetworks(SquareDetector(), ColourEmbedder()))
    assert {TaskKind.CLASS, TaskKind.CAMERA} <= set(kinds)


def test_each_query_crop_is_left_out_in_turn_as_long_as_both_sides_stay() -> None:
    lesson = KIND.study(task())
    without = list(KIND.without_each(lesson))
    assert [one.num_queries for one in without] == [5] * 6
    assert [int(one.material.query.is_member_N.sum()) for one in without] == [1, 1, 2, 2, 2, 2]
    assert [one.num_queries for one in KIND.without_each(without[0])] == [4] * 4
