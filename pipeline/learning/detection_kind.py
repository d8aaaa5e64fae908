"""Teaches classes that the detector lacks, from pictures with boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from models.errors import ModelError
from models.fewshot.detection import DetectionHead
from models.fewshot.detection_examples import LabelledProposals
from models.fewshot.detection_features import FeatureDetector
from models.fewshot.detection_learning import METHODS, fit_detection_head
from models.fewshot.detection_prior import DetectionInitialization, update_initialization
from pipeline.errors import BadInput
from pipeline.evaluation.few_shot_detection import score_head
from pipeline.frames import decode
from pipeline.learning.lessons import META, Arrays, Lesson
from pipeline.records import TaskExample, TaskRecord
from pipeline.teaching import task_id

Images = Sequence[LabelledProposals]


class _Material(NamedTuple):
    support: Images
    query: Images


class DetectionKind:
    """Learns one more row of the detector's last convolution a class; judged by average precision at IoU 0.5.

    Args:
        open_features: loads the detector with its features given out; called when the first task comes.
    """

    methods = tuple(METHODS)
    min_score = 0.2

    def __init__(self, open_features: Callable[[], FeatureDetector]) -> None:
        self._open_features = open_features

    def study(self, task: TaskRecord) -> Lesson:
        """Let the detector look at the pictures.

        Raises:
            BadInput: a picture does not decode, or a box does not lie in it.
            ModelError: this detector gives no features to teach classes on.
        """
        features = self._open_features()
        support = self._look(features, task, [example for example in task.examples if not example.query])
        query = self._look(features, task, [example for example in task.examples if example.query])
        return Lesson(task_id(task), task.kind, task.name, len(query), _Material(support, query))

    def first_initialization(self) -> Arrays:
        """Return how the weights of the classes are spread that the detector knows: tasks solved over these features."""
        return DetectionInitialization.of_class_rows(self._open_features().class_rows_CLD).arrays()

    def fit(self, lesson: Lesson, method: str, initialization: Arrays) -> Arrays:
        """Fit a head to the support pictures."""
        start = DetectionInitialization.from_arrays(initialization)
        return fit_detection_head(lesson.material.support, method, start).arrays()

    def scarce(self, lesson: Lesson) -> Lesson:
        """Return the lesson with half of the pictures that show the class, at least one, and of those that do not."""
        material: _Material = lesson.material
        shown = [image for image in material.support if len(image.truth_M4)]
        background = [image for image in material.support if not len(image.truth_M4)]
        fewer = [*shown[: max(len(shown) // 2, 1)], *background[: len(background) // 2]]
        return replace(lesson, material=material._replace(support=fewer))

    def without_each(self, lesson: Lesson) -> Iterator[Lesson]:
        """Yield the lesson without one of its query pictures, as long as another one shows the class."""
        query: list[LabelledProposals] = lesson.material.query
        for number in range(len(query)):
            fewer = [*query[:number], *query[number + 1 :]]
            if any(len(image.truth_M4) for image in fewer):
                material = lesson.material._replace(query=fewer)
                yield replace(lesson, num_queries=lesson.num_queries - 1, material=material)

    def score(self, lesson: Lesson, part: Arrays | None) -> float:
        """Return the average precision on the query pictures; 0 for a site that lacks the class."""
        if part is None:
            return 0.0
        return score_head(DetectionHead.from_arrays(part), lesson.material.query).ap

    def outer_loop(
        self, initialization: Arrays, lessons: Sequence[Lesson], rng: np.random.Generator
    ) -> Iterator[Arrays]:
        """Add the solutions of all lessons to the spread that the detector's own classes have.

        From the detector's classes each time, so that no task counts twice however often it is folded.
        """
        start = DetectionInitialization.from_arrays(initialization)
        base = DetectionInitialization.from_arrays(self.first_initialization())
        heads = []
        for number in rng.permutation(len(lessons)):
            heads.append(fit_detection_head(lessons[number].material.support, META, start))
            yield update_initialization(base, heads).arrays()

    def _look(
        self, features: FeatureDetector, task: TaskRecord, examples: Sequence[TaskExample]
    ) -> list[LabelledProposals]:
        images = [decode(example.image) for example in examples]
        looked = []
        for image, view, example in zip(images, features.views(images), examples, strict=True):
            height, width = image.shape[:2]
            boxes_M4 = np.array(example.boxes, np.float64).reshape(-1, 4) / (width, height, width, height)
            try:
                looked.append(LabelledProposals.of(view, features.level_starts, boxes_M4))
            except ModelError as error:
                raise BadInput(f"detection {task.name!r}: {error}") from error
        return looked
