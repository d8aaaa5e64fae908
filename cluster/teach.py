"""Says what is taught at a site, and what became of it, from the topics `tasks` and `models`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cluster.log.protocol import Log
from pipeline.errors import BadInput
from pipeline.learning.lineage import Entry, Lineage, Standing
from pipeline.records import TaskKind, TaskRecord, TaskScore, VersionAction, decode
from pipeline.teaching import task_id

_logger = logging.getLogger(__name__)

TaskKey = tuple[TaskKind, str]
"""Kind and name: the last record of it holds."""


class Verdict(StrEnum):
    """Names what became of a task."""

    PROMOTED = "promoted"
    """What was learned of it is served."""
    REJECTED = "rejected"
    """What was learned of it was judged and is not served."""
    WITHDRAWN = "withdrawn"
    """What was learned of it was served, until an earlier version was gone back to."""
    WAITING = "waiting"
    """It is in the log, and no learner has answered yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """Says what is known of a task."""

    id: str
    kind: TaskKind
    name: str
    taught_ns: int
    num_examples: int
    num_queries: int

    @classmethod
    def of(cls, task: TaskRecord) -> Taught:
        """Describe a task."""
        return cls(
            id=task_id(task), kind=task.kind, name=task.name, taught_ns=task.taught_ns,
            num_examples=len(task.examples), num_queries=sum(example.query for example in task.examples),
        )  # fmt: skip

    @property
    def is_forgotten(self) -> bool:
        """Tell whether the name is to be forgotten."""
        return self.num_examples == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Says what became of a task that was taught."""

    task: Taught
    verdict: Verdict
    entry: Entry | None = None
    """The announcement that told it, if one did."""

    @property
    def score(self) -> TaskScore | None:
        """Return how the task's queries are answered, where that was told."""
        scores = self.entry.announcement.scores if self.entry else ()
        wanted = (self.task.kind, self.task.name)
        return next((score for score in scores if (score.kind, score.name) == wanted), None)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        told: dict[str, Any] = {}
        if self.entry is not None:
            told = {"version": self.entry.announcement.version, "reason": self.entry.announcement.reason}
        if self.score is not None:
            told |= {
                "method": self.score.chosen,
                "before": self.score.scores.get("current"),
                "after": self.score.scores.get(self.score.chosen),
                "scores": self.score.scores,
            }
        return {
            "task": self.task.id, "kind": self.task.kind.value, "name": self.task.name,
            "taught": utc(self.task.taught_ns), "examples": self.task.num_examples,
            "held_out": self.task.num_queries, "verdict": self.verdict.value, **told,
        }  # fmt: skip

    def sentence(self) -> str:
        """Tell it to people."""
        told = self.as_json()
        task = f"{self.task.id} ({self.task.num_examples} examples, {self.task.num_queries} of them held out)"
        match self.verdict:
            case Verdict.PROMOTED:
                where = told.get("version", "part of what was served already")
                return f"{task} is learned, and served as {where}{self._scores()}"
            case Verdict.REJECTED:
                why = f": {told['reason']}" if told["reason"] else self._scores()
                return f"{task} is rejected{why}; what is served has not changed"
            case Verdict.WITHDRAWN:
                return f"{task} was learned, and is not served since an earlier version was gone back to"
            case Verdict.WAITING:
                return f"{task} is in the log, and waits for a learner"

    def _scores(self) -> str:
        if self.score is None:
            return ""
        before, after = (self.score.scores.get(name) for name in ("current", self.score.chosen))
        numbers = ("unknown" if value is None else f"{value:.3f}" for value in (after, before))
        return ": scores {} on the held-out examples, {} before".format(*numbers)


def read_tasks(log: Log, topic: str) -> dict[TaskKey, TaskRecord]:
    """Return all that is taught at a site, by kind and name; what was forgotten is absent.

    Raises:
        BadInput: the log has no such topic.
        LogUnavailable: the log does not answer.
    """
    tasks = {(task.kind, task.name): task for task in _records(log, topic)}
    return {key: task for key, task in tasks.items() if task.examples}


def list_taught(log: Log, topic: str) -> dict[TaskKey, Taught]:
    """Return what `read_tasks` does, without the pictures: one record at a time is in memory."""
    tasks = {(task.kind, task.name): Taught.of(task) for task in _records(log, topic)}
    return {key: task for key, task in tasks.items() if not task.is_forgotten}


def standing_of(task: Taught, lineage: Lineage) -> Outcome:
    """Say what became of a task: it is served, or what was last said of it."""
    told = [entry for entry in lineage.history if answers(task, entry)]
    if task.id in served_tasks(lineage):
        entry = next((one for one in told if one.announcement.version == lineage.current), None)
        return Outcome(task=task, verdict=Verdict.PROMOTED, entry=entry)
    if told and told[-1].counted:
        return Outcome(task=task, verdict=Verdict.WITHDRAWN, entry=told[-1])
    return outcome(task, told[-1] if told else None)


def served_tasks(lineage: Lineage) -> tuple[str, ...]:
    """Return the tasks that are part of what is served."""
    return lineage.origin.tasks if lineage.origin else ()


def answers(task: Taught, entry: Entry) -> bool:
    """Tell whether an announcement is about a task: later ones name it as well, as one of those left as they were."""
    told = entry.announcement
    if (
        entry.standing is Standing.VOID
        or told.action is VersionAction.ROLLED_BACK
        or task.id not in told.tasks
    ):
        return False
    scores = [score for score in told.scores if (score.kind, score.name) == (task.kind, task.name)]
    return not scores or scores[0].is_new


def outcome(task: Taught, entry: Entry | None) -> Outcome:
    """Say what became of a task by the announcement that is about it, None while there is none."""
    if entry is None:
        return Outcome(task=task, verdict=Verdict.WAITING)
    verdict = Verdict.PROMOTED if entry.counted else Verdict.REJECTED
    return Outcome(task=task, verdict=verdict, entry=entry)


def utc(at_ns: int) -> str:
    """Write a Unix time for people, to the second."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="seconds")


def _records(log: Log, topic: str) -> Iterator[TaskRecord]:
    for record in log.read(topic):
        try:
            yield decode(record.value, TaskRecord)
        except BadInput as error:
            detail = {"detail": str(error), "offset": record.offset}
            _logger.warning("record of the tasks topic passed over", extra=detail)
