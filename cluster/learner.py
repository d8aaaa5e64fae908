"""Learns while the site serves: takes tasks from the log, lets the gate judge, and announces what comes out.

It is off the serving path: whatever happens to it, what is served stays. One thread calls it; each step is a slice of
work of a second or so, and the outer loop rests while serving is behind. What computes gives way to those who serve, what
speaks to the log does not.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from cluster.announcements import Announcements, publish
from cluster.config import SiteConfig
from cluster.log.lag import lag
from cluster.log.protocol import Log, TopicPartition
from cluster.metrics import Metrics
from cluster.teach import read_tasks
from cluster.topics import Topics
from cluster.tracklet_watch import TrackletWatch
from models.errors import ModelError
from models.learned import LearnedVersion, VersionStore
from pipeline.errors import BadInput
from pipeline.learning.gate import Verdict
from pipeline.learning.learning import Learning, Proposal
from pipeline.learning.lineage import Lineage, Standing
from pipeline.records import ModelAnnouncement, TaskRecord, decode
from pipeline.teaching import check_task, task_id

_logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
"""Between two looks at how far serving is behind, and at what the cameras' tracks look like."""


_T = TypeVar("_T")


class AtLeisure(Protocol):
    """Does work where it hinders nobody, waits for it, and returns what it returns or raises what it raises."""

    def __call__(self, work: Callable[[], _T]) -> _T:
        """Do it."""


def at_once(work: Callable[[], _T]) -> _T:
    """Do work here and now."""
    return work()


@dataclass(frozen=True, slots=True)
class _Taught:
    """Is a record of topic `tasks` that waits to be learned."""

    at: TopicPartition
    offset: int
    value: bytes


class _Decided(NamedTuple):
    """Is what is to be announced, kept until it is."""

    version: LearnedVersion
    draft: ModelAnnouncement
    verdict: Verdict | None
    taught: _Taught | None


