"""Teaches a site: puts tasks on its log, and waits for what the learner makes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from cluster.announcements import Announcements
from cluster.config import SiteConfig
from cluster.errors import BadConfig
from cluster.log.open import open_log
from cluster.teach import (
    Outcome,
    Taught,
    Verdict,
    answers,
    list_taught,
    outcome,
    served_tasks,
    standing_of,
    utc,
)
from cluster.topics import Topics
from models.detectors import DetectorConfig
from models.nanodet import COCO_CLASSES
from models.torchvision_detector import torchvision_categories, torchvision_names
from pipeline.errors import BadTask
from pipeline.learning.lineage import Entry
from pipeline.records import TaskKind, TaskRecord, encode
from pipeline.teaching import check_name_is_free, forget

POLL_S: Final = 0.25
"""How often the log is asked for an answer."""


class Teacher:
    """Teaches one site; a context that frees its connection to the log.

    Args:
        site: that is taught.
        clock_s: seconds that only ever grow.
    """

    def __init__(self, site: SiteConfig, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._site = site
        self._clock_s = clock_s
        self._log = open_log(site.log)
        self._topics = Topics.with_prefix(site.topic_prefix)
        self._announcements = Announcements(self._log, self._topics.models)

    def __enter__(self) -> Teacher:
        """Make the topics that teaching needs, so that a site can be taught before it first runs.

        Raises:
            LogUnavailable: the log does not answer.
            BadConfig: the log holds topics that do not fit.
        """
        self._log.create_topics(self._topics.declare_learning())
        return self

    def __exit__(self, *exc: object) -> None:
        self._log.close()

    def teach(
        self,
        tasks: Sequence[TaskRecord],
        *,
        replace: bool = False,
        wait_s: float = 0.0,
        waiting: Callable[[float], None] = lambda _: None,
    ) -> list[Outcome]:
        """Put tasks on the log, and wait for what the learner makes of them.

        Args:
            tasks: checked ones, see `pipeline.teaching.make_task`.
            replace: whether what was taught under the same name may be taught anew.
            wait_s: seconds to wait at most; 0 does not wait.
            waiting: is called with the seconds waited so far, now and then.

        Returns:
            what became of each task, in order; WAITING where no learner has answered in time.

        Raises:
            BadTask: a name is in use; then nothing is put on the log.
            LogUnavailable: the log does not answer.
        """
        taught = list_taught(self._log, self._topics.tasks)
        names = {key: f"{one.id} on {utc(one.taught_ns)}" for key, one in taught.items()}
        for task in tasks:
            check_name_is_free(task, known_classes(self._site.detector), names, replace=replace)
        lineage = self._announcements.catch_up()
        self._put(tasks)
        described = [Taught.of(task) for task in tasks]
        questions = {
            one.id: partial(answers, one) for one in described if one.id not in served_tasks(lineage)
        }
        told = self._wait(questions, len(lineage.history), wait_s, waiting)
        return [
            outcome(one, told.get(one.id)) if one.id in questions else standing_of(one, lineage)
            for one in described
        ]

    def forget(
        self,
        name: str,
        kind: TaskKind | None = None,
        *,
        now_ns: int,
        wait_s: float = 0.0,
        waiting: Callable[[float], None] = lambda _: None,
    ) -> Outcome:
        """Have the site forget what was taught under a name; see `teach` for the arguments.

        Returns:
            PROMOTED once what is served does not hold it any more, WAITING where no learner has answered in time.

        Raises:
            BadTask: nothing was taught under that name, or several kinds were and none is given.
            LogUnavailable: the log does not answer.
        """
        taught = list_taught(self._log, self._topics.tasks)
        found = [one for one in taught.values() if one.name == name and kind in (None, one.kind)]
        if len(found) != 1:
            raise BadTask(_which(name, found, taught.values()))
        task = forget(found[0].kind, name, taught_ns=now_ns)
        lineage = self._announcements.catch_up()
        self._put([task])
        prefix = f"{task.kind.value}/{name}/"
        if not any(one.startswith(prefix) for one in served_tasks(lineage)):
            return Outcome(task=Taught.of(task), verdict=Verdict.PROMOTED)  # nothing of it is served
        told = self._wait({name: partial(_lacks, prefix)}, len(lineage.history), wait_s, waiting)
        return outcome(Taught.of(task), told.get(name))

    def outcomes(self) -> list[Outcome]:
        """Return all that is taught, and what became of it.

        Raises:
            LogUnavailable: the log does not answer.
        """
        lineage = self._announcements.catch_up()
        return [standing_of(one, lineage) for one in list_taught(self._log, self._topics.tasks).values()]

    def _put(self, tasks: Iterable[TaskRecord]) -> None:
        with self._log.producer() as producer:
            for task in tasks:
                key = f"{task.kind.value}/{task.name}".encode()
                producer.produce(self._topics.tasks, encode(task), key=key)
            producer.flush()

    def _wait(
        self,
        questions: Mapping[str, Callable[[Entry], bool]],
        seen: int,
        wait_s: float,
        waiting: Callable[[float], None],
    ) -> dict[str, Entry]:
        """Return the first announcement after the `seen` first ones that answers each question, as far as one comes."""
        begin_s = self._clock_s()
        while True:
            news = self._announcements.catch_up().history[seen:]
            found = {
                name: entry
                for name, is_answer in questions.items()
                for entry in reversed(news)
                if is_answer(entry)
            }
            waited_s = self._clock_s() - begin_s
            if len(found) == len(questions) or waited_s >= wait_s:
                return found
            waiting(waited_s)
            time.sleep(min(POLL_S, wait_s - waited_s))


def known_classes(detector: DetectorConfig) -> tuple[str, ...]:
    """Return the classes that a detector knows, without building it.

    Raises:
        BadConfig: there is no such detector.
    """
    if detector.name == "nanodet":
        return COCO_CLASSES
    if detector.name not in torchvision_names():
        raise BadConfig(f"detector.name is {detector.name!r}, which is no detector; correct the site file")
    return torchvision_categories(detector.name)


def _lacks(prefix: str, entry: Entry) -> bool:
    """Tell whether an announcement made what is served hold no task of a kind and name any more."""
    return entry.counted and not any(task.startswith(prefix) for task in entry.announcement.tasks)


def _which(name: str, found: Sequence[Taught], taught: Iterable[Taught]) -> str:
    if found:
        kinds = " or ".join(f"--kind {one.kind.value}" for one in found)
        return f"{name!r} was taught as several kinds of task: say which one to forget, {kinds}"
    known = ", ".join(sorted(f"{one.name!r} ({one.kind.value})" for one in taught))
    return f"nothing was taught under the name {name!r}; there is {known or 'nothing to forget'}"
