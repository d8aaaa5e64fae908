"""Teaches classes on the crops that a detector finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from models.embedder import Embedder
from models.errors import ModelError
from models.fewshot.class_learning import (
    ClassExamples,
    balanced_accuracy,
    first_initialization,
    fold_classes,
    learn_class,
)
from models.fewshot.classes import ClassHead
from pipeline.errors import BadInput
from pipeline.frames import decode
from pipeline.learning.lessons import FINE_TUNE, META, PROTOTYPES, Arrays, Lesson
from pipeline.records import TaskExample, TaskRecord
from pipeline.teaching import task_id

NOTHING_TAUGHT: Final = 0.5
"""Balanced accuracy of a site that names no crop as of the class."""


class _Material(NamedTuple):
    support: ClassExamples
    query: ClassExamples


class ClassKind:
    """Learns one linear score a class over the embeddings of crops; judged by balanced accuracy."""

    methods = (META, FINE_TUNE, PROTOTYPES)
    min_score = 0.65

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def study(self, task: TaskRecord) -> Lesson:
        """Embed the crops.

        Raises:
            BadInput: a picture does not decode, or one side of the task is missing.
        """
        support = [example for example in task.examples if not example.query]
        query = [example for example in task.examples if example.query]
        try:
            material = _Material(self._examples(task.name, support), self._examples(task.name, query))
        except ModelError as error:
            raise BadInput(f"class {task.name!r}: {error}") from error
        return Lesson(task_id(task), task.kind, task.name, len(query), material)

    def first_initialization(self) -> Arrays:
        """Return what the outer loop made of other classes elsewhere."""
        return first_initialization()

    def fit(self, lesson: Lesson, method: str, initialization: Arrays) -> Arrays:
        """Learn the score of one class."""
        return learn_class(lesson.material.support, method, initialization).arrays()

    def scarce(self, lesson: Lesson) -> Lesson:
        """Return the lesson with the first half of the crops of each side, at least one."""
        support: ClassExamples = lesson.material.support
        rows = np.concatenate(
            [
                rows[: max(len(rows) // 2, 1)]
                for rows in (np.flatnonzero(support.is_member_N), np.flatnonzero(~support.is_member_N))
            ]
        )
        fewer = ClassExamples(support.embeddings_ND[rows], support.is_member_N[rows])
        return replace(lesson, material=lesson.material._replace(support=fewer))

    def without_each(self, lesson: Lesson) -> Iterator[Lesson]:
        """Yield the lesson without one of its query crops, as long as there are others of its side."""
        query: ClassExamples = lesson.material.query
        for row in range(len(query.is_member_N)):
            keep_N = np.arange(len(query.is_member_N)) != row
            if len(set(query.is_member_N[keep_N].tolist())) == 2:
                fewer = ClassExamples(query.embeddings_ND[keep_N], query.is_member_N[keep_N])
                material = lesson.material._replace(query=fewer)
                yield replace(lesson, num_queries=lesson.num_queries - 1, material=material)

    def score(self, lesson: Lesson, part: Arrays | None) -> float:
        """Return the balanced accuracy on the queries: the mean share of members and of others that are told right."""
        if part is None:
            return NOTHING_TAUGHT
        return balanced_accuracy(ClassHead.from_arrays(part), lesson.material.query)

    def outer_loop(
        self, initialization: Arrays, lessons: Sequence[Lesson], rng: np.random.Generator
    ) -> Iterator[Arrays]:
        """Run meta-iterations over the support crops of all lessons."""
        yield from fold_classes(initialization, [lesson.material.support for lesson in lessons], rng)

    def _examples(self, name: str, examples: Sequence[TaskExample]) -> ClassExamples:
        crops = [decode(example.image) for example in examples]
        return ClassExamples(
            self._embedder.embed(crops), np.array([example.label == name for example in examples], bool)
        )