class MetaLearner:
    """Learns until told to stop. All collaborators are passed in; one thread calls it.

    `open_learning` loads the networks that tasks are studied with; it is called when the first task is there.
    `report` is told of each verdict. Both, and all that computes, are called by `at_leisure`.
    """

    def __init__(
        self, *, site: SiteConfig, topics: Topics, log: Log, open_learning: Callable[[], Learning], store: VersionStore,
        metrics: Metrics, watch: TrackletWatch, report: Callable[[ModelAnnouncement], object],
        at_leisure: AtLeisure = at_once, clock_s: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:  # fmt: skip
        self._config = site.learning
        self._topics = topics
        self._log = log
        self._open_learning = open_learning
        self._opened: Learning | None = None
        self._served: tuple[str, LearnedVersion | None] = ("", None)
        self._store = store
        self._metrics = metrics
        self._watch = watch
        self._report = report
        self._at_leisure = at_leisure
        self._clock_s = clock_s
        self._clock_ns = clock_ns
        self._announcements = Announcements(log, topics.models, clock_s)
        self._serial = -1
        self._lost = False
        self._fold: Iterator[Proposal | None] | None = None
        self._folded_s = clock_s()
        self._looked_s = clock_s() - LOOK_EVERY_S
        self._behind = False
        self._drifted = False
        self._waiting: deque[_Taught] = deque()
        self._decided: _Decided | None = None
        self.num_partitions = 0
        """Partitions of topic `tasks` that this learner owns: one, once it has joined. Of two learners one waits."""
        self._follow()
        self._to_remember = deque(self._served_tasks())
        self._consumer = log.consumer(topics.learner_group, [topics.tasks])

    def step(self, timeout_s: float) -> int:
        """Do one slice of what is due, and return how much was done.

        Steps: 1 announce what was decided, 2 see what is served now, 3 take tasks, 4 learn one, or remember one, or
        go on with the outer loop.

        Raises:
            LogUnavailable: the log is away. What was decided is kept, and the next call goes on with it.
        """
        # Step 1
        self._announce()
        # Step 2
        self._follow()
        # Step 3
        idle = not (self._waiting or self._to_remember or self._fold)
        for record in self._consumer.poll(16, timeout_s if idle else 0.0):
            self._waiting.append(_Taught(record.topic_partition, record.offset, record.value))
        self.num_partitions = len(self._consumer.assignment())
        if self.num_partitions == 0:
            self._waiting.clear()
        if self.num_partitions == 0 or self._lost:
            return 0
        self._look()
        # Step 4
        return self._work()

    def close(self) -> None:
        """Leave the group and free the log's clients."""
        self._consumer.close()

    def _work(self) -> int:
        if self._to_remember:
            self._remember(self._to_remember.popleft())
        elif self._waiting:
            self._fold = None  # what it compares with is about to change
            self._learn(self._waiting[0])
            self._announce()
        elif self._fold is not None and not self._behind:
            self._go_on_folding(self._fold)
        elif self._fold is None and self._is_fold_due():
            _logger.info("outer loop begins", extra={"tasks": self._learning.num_lessons})
            self._fold = self._learning.fold(self._clock_ns())
        else:
            return 0
        return 1

    def _follow(self) -> None:
        """Take what is served now as what candidates are measured against."""
        lineage = self._announcements.catch_up()
        if lineage.serial == self._serial:
            return
        self._fold = None
        origin = lineage.origin
        try:
            version = None if origin is None else self._store.get(origin.version, origin.sha256)
        except ModelError as error:
            if not self._lost:
                extra = {"version": lineage.current, "error": str(error)}
                _logger.error("nothing is learned until the served version can be read", extra=extra)
            self._lost = True
            return
        self._lost = False
        self._served = (lineage.current, version)
        if self._opened is not None:
            self._opened.serve(*self._served)
        self._serial = lineage.serial

    @property
    def _learning(self) -> Learning:
        if self._opened is None:
            self._opened = self._at_leisure(self._open_learning)
            self._opened.serve(*self._served)
        return self._opened

    def _served_tasks(self) -> list[TaskRecord]:
        """Return the tasks that were learned before this process began; the others come by the consumer."""
        version = self._served[1]
        if version is None:
            return []
        taught = read_tasks(self._log, self._topics.tasks)
        return [task for task in taught.values() if task_id(task) in version.tasks]

    def _remember(self, task: TaskRecord) -> None:
        try:
            learning = self._learning
            self._at_leisure(lambda: learning.remember(task))
        except (BadInput, ModelError) as error:  # an older release may have taken what this one does not
            extra = {"task": task_id(task), "error": str(error)}
            _logger.warning("a task of before cannot be replayed", extra=extra)
        self._metrics.learning_tasks.set(self._learning.num_lessons)

    def _learn(self, taught: _Taught) -> None:
        """Learn from one record, and decide what is announced of it."""
        try:
            task = decode(taught.value, TaskRecord)
            if not task.examples:
                self._forget(task, taught)
                return
            check_task(task)
            if self._learning.is_served(task):
                self._done_with(taught)
                return
            learning = self._learning
            proposal = self._at_leisure(lambda: learning.teach(task, self._clock_ns()))
        except (BadInput, ModelError) as error:
            self._refuse(taught, str(error))
            return
        self._decide(proposal, taught)

    def _forget(self, task: TaskRecord, taught: _Taught) -> None:
        version = self._learning.forget(task.kind, task.name, self._clock_ns())
        if version is None:
            self._done_with(taught)
            return
        draft = self._lineage.promotion(at_ns=self._clock_ns(), reason=version.reason)
        self._decided = _Decided(version, draft, None, taught)

    def _refuse(self, taught: _Taught, reason: str) -> None:
        """Say in the log why a task cannot be learned, so that whoever taught it hears."""
        _logger.warning("task refused", extra={"offset": taught.offset, "reason": reason})
        self._metrics.learning_updates.labels("refused").inc()
        try:
            task = decode(taught.value, TaskRecord)
        except BadInput:
            self._done_with(taught)  # nobody can be waiting for what has no name
            return
        version = self._learning.refusal(task, reason, self._clock_ns())
        draft = self._lineage.rejection(at_ns=self._clock_ns(), reason=reason)
        self._decided = _Decided(version, draft, None, taught)

    def _decide(self, proposal: Proposal, taught: _Taught | None) -> None:
        version, verdict = proposal
        lineage, at_ns = self._lineage, self._clock_ns()
        if verdict.promoted:
            draft = lineage.promotion(at_ns=at_ns, reason=verdict.reason)
        else:
            draft = lineage.rejection(at_ns=at_ns, reason=verdict.reason)
        scores = tuple(comparison.record() for comparison in verdict.comparisons)
        self._decided = _Decided(version, msgspec.structs.replace(draft, scores=scores), verdict, taught)

    def _announce(self) -> None:
        """Announce what was decided; what does not count is decided again, against what is served by then."""
        if self._decided is None:
            return
        version, draft, verdict, taught = self._decided
        published = publish(self._announcements, self._store, version, draft)
        self._decided = None
        announcement = published.entry.announcement
        standing = published.entry.standing
        told = {"version": published.stored.name, "standing": standing.value, "reason": draft.reason}
        _logger.info("learned", extra=told)
        self._metrics.learning_updates.labels(standing.value).inc()
        if verdict is not None:
            self._at_leisure(lambda: self._report(announcement))
            self._metrics.learning_gain.set(verdict.gain)
        if taught is not None and standing is not Standing.VOID:
            self._done_with(taught)
        self._metrics.learning_tasks.set(self._learning.num_lessons)

    def _done_with(self, taught: _Taught) -> None:
        if self._waiting and self._waiting[0] is taught:
            self._waiting.popleft()
        self._consumer.commit({taught.at: taught.offset + 1})

    def _go_on_folding(self, fold: Iterator[Proposal | None]) -> None:
        """Do one slice of the outer loop; the last one gives the candidate, if there is any."""
        done = self._at_leisure(lambda: [*islice(fold, 1)])
        if not done or done[0] is not None:
            self._end_folding()
        if done and done[0] is not None:
            self._decide(done[0], None)
            self._announce()

    def _end_folding(self) -> None:
        self._fold, self._folded_s, self._drifted = None, self._clock_s(), False

    def _is_fold_due(self) -> bool:
        if self._opened is None or not self._opened.num_lessons:
            return False
        unfolded = self._learning.num_unfolded
        waited_s = self._clock_s() - self._folded_s
        return (
            self._drifted
            or unfolded >= self._config.fold_every_tasks
            or (unfolded > 0 and waited_s >= self._config.fold_every_s)
        )

    def _look(self) -> None:
        """See now and then whether serving is behind, and whether a camera sees otherwise than it used to."""
        if self._clock_s() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = self._clock_s()
        waiting = lag(self._log, self._topics.shard_group, self._topics.frames)
        self._behind = waiting > self._config.rest_above_frames
        for drift in self._at_leisure(self._watch.look):
            self._metrics.learning_drift.labels(drift.camera).set(drift.distance)
            if drift.drifted:
                _logger.warning(
                    "a camera sees otherwise than before", extra={"camera": drift.camera, "p": drift.p}
                )
                self._metrics.learning_drifts.labels(drift.camera).inc()
                self._drifted = True

    @property
    def _lineage(self) -> Lineage:
        return self._announcements.lineage
