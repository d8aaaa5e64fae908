"""Runs a plain class's `step` in a Ray actor until stopped. Light to import: an actor's class is, before it has begun."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import ray
from prometheus_client import CollectorRegistry

from cluster.errors import LogUnavailable
from cluster.logs import log_as_json
from cluster.metrics import Metrics

_logger = logging.getLogger(__name__)
as_actor: Any = ray.remote  # its stubs know neither `concurrency_groups` nor `.options`


class Worker(Protocol):
    """Pulls from the log and processes; one thread calls it."""

    @property
    def num_partitions(self) -> int:
        """Partitions that it owns."""

    def step(self, timeout_s: float) -> int:
        """Process a batch, and return how much that was.

        Raises:
            LogUnavailable: the log is away; call again.
        """

    def close(self) -> None:
        """Leave the group and free the log's clients."""


class PullActor:
    """Builds a worker and runs it until stopped; answers `stop` and `num_partitions` meanwhile."""

    part = ""

    def __init__(self) -> None:
        log_as_json()
        self._stop = threading.Event()
        self._metrics = Metrics(CollectorRegistry())
        self._worker: Worker | None = None

    def _build(self) -> Worker:
        raise AssertionError("each actor builds its own worker")

    def _built_or_stopped(self) -> bool:
        return self._worker is not None or self._stop.is_set()

    def _build_step(self, _timeout_s: float) -> int:
        self._worker = self._build()
        return 0

    def run(self) -> None:
        """Build the worker, then pull and process until `stop`; raises what they raise, after logging it."""
        try:
            run_until(self._built_or_stopped, self._build_step, self._metrics, self.part)
            if self._worker is not None:
                run_until(self._stop.is_set, self._worker.step, self._metrics, self.part)
        except Exception:
            _logger.exception("worker died", extra={"part": self.part})
            raise
        finally:
            worker, self._worker = self._worker, None
            if worker is not None:
                worker.close()

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """Let the batch in hand finish, then return from `run`."""
        self._stop.set()

    @ray.method(concurrency_group="control")
    def num_partitions(self) -> int:
        """Return how many partitions the worker owns; answers while `run` is busy."""
        worker = self._worker  # `run` may let go of it meanwhile
        return 0 if worker is None else worker.num_partitions


def run_until(
    stopped: Callable[[], bool],
    step: Callable[[float], int],
    metrics: Metrics,
    part: str,
    retry_s: float = 1.0,
) -> None:
    """Call `step` until stopped; while the log is away, keep trying. Any other error is a bug and ends the run."""
    while not stopped():
        try:
            step(0.2)
        except LogUnavailable as error:
            metrics.log_errors.labels(part).inc()
            _logger.warning("log unavailable, trying again", extra={"part": part, "error": str(error)})
            time.sleep(retry_s)
