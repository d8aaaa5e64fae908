import cv2
import numpy as np
import pytest

from models.fewshot.camera_prior import CameraInitialization
from pipeline.errors import BadInput
from pipeline.learning.camera_kind import CameraKind
from pipeline.records import TaskExample, TaskKind, TaskRecord
from pipeline.teaching import task_digest
from tests.cluster.squares import ColourEmbedder

KIND = CameraKind(ColourEmbedder(), CameraInitialization.blank(3))
PEOPLE = ((200, 60, 60), (60, 200, 60), (60, 60, 200), (160, 160, 40), (40, 160, 160), (160, 40, 160))


def crop(colour: tuple[int, int, int], cast: tuple[float, float, float], seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(-20, 20, (40, 20, 3))
    image = np.clip(np.array(colour) * cast + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def task(*, own: str = "door", cast: tuple[float, float, float] = (1.0, 1.0, 0.1)) -> TaskRecord:
    """Everybody is seen by `door`, which takes nearly all red away, and by `yard`; the last two are asked for."""
    examples = tuple(
        TaskExample(
            image=crop(colour, how, 10 * who + number), label=f"p{who}", camera=camera, query=who >= 4
        )
        for who, colour in enumerate(PEOPLE)
        for number, (camera, how) in enumerate([(own, cast), ("yard", (1.0, 1.0, 1.0))])
    )
    return TaskRecord(
        kind=TaskKind.CAMERA, name="door", digest=task_digest(examples), taught_ns=1, examples=examples
    )


def test_a_lesson_asks_for_the_queries_among_all_that_the_others_see() -> None:
    lesson = KIND.study(task())
    assert lesson.num_queries == 2
    assert len(lesson.material.pairs) == 4
    assert sorted(lesson.material.queries.gallery_people) == [f"p{who}" for who in range(6)]


@pytest.mark.parametrize("method", KIND.methods)
def test_every_method_gives_a_map_that_can_be_scored(method: str) -> None:
    lesson = KIND.study(task())
    part = KIND.fit(lesson, method, KIND.first_initialization())
    assert set(part) == {"left", "right", "shift"}
    assert 0 < KIND.score(lesson, part) <= 1


def test_teaching_a_camera_with_a_cast_finds_more_of_its_people() -> None:
    lesson = KIND.study(task())
    scores = [
        KIND.score(lesson, KIND.fit(lesson, method, KIND.first_initialization())) for method in KIND.methods
    ]
    assert max(scores) > KIND.score(lesson, None)


def test_the_queries_are_not_looked_at_when_a_map_is_made() -> None:
    whole = task()
    other = TaskRecord(
        kind=whole.kind, name=whole.name, digest=whole.digest, taught_ns=1,
        examples=tuple(one for one in whole.examples if not one.query or one.label == "p4"),
    )  # fmt: skip
    parts = [KIND.fit(KIND.study(one), "meta", KIND.first_initialization()) for one in (whole, other)]
    np.testing.assert_array_equal(parts[0]["shift"], parts[1]["shift"])


def test_a_scarce_lesson_has_half_of_the_people_and_all_queries() -> None:
    lesson = KIND.study(task())
    scarce = KIND.scarce(lesson)
    assert len(scarce.material.pairs) == 2
    assert scarce.material.queries is lesson.material.queries
    assert len(KIND.scarce(KIND.scarce(scarce)).material.pairs) == 1


def test_folding_a_camera_changes_what_the_next_one_starts_from() -> None:
    first = KIND.first_initialization()
    *_, folded = KIND.outer_loop(first, [KIND.study(task())], np.random.default_rng(0))
    assert len(folded["left"]) == len(first["left"]) + 1


def test_a_task_without_crops_of_the_camera_is_refused_with_its_name() -> None:
    elsewhere = task(own="roof")
    with pytest.raises(BadInput, match="camera 'door'"):
        KIND.study(elsewhere)


def test_each_person_asked_for_is_left_out_in_turn_unless_nobody_would_be_left() -> None:
    lesson = KIND.study(task())
    without = list(KIND.without_each(lesson))
    assert [sorted(set(one.material.queries.own_people)) for one in without] == [["p5"], ["p4"]]
    assert list(KIND.without_each(without[0])) == []
