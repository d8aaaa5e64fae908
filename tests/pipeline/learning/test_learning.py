from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from models.learned import Backbones, LearnedVersion, describe
from pipeline.errors import BadInput
from pipeline.learning.gate import GateConfig
from pipeline.learning.learning import Learning, Proposal
from pipeline.learning.lessons import Arrays, Lesson
from pipeline.records import TaskExample, TaskKind, TaskRecord
from pipeline.teaching import task_id

BACKBONES = Backbones(detector="d@1", embedder="e@1")


class Guessing:
    """A kind whose lessons are a number to hit; parts start from a common guess and go part of the way."""

    methods = ("meta", "fine-tune", "prototypes")
    min_score = 0.2

    def __init__(self) -> None:
        self.worth = {"meta": 0.5, "fine-tune": 0.3, "prototypes": 0.2}

    def study(self, task: TaskRecord) -> Lesson:
        if not task.examples[0].label:
            raise BadInput("no label")
        return Lesson(task_id(task), task.kind, task.name, 1, float(task.examples[0].label))

    def first_initialization(self) -> Arrays:
        return {"guess": np.zeros(1, np.float32)}

    def fit(self, lesson: Lesson, method: str, initialization: Arrays) -> Arrays:
        start = initialization["guess"] if method == "meta" else np.zeros(1, np.float32)
        return {"value": start + self.worth[method] * (np.float32(lesson.material) - start)}

    def scarce(self, lesson: Lesson) -> Lesson:
        return lesson

    def without_each(self, lesson: Lesson) -> Iterator[Lesson]:
        yield from [lesson] * 3  # all queries are answered alike

    def score(self, lesson: Lesson, part: Arrays | None) -> float:
        return 0.0 if part is None else float(np.exp(-abs(part["value"][0] - lesson.material)))

    def outer_loop(
        self, initialization: Arrays, lessons: Sequence[Lesson], rng: np.random.Generator
    ) -> Iterator[Arrays]:
        goal = np.mean([lesson.material for lesson in lessons])
        for share in (0.5, 1.0):
            yield {"guess": np.array([share * goal], np.float32)}


class Misleading(Guessing):
    """Its outer loop makes things worse."""

    def outer_loop(
        self, initialization: Arrays, lessons: Sequence[Lesson], rng: np.random.Generator
    ) -> Iterator[Arrays]:
        yield {"guess": np.array([-9.0], np.float32)}


def task(name: str, label: str, kind: TaskKind = TaskKind.CLASS) -> TaskRecord:
    example = TaskExample(image=b"", label=label)
    return TaskRecord(kind=kind, name=name, digest=label.ljust(64, "0"), taught_ns=0, examples=(example,))


def learning(kind: Guessing | None = None) -> Learning:
    kind = kind or Guessing()
    return Learning({TaskKind.CLASS: kind, TaskKind.CAMERA: kind}, BACKBONES, GateConfig(), capacity=16)


def serve(school: Learning, proposal: Proposal) -> LearnedVersion:
    assert proposal.verdict.promoted, proposal.verdict.reason
    school.serve(describe(proposal.version).name, proposal.version)
    return proposal.version


def folded(school: Learning) -> Proposal:
    *slices, last = list(school.fold(2))
    assert slices
    assert all(one is None for one in slices)
    assert last is not None
    return last


def test_what_is_taught_becomes_a_part_of_the_next_version() -> None:
    school = learning()
    version = serve(school, school.teach(task("courier", "1"), 1))
    assert version.parts("class")["courier"]["value"] == pytest.approx(0.5)
    assert version.tasks == ("class/courier/100000000000",)
    assert school.is_served(task("courier", "1"))
    assert not school.is_served(task("courier", "2"))


def test_the_method_that_answers_the_queries_best_is_taken() -> None:
    kind = Guessing()
    kind.worth = {"meta": 0.1, "fine-tune": 0.9, "prototypes": 0.5}
    proposal = learning(kind).teach(task("courier", "1"), 1)
    assert proposal.verdict.comparisons[0].chosen == "fine-tune"
    assert proposal.version.parts("class")["courier"]["value"] == pytest.approx(0.9)


