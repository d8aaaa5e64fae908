"""Follows which version of the learned parts is served, and hands it to who applies it.

What is served changes only when an announcement counts and its file has been read and verified; whatever fails on the
way, the version that was served before goes on being served.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from cluster.announcements import Announcements
from cluster.errors import LogUnavailable
from cluster.metrics import Metrics
from models.errors import ModelError, VersionCorrupt, VersionMissing
from models.learned import LearnedVersion, VersionStore
from pipeline.errors import BadInput
from pipeline.learning.lineage import Lineage

_logger = logging.getLogger(__name__)

FOLLOW_EVERY_S: Final = 1.0
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 60.0
"""A version that cannot be served is tried again after the first, then twice as long each time, up to the longest."""


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """Is what a process serves at one moment; immutable, so that a batch may hold on to it."""

    name: str = ""
    """E.g. `learned@1f0c2a7b9d3e`; empty for none: the frozen networks alone."""
    serial: int = 0
    """How many changes led to it; two processes with the same serial serve the same."""
    learned: LearnedVersion | None = None
    """What was learned; None where nothing is served."""


class FeedError(StrEnum):
    """Names why a feed could not go on; the label `cause` of its metric."""

    LOG = "log"
    """The log does not answer, or has no such topic."""
    RECORD = "record"
    """A record of the topic is no announcement."""
    MISSING = "missing"
    """The announced file is not there."""
    CORRUPT = "corrupt"
    """The announced file is torn, tampered with, or something else."""
    REFUSED = "refused"
    """Who applies it cannot."""
    BUG = "bug"
    """Nothing that is expected to happen."""


class ModelFeed:
    """Keeps the version to serve up to date, about once a second, in a thread of its own.

    Take `served` once a batch: it is swapped as a whole, never changed.

    Args:
        announcements: of the site; owned by the feed from now on.
        store: where the files are.
        metrics: of this process.
        on_change: called with what is about to be served, in the feed's thread, before `served` shows it: prepares
            what a batch needs. Raises ModelError to refuse it: then the one before goes on being served.
        clock_s: seconds that only ever grow.
    """

    def __init__(
        self, *, announcements: Announcements, store: VersionStore, metrics: Metrics,
        on_change: Callable[[ServedVersion], None] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._announcements = announcements
        self._store = store
        self._metrics = metrics
        self._on_change = on_change
        self._clock_s = clock_s
        self._lock = threading.Lock()  # `load_current` and the thread
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._served = ServedVersion()
        self._failed_serial = 0
        self._retry_s = FIRST_RETRY_S
        self._try_at_s = 0.0

    @property
    def served(self) -> ServedVersion:
        """What is to be applied now."""
        return self._served

    def load_current(self) -> ServedVersion:
        """Read the log and load what is served, before the first batch.

        A version that cannot be loaded is logged and counted, and tried again by the thread.

        Raises:
            LogUnavailable: the log does not answer; call again.
            BadInput: the log has no such topic.
        """
        with self._lock:
            self._read()
            self._follow()
        return self._served

    def step(self) -> ServedVersion:
        """Look once, and return what is served now; what fails is logged, counted, and tried again later."""
        with self._lock:
            try:
                self._read()
            except (LogUnavailable, BadInput) as error:
                self._tell(FeedError.LOG, error)
            self._follow()
        return self._served

    def start(self) -> Self:
        """Follow from now on, in a thread of its own."""
        assert self._thread is None, "a feed is started once"
        self._thread = threading.Thread(target=self._run, name="model-feed", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop following; what is served stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stop.wait(FOLLOW_EVERY_S):
            try:
                self.step()
            except Exception as error:  # the edge of the thread: without it nothing would be followed
                _logger.exception("the feed of versions met a bug")
                self._tell(FeedError.BUG, error)

    def _read(self) -> None:
        unreadable = self._announcements.num_unreadable
        try:
            self._announcements.catch_up()
        finally:
            num = self._announcements.num_unreadable - unreadable
            self._metrics.model_feed_errors.labels(FeedError.RECORD.value).inc(num)

    def _follow(self) -> None:
        """Serve what the announcements say, if it can be loaded; else wait longer each time before the next try."""
        lineage = self._announcements.lineage
        if lineage.serial == self._served.serial:
            return
        if lineage.serial != self._failed_serial:
            self._retry_s = FIRST_RETRY_S
        elif self._clock_s() < self._try_at_s:
            return
        try:
            self._serve(lineage)
        except ModelError as error:
            self._tell(_cause(error), error)
            self._failed_serial = lineage.serial
            self._try_at_s = self._clock_s() + self._retry_s
            self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    def _serve(self, lineage: Lineage) -> None:
        if lineage.current == self._served.name:  # it was away in between, and is back before anybody noticed
            served = ServedVersion(self._served.name, lineage.serial, self._served.learned)
        else:
            origin = lineage.origin
            learned = None if origin is None else self._store.get(origin.version, origin.sha256)
            served = ServedVersion(lineage.current, lineage.serial, learned)
            if self._on_change is not None:
                self._on_change(served)
        _logger.info("serving another version", extra={"version": served.name, "serial": served.serial})
        self._served = served
        self._metrics.model_serial.set(served.serial)

    def _tell(self, cause: FeedError, error: Exception) -> None:
        self._metrics.model_feed_errors.labels(cause.value).inc()
        lineage = self._announcements.lineage
        extra = {
            "cause": cause.value,
            "error": str(error),
            "served": self._served.name,
            "wanted": lineage.current,
        }
        _logger.error("the version served stays: another one cannot be followed", extra=extra)


def _cause(error: ModelError) -> FeedError:
    if isinstance(error, VersionMissing):
        return FeedError.MISSING
    return FeedError.CORRUPT if isinstance(error, VersionCorrupt) else FeedError.REFUSED
