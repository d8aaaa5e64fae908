"""States what a kind of teaching is: how its tasks are studied, learned, judged, and folded into what all start from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.records import TaskKind, TaskRecord

Arrays = Mapping[str, NDArray[np.float32]]
"""A part, or an initialization, as a version keeps it."""

META: Final = "meta"
"""Starts from the shared initialization, by the learned rule."""
FINE_TUNE: Final = "fine-tune"
"""Starts from nothing, by plain gradient descent."""
PROTOTYPES: Final = "prototypes"
"""Takes means and learns nothing more."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Is a task whose pictures have been through the frozen networks: all that learning needs of it."""

    task: str
    """Names the task, see `pipeline.teaching.task_id`."""
    kind: TaskKind
    name: str
    """The class that is taught, or the camera."""
    num_queries: int
    """Examples kept from learning."""
    material: Any
    """What the kind has made of the pictures; nobody else looks into it."""


class Kind(Protocol):
    """Knows all about one kind of teaching. Whatever the method, a part is what `score` and serving understand."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the ways to learn, the one to prefer among equals first."""

    @property
    def min_score(self) -> float:
        """What a part must score to be served."""

    def study(self, task: TaskRecord) -> Lesson:
        """Run the frozen networks over a task's pictures.

        Raises:
            BadInput: a picture does not decode, or there is nothing in it to learn from.
        """

    def first_initialization(self) -> Arrays:
        """Return what parts start from before anything was taught here."""

    def fit(self, lesson: Lesson, method: str, initialization: Arrays) -> Arrays:
        """Learn a part from a lesson's support examples; its queries are not looked at."""

    def scarce(self, lesson: Lesson) -> Lesson:
        """Return the lesson with half of its support examples (at least one of a kind): a harder one."""

    def without_each(self, lesson: Lesson) -> Iterator[Lesson]:
        """Yield the lesson with one of its queries left out, each in turn: what is independent of the others."""

    def score(self, lesson: Lesson, part: Arrays | None) -> float:
        """Return the share in [0, 1] of right answers to a lesson's queries; None is a site that was taught nothing."""

    def outer_loop(
        self, initialization: Arrays, lessons: Sequence[Lesson], rng: np.random.Generator
    ) -> Iterator[Arrays]:
        """Fold the support examples of lessons into the initialization, in slices of well under a second.

        Yields the initialization as it stands after each slice; the last one is the result.
        """
