"""Learns what is taught: adapts parts, folds tasks into what all parts start from, and puts candidates before the gate.

All state is here and in the served version; who calls it decides when, and publishes what comes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from models.learned import Backbones, LearnedVersion
from models.learned.version import INITIALIZATION, Array
from pipeline.learning.gate import (
    CURRENT,
    Comparison,
    GateConfig,
    Verdict,
    best_method,
    judge,
    preferred_method,
)
from pipeline.learning.lessons import META, Arrays, Kind, Lesson
from pipeline.learning.replay import Replay
from pipeline.records import TaskKind, TaskRecord
from pipeline.teaching import task_id

_FOLDED: Final = "folded"
"""Names, in a version, the tasks that its initializations have seen."""


class Proposal(NamedTuple):
    """Is a candidate and what the gate says of it."""

    version: LearnedVersion
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Gathers what a version would hold."""

    arrays: dict[str, Array]
    tasks: tuple[str, ...]
    comparisons: list[Comparison]
    folded: set[str]
    """Tasks that the initialization has seen."""


class Learning:
    """Holds the lessons of a site and what is served of them.

    Args:
        kinds: what can be taught here.
        backbones: the frozen networks that all parts are made on.
        gate: what a candidate must reach.
        capacity: lessons remembered at most.
        seed: of the outer loop.
    """

    def __init__(
        self, kinds: Mapping[TaskKind, Kind], backbones: Backbones, gate: GateConfig, *, capacity: int, seed: int = 0
    ) -> None:  # fmt: skip
        self._kinds = kinds
        self._backbones = backbones
        self._gate = gate
        self._replay = Replay(capacity)
        self._rng = np.random.default_rng(seed)
        self._tried: set[str] = set()
        self.serve("", None)

    @property
    def num_lessons(self) -> int:
        """Lessons that are remembered."""
        return len(self._replay)

    @property
    def num_unfolded(self) -> int:
        """Served tasks that neither the shared initialization has seen nor a candidate that was rejected."""
        return len(set(self._served.tasks) - self._folded - self._tried)

    @property
    def _folded(self) -> set[str]:
        """The tasks that the served initialization has seen, as the version says."""
        return set(self._served.scores.get(_FOLDED, ()))

    def serve(self, name: str, version: LearnedVersion | None) -> None:
        """Take note of what is served from now on; None and the empty name for the frozen networks alone."""
        self._name = name
        nothing = LearnedVersion(arrays={}, backbones=self._backbones, created_ns=0)
        self._served = nothing if version is None else version

    def is_served(self, task: TaskRecord) -> bool:
        """Tell whether exactly this task is part of what is served."""
        return task_id(task) in self._served.tasks

    def remember(self, task: TaskRecord) -> None:
        """Study a task that was learned before, for replay; see `teach` for what it raises."""
        self._replay.add(self._kinds[task.kind].study(task))

    def teach(self, task: TaskRecord, at_ns: int) -> Proposal:
        """Adapt a part to a task from what is served, and compare it with the alternatives.

        Raises:
            BadInput: the task's pictures cannot be used.
        """
        kind = self._kinds[task.kind]
        lesson = kind.study(task)
        comparison, part = self._compare(lesson, self._initialization(task.kind), is_new=True)
        arrays = self._without(task.kind, task.name) | _named(task.kind, task.name, part)
        tasks = (*self._other_tasks(task.kind, task.name), lesson.task)
        candidate = _Candidate(arrays, tasks, [comparison, *self._unchanged(lesson)], self._folded)
        proposal = self._propose(candidate, at_ns)
        if proposal.verdict.promoted:
            self._replay.add(lesson)
        return proposal

    def refusal(self, task: TaskRecord, reason: str, at_ns: int) -> LearnedVersion:
        """Return the version that stands for a task that could not even be studied; it is never served."""
        return self._version(self._served.arrays, (*self._served.tasks, task_id(task)), at_ns, reason)

    def forget(self, kind: TaskKind, name: str, at_ns: int) -> LearnedVersion | None:
        """Return what is served without one part; None where there is no such part."""
        self._replay.forget(kind, name)
        arrays = self._without(kind, name)
        if len(arrays) == len(self._served.arrays):
            return None
        return self._version(
            arrays, self._other_tasks(kind, name), at_ns, f"{kind.value} {name!r} is forgotten"
        )

    def fold(self, at_ns: int) -> Iterator[Proposal | None]:
        """Run the outer loop over what is remembered, then adapt every served part anew.

        Yields None after each slice of work, and in the end the candidate, if there was anything to fold.
        """
        candidate = _Candidate(dict(self._served.arrays), self._served.tasks, [], self._folded)
        for kind in self._kinds:
            lessons = [lesson for lesson in self._replay.of_kind(kind) if lesson.task in self._served.tasks]
            if lessons:
                yield from self._fold_kind(kind, lessons, candidate)
        self._tried = set(self._served.tasks)
        if candidate.comparisons:
            yield self._propose(candidate, at_ns)

    def _fold_kind(
        self, kind: TaskKind, lessons: Sequence[Lesson], candidate: _Candidate
    ) -> Iterator[Proposal | None]:
        initialization = self._initialization(kind)
        for folded in self._kinds[kind].outer_loop(initialization, lessons, self._rng):
            initialization = folded
            yield None
        for lesson in lessons:
            candidate.comparisons.append(self._compare_initializations(lesson, initialization))
            comparison, part = self._compare(lesson, initialization, is_new=False)
            if comparison.chosen != CURRENT:
                candidate.arrays.update(_named(kind, lesson.name, part))
            yield None
        candidate.arrays.update(_initial(kind, initialization))
        candidate.folded.update(lesson.task for lesson in lessons)

    def _compare_initializations(self, lesson: Lesson, folded: Arrays) -> Comparison:
        """Learn a lesson from half of its examples, since an initialization is worth what it saves of them."""
        kind = self._kinds[lesson.kind]
        scarce = kind.scarce(lesson)
        usual = self._initialization(lesson.kind)
        parts = {method: kind.fit(scarce, method, usual) for method in kind.methods if method != META}
        parts |= {CURRENT: kind.fit(scarce, META, usual), META: kind.fit(scarce, META, folded)}
        scores = {method: kind.score(lesson, part) for method, part in parts.items()}
        is_new = lesson.task not in self._folded
        return Comparison(lesson.kind, lesson.name, scores, META, lesson.num_queries, is_new)

    def _compare(self, lesson: Lesson, initialization: Arrays, *, is_new: bool) -> tuple[Comparison, Arrays]:
        """Learn a lesson in every way, and take the one to serve: by its queries, of which a new one has few."""
        kind = self._kinds[lesson.kind]
        parts = {method: kind.fit(lesson, method, initialization) for method in kind.methods}
        current = self._served_part(lesson)
        scores = {method: kind.score(lesson, part) for method, part in parts.items()}
        scores[CURRENT] = kind.score(lesson, current)
        methods = kind.methods
        if current is not None and lesson.task in self._served.tasks:
            parts[CURRENT] = current
            methods = (META, CURRENT, *(method for method in methods if method != META))
        if not is_new:
            chosen = best_method(scores, methods)
        else:
            chosen = preferred_method(
                scores,
                lambda method: [kind.score(one, parts[method]) for one in kind.without_each(lesson)],
                methods,
                floor=max(scores[CURRENT], kind.min_score),
            )
        comparison = Comparison(
            lesson.kind, lesson.name, scores, chosen, lesson.num_queries, is_new, kind.min_score
        )
        return comparison, parts[chosen]

    def _unchanged(self, new: Lesson) -> list[Comparison]:
        """Compare the parts that a candidate leaves as they are: what is old must not be lost by oversight."""
        comparisons = []
        for lesson in self._replay:
            if lesson.task in self._served.tasks and (lesson.kind, lesson.name) != (new.kind, new.name):
                scores = {CURRENT: self._kinds[lesson.kind].score(lesson, self._served_part(lesson))}
                comparisons.append(
                    Comparison(lesson.kind, lesson.name, scores, CURRENT, lesson.num_queries, is_new=False)
                )
        return comparisons

    def _served_part(self, lesson: Lesson) -> Arrays | None:
        return self._served.parts(lesson.kind.value).get(lesson.name)

    def _propose(self, candidate: _Candidate, at_ns: int) -> Proposal:
        verdict = judge(candidate.comparisons, self._gate)
        version = self._version(candidate.arrays, candidate.tasks, at_ns, verdict.reason, candidate.folded)
        return Proposal(version, verdict)

    def _version(
        self,
        arrays: Mapping[str, Array],
        tasks: tuple[str, ...],
        at_ns: int,
        reason: str,
        folded: Collection[str] | None = None,
    ) -> LearnedVersion:
        seen = self._folded if folded is None else folded
        digest = hashlib.sha256("\n".join(tasks).encode()).hexdigest()
        return LearnedVersion(
            arrays=arrays, backbones=self._backbones, created_ns=at_ns, parent=self._name, tasks=tasks,
            data_digest=digest, reason=reason, scores={_FOLDED: [task for task in tasks if task in seen]},
        )  # fmt: skip

    def _initialization(self, kind: TaskKind) -> Arrays:
        return self._served.initialization(kind.value) or self._kinds[kind].first_initialization()

    def _without(self, kind: TaskKind, name: str) -> dict[str, Array]:
        prefix = f"{kind.value}/{name}/"
        return {key: array for key, array in self._served.arrays.items() if not key.startswith(prefix)}

    def _other_tasks(self, kind: TaskKind, name: str) -> tuple[str, ...]:
        prefix = f"{kind.value}/{name}/"
        return tuple(task for task in self._served.tasks if not task.startswith(prefix))


def _named(kind: TaskKind, name: str, part: Arrays) -> dict[str, Array]:
    return {f"{kind.value}/{name}/{leaf}": array for leaf, array in part.items()}


def _initial(kind: TaskKind, arrays: Arrays) -> dict[str, Array]:
    return {f"{INITIALIZATION}/{kind.value}/{leaf}": array for leaf, array in arrays.items()}
