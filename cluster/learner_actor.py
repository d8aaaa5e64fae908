"""Wraps the learner as a Ray actor that gives way to those who serve, from its first import on.

Only what is light is imported here: Ray unpickles an actor's class and arguments before it can give way, and what a
learner computes with takes seconds to import.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from cluster.pull_actor import PullActor, as_actor

if TYPE_CHECKING:
    from cluster.config import SiteConfig
    from cluster.learner import MetaLearner

_logger = logging.getLogger(__name__)

STARVED_S: Final = 2.0
STARVED_SHARE: Final = 0.1
AGAIN_AFTER_S: Final = 300.0
"""Work that took longer than the first, and had the CPU for a smaller share of that than the second, was starved: for so
long there is taken to be no idle time, since who teaches must get an answer within a minute on a busy machine too."""

_T = TypeVar("_T")


class Leisure:
    """Does work in threads of its own that are less urgent to the CPU than others, and waits for it.

    Who asks for it stays urgent: whoever holds the log's write lock must not wait for the CPU, since all others would
    wait with it. Linux counts niceness by thread, and threads begun in one inherit it.

    Args:
        nice: by how much, 0 to 19.
        clock_s: seconds that only ever grow.
    """

    def __init__(self, nice: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._nice = ThreadPoolExecutor(1, "nice", initializer=os.nice, initargs=(nice,))
        self._idle = ThreadPoolExecutor(1, "idle", initializer=_take_only_idle_time)
        self._idle_again_s = clock_s()

    def __call__(self, work: Callable[[], _T]) -> _T:
        """Do work in time that nobody else wants, or nicely where there is next to none of that.

        Returns what it returns, or raises what it raises. A thread that wakes up takes the CPU from idle work at once,
        from nice work after up to 3 ms.
        """
        is_starved = self._clock_s() < self._idle_again_s
        return self._do(self._nice if is_starved else self._idle, work)

    def nicely(self, work: Callable[[], _T]) -> _T:
        """Do work that must go on however busy the machine is."""
        return self._do(self._nice, work)

    def _do(self, thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        begin_s = self._clock_s()
        result, used_s = thread.submit(_timed, work).result()
        now_s = self._clock_s()
        if now_s - begin_s > STARVED_S and used_s < STARVED_SHARE * (now_s - begin_s):
            self._idle_again_s = now_s + AGAIN_AFTER_S
            _logger.info("no idle time to learn in", extra={"took_s": now_s - begin_s, "used_s": used_s})
        return result


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    """Return what work returns, and for how many seconds it had the CPU."""
    begin_s = time.thread_time()
    return work(), time.thread_time() - begin_s


def _take_only_idle_time() -> None:
    if hasattr(os, "SCHED_IDLE"):  # Linux
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


@as_actor(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})
class LearnerActor(PullActor):
    """Is the site's one `MetaLearner` in a process of its own, less urgent to the CPU than those that serve.

    Args:
        site: a `SiteConfig`, pickled: to unpickle it, what it is made of has to be imported.
        nice: by how much it is less urgent, 0 to 19.
    """

    part = "learner"

    def __init__(self, site: bytes, nice: int) -> None:
        super().__init__()
        self._site = site
        self._leisure = Leisure(nice)

    def _build(self) -> MetaLearner:
        build = self._leisure.nicely(_import_builder)
        site: SiteConfig = pickle.loads(self._site)  # noqa: S301 (by the process that began this actor)
        return build(site, self._metrics, self._leisure)


def _import_builder() -> Callable[..., MetaLearner]:
    from cluster.learner_building import build_learner

    return build_learner
