"""Teaches how one camera sees, from crops of people whom other cameras have seen too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.embedder import Embedder
from models.errors import ModelError
from models.fewshot.camera import CameraAdapter, CameraPairs
from models.fewshot.camera_folding import update_initialization
from models.fewshot.camera_methods import fit_camera_adapter
from models.fewshot.camera_prior import CameraInitialization
from models.fewshot.camera_scoring import CrossCameraQueries, mean_reciprocal_rank
from pipeline.errors import BadInput
from pipeline.frames import decode
from pipeline.learning.lessons import FINE_TUNE, META, PROTOTYPES, Arrays, Lesson
from pipeline.records import TaskExample, TaskRecord
from pipeline.teaching import task_id


class _Crops(NamedTuple):
    """Is what some crops look like, who is on them, and which camera saw them."""

    embeddings_ND: NDArray[np.float32]
    people: tuple[str, ...]
    cameras: tuple[str, ...]

    def where(self, keep_N: NDArray[np.bool_]) -> _Crops:
        rows = np.flatnonzero(keep_N)
        return _Crops(
            self.embeddings_ND[rows],
            tuple(self.people[n] for n in rows),
            tuple(self.cameras[n] for n in rows),
        )


class _Material(NamedTuple):
    support: _Crops
    pairs: CameraPairs
    queries: CrossCameraQueries


class CameraKind:
    """Learns one affine map a camera over its embeddings; judged by how high the right person ranks among those of other cameras.

    Args:
        embedder: what makes the embeddings.
        initialization: what maps start from before any camera was taught here.
    """

    methods = (META, FINE_TUNE, PROTOTYPES)
    min_score = 0.0

    def __init__(self, embedder: Embedder, initialization: CameraInitialization) -> None:
        self._embedder = embedder
        self._initialization = initialization

    def study(self, task: TaskRecord) -> Lesson:
        """Embed the crops, and pair them.

        The people learned from stand in the gallery too, as strangers to those asked for.

        Raises:
            BadInput: a picture does not decode, or nobody is seen both in this camera and in another.
        """
        support = self._crops([example for example in task.examples if not example.query])
        query = self._crops([example for example in task.examples if example.query])
        own_N = np.array([camera == task.name for camera in query.cameras], bool)
        own, elsewhere = query.where(own_N), query.where(~own_N)
        strangers = support.where(np.array([camera != task.name for camera in support.cameras], bool))
        try:
            pairs = CameraPairs.of(*support, task.name)
            queries = CrossCameraQueries(
                own.embeddings_ND, own.people,
                np.concatenate([elsewhere.embeddings_ND, strangers.embeddings_ND]),
                elsewhere.people + strangers.people,
            )  # fmt: skip
        except ModelError as error:
            raise BadInput(f"camera {task.name!r}: {error}") from error
        material = _Material(support, pairs, queries)
        return Lesson(task_id(task), task.kind, task.name, len(own.people), material)

    def first_initialization(self) -> Arrays:
        """Return what is known of cameras elsewhere."""
        return self._initialization.arrays()

    def fit(self, lesson: Lesson, method: str, initialization: Arrays) -> Arrays:
        """Make the map of one camera."""
        start = CameraInitialization.from_arrays(initialization)
        return fit_camera_adapter(lesson.material.pairs, start, method).arrays()

    def scarce(self, lesson: Lesson) -> Lesson:
        """Return the lesson with every other person, at least one who was seen on both sides."""
        material: _Material = lesson.material
        rows = np.arange(len(material.pairs))[::2]
        pairs = CameraPairs(
            material.pairs.own_PD[rows], material.pairs.others_PD[rows], material.pairs.weight_P[rows]
        )
        return replace(lesson, material=material._replace(pairs=pairs))

    def without_each(self, lesson: Lesson) -> Iterator[Lesson]:
        """Yield the lesson without one of the people asked for, as long as another one can be found."""
        queries: CrossCameraQueries = lesson.material.queries
        people = np.array(queries.own_people)
        for who in sorted(set(queries.own_people) & set(queries.gallery_people)):
            keep_N = people != who
            if set(people[keep_N].tolist()) & set(queries.gallery_people):
                fewer = CrossCameraQueries(
                    queries.own_ND[keep_N],
                    people[keep_N].tolist(),
                    queries.gallery_ND,
                    queries.gallery_people,
                )
                material = lesson.material._replace(queries=fewer)
                yield replace(lesson, num_queries=int(keep_N.sum()), material=material)

    def score(self, lesson: Lesson, part: Arrays | None) -> float:
        """Return the mean of one over the rank of the right person: finer than rank-1, and queries are few."""
        adapter = None if part is None else CameraAdapter.from_arrays(part)
        return mean_reciprocal_rank(adapter, lesson.material.queries)

    def outer_loop(
        self, initialization: Arrays, lessons: Sequence[Lesson], rng: np.random.Generator
    ) -> Iterator[Arrays]:
        """Fold the maps of all taught cameras into what the next one starts from."""
        start = CameraInitialization.from_arrays(initialization)
        for folded in update_initialization(start, [lesson.material.pairs for lesson in lessons], rng):
            yield folded.arrays()

    def _crops(self, examples: Sequence[TaskExample]) -> _Crops:
        embeddings_ND = self._embedder.embed([decode(example.image) for example in examples])
        return _Crops(
            embeddings_ND, tuple(example.label for example in examples),
            tuple(example.camera for example in examples),
        )  # fmt: skip