def test_teaching_one_thing_leaves_all_others_as_they_are_to_the_bit() -> None:
    school = learning()
    first = serve(school, school.teach(task("courier", "1"), 1))
    second = serve(school, school.teach(task("door", "2", TaskKind.CAMERA), 2))
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array)
    assert second.parent == describe(first).name


def test_a_task_that_cannot_be_learned_is_rejected_and_changes_nothing() -> None:
    school = learning()
    before = serve(school, school.teach(task("courier", "1"), 1))
    proposal = school.teach(task("hopeless", "50"), 2)
    assert not proposal.verdict.promoted
    assert school.num_lessons == 1
    again = school.teach(task("guard", "1"), 3).version
    assert "class/hopeless/value" not in again.arrays
    assert again.parent == describe(before).name


def test_a_task_that_cannot_be_studied_says_so() -> None:
    with pytest.raises(BadInput, match="no label"):
        learning().teach(task("courier", ""), 1)


def test_folding_moves_what_all_start_from_and_adapts_every_part_anew() -> None:
    school = learning()
    serve(school, school.teach(task("courier", "1"), 1))
    serve(school, school.teach(task("guard", "1"), 1))
    assert school.num_unfolded == 2
    version = serve(school, folded(school))
    assert version.initialization("class")["guess"] == pytest.approx(1.0)
    assert version.parts("class")["courier"]["value"] == pytest.approx(1.0)
    assert school.num_unfolded == 0


def test_what_was_folded_is_known_from_the_version_alone_also_after_a_restart_and_a_rollback() -> None:
    school = learning()
    first = serve(school, school.teach(task("courier", "1"), 1))
    second = serve(school, folded(school))
    again = learning()
    again.serve(describe(second).name, second)
    assert again.num_unfolded == 0
    again.serve(describe(first).name, first)
    assert again.num_unfolded == 1


def test_a_rejected_candidate_is_not_tried_again_until_something_new_is_taught() -> None:
    school = learning(Misleading())
    serve(school, school.teach(task("courier", "1"), 1))
    assert not folded(school).verdict.promoted
    assert school.num_unfolded == 0
    serve(school, school.teach(task("guard", "1"), 2))
    assert school.num_unfolded == 1


def test_after_folding_the_next_task_is_learned_better_from_the_same_examples() -> None:
    school = learning()
    first = school.teach(task("courier", "1"), 1)
    serve(school, first)
    serve(school, folded(school))
    second = school.teach(task("guard", "1"), 3)
    assert second.verdict.comparisons[0].scores["meta"] > first.verdict.comparisons[0].scores["meta"]


def test_an_outer_loop_that_makes_things_worse_is_rejected() -> None:
    school = learning(Misleading())
    serve(school, school.teach(task("courier", "1"), 1))
    proposal = folded(school)
    assert not proposal.verdict.promoted


def test_tasks_that_are_not_served_are_not_folded() -> None:
    school = learning()
    first = serve(school, school.teach(task("courier", "1"), 1))
    serve(school, school.teach(task("guard", "2"), 2))
    school.serve(describe(first).name, first)  # rolled back
    version = folded(school).version
    assert version.initialization("class")["guess"] == pytest.approx(1.0)
    assert "guard" not in version.parts("class")


def test_a_forgotten_name_leaves_no_array_and_no_task() -> None:
    school = learning()
    serve(school, school.teach(task("courier", "1"), 1))
    serve(school, school.teach(task("guard", "2"), 2))
    version = school.forget(TaskKind.CLASS, "courier", 3)
    assert version is not None
    assert set(version.parts("class")) == {"guard"}
    assert version.tasks == ("class/guard/200000000000",)
    assert school.forget(TaskKind.CLASS, "never taught", 4) is None


def test_teaching_a_name_anew_replaces_its_part_and_its_task() -> None:
    school = learning()
    serve(school, school.teach(task("courier", "1"), 1))
    version = serve(school, school.teach(task("courier", "3"), 2))
    assert version.tasks == ("class/courier/300000000000",)
    assert version.parts("class")["courier"]["value"] == pytest.approx(1.5)


def test_a_refused_task_is_named_in_the_version_that_stands_for_it() -> None:
    school = learning()
    version = school.refusal(task("courier", "1"), "does not decode", 1)
    assert version.tasks == ("class/courier/100000000000",)
    assert not version.arrays
