"""Starts a site on Ray, keeps it running, and stops it without losing a frame."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pickle
import tempfile
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import ray
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from cluster.actors import GalleryActor, PerceptionActor, ShardActor
from cluster.config import SiteConfig
from cluster.errors import ClusterError, LogUnavailable
from cluster.learner_actor import LearnerActor
from cluster.log.lag import lag
from cluster.log.open import open_log
from cluster.log.protocol import Log
from cluster.metrics import STAGES, Metrics
from cluster.topics import NUM_FRAME_PARTITIONS, Topics

_logger = logging.getLogger(__name__)
FIRST_BACK_OFF_S = 1.0
MAX_BACK_OFF_S = 30.0
ASK_FOR_TASKS_EVERY_S = 1.0
STEADY_S = 60.0
"""A worker that ran this long before it died is started again without waiting longer each time."""


def _options(actor: Any, **options: float) -> Any:
    """Set an actor's resources; `ray.remote` adds this to a class, which no type checker sees."""
    return actor.options(**options)


@dataclass(slots=True)
class _Worker:
    """Is an actor and its current `run` call."""

    part: str
    actor: Any
    run: Any
    started_s: float
    back_off_s: float = FIRST_BACK_OFF_S
    num_deaths: int = 0
    again_s: float | None = None
    """When to call `run` again, while it is not running."""


class Site:
    """Is a running site; use it as a context manager and call `tend` now and then.

    Raises:
        LogUnavailable: the log does not answer at the start.
        BadConfig: the log holds topics that do not fit this site.
    """

    def __init__(self, config: SiteConfig, *, give_up_after: int = 0) -> None:
        """Describe a site; it starts when entered.

        Args:
            config: the site.
            give_up_after: deaths of one worker after which `tend` raises; 0 starts it again for ever.
        """
        self.config = config
        self._give_up_after = give_up_after
        self.topics = Topics.with_prefix(config.topic_prefix)
        self.log: Log = open_log(config.log)
        self.metrics_port: int | None = None
        """The port that `/metrics` is served on, once entered."""
        self._workers: list[_Worker] = []
        self._perception: list[Any] = []
        self._owns_ray = False
        self._server: Any = None
        self._registry = CollectorRegistry()
        self._metrics = Metrics(CollectorRegistry())
        self._ask_for_tasks_s = 0.0

    def __enter__(self) -> Self:
        self.log.create_topics(
            self.topics.declare(
                frames_retention_bytes=self.config.frames_retention_bytes,
                results_retention_s=self.config.results_retention_s,
            )
        )
        metrics_dir = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp(
            prefix="camweave-metrics-"
        )
        self._start_ray(metrics_dir)
        self._serve_metrics(metrics_dir)
        self._start_workers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_ready(self, timeout_s: float = 120.0) -> None:
        """Tend the site until all partitions are spread over all workers.

        Frames sent before that are not lost, but cameras would change shards under way and be tracked anew.

        Raises:
            ClusterError: it is not ready after `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self._is_ready():
            if time.monotonic() > deadline_s:
                raise ClusterError(
                    f"the site is not ready after {timeout_s:.0f} s; see the workers' logs above"
                )
            self.tend()
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        shards = [worker for worker in self._workers if worker.part == "shard"]
        gallery = [worker for worker in self._workers if worker.part == "gallery"]
        try:
            owned = ray.get([worker.actor.num_partitions.remote() for worker in shards + gallery], timeout=10)
        except ray.exceptions.RayError:
            return False  # starting, or starting again
        fair = NUM_FRAME_PARTITIONS // len(shards)
        frames = owned[: len(shards)]
        return bool(owned[-1] == 1 and sum(frames) == NUM_FRAME_PARTITIONS and min(frames) >= fair)

    def tend(self) -> None:
        """Start again what has died, after a back-off that doubles unless it had run steadily.

        Raises:
            ClusterError: a worker has died too often; the message holds its last error.
        """
        now_s = time.monotonic()
        self._start_learner_once_taught(now_s)
        for worker in self._workers:
            if worker.again_s is None:
                self._notice_death(worker, now_s)
            elif now_s >= worker.again_s:
                worker.again_s = None
                worker.started_s = now_s
                worker.run = worker.actor.run.remote()
                self._metrics.worker_restarts.labels(worker.part).inc()

    def _start_learner_once_taught(self, now_s: float) -> None:
        """Start the learner when there is something to learn: a site that was never taught pays nothing for it."""
        if not self.config.learning.enabled or now_s < self._ask_for_tasks_s:
            return
        self._ask_for_tasks_s = now_s + ASK_FOR_TASKS_EVERY_S
        with contextlib.suppress(LogUnavailable):  # asked again
            if any(self.log.end_offsets(self.topics.tasks).values()):
                self._ask_for_tasks_s = math.inf
                site = pickle.dumps(self.config)
                learner = _options(LearnerActor, num_cpus=0.1).remote(site, self.config.learning.nice)
                self._start("learner", learner)

    def drained(self) -> bool:
        """Tell whether everything in the log has been processed and decided."""
        return self.lag(self.topics.shard_group, self.topics.frames) == 0 and (
            self.lag(self.topics.gallery_group, self.topics.tracklets) == 0
        )

    def lag(self, group: str, topic: str) -> int:
        """Return how many records `group` has not committed yet."""
        return lag(self.log, group, topic)

    def stage_seconds(self) -> dict[str, float]:
        """Return the seconds that the shards have spent in each stage so far."""
        return {stage: self._sample("camweave_stage_seconds_sum", {"stage": stage}) for stage in STAGES}

    def summary(self) -> dict[str, Any]:
        """Count what has happened so far."""
        totals: dict[str, dict[str, int]] = {}
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    counts = totals.setdefault(sample.name.removeprefix("camweave_"), {})
                    counts[",".join(sample.labels.values()) or "all"] = round(sample.value)
        return {"site": self.config.site, **totals}

    def num_identities(self) -> int:
        """Return how many identities the gallery remembers."""
        return round(self._sample("camweave_gallery_identities", {}))

    def wait_until_drained(self, timeout_s: float, poll_s: float = 0.5) -> None:
        """Tend the site until it has caught up.

        Raises:
            ClusterError: it has not after `timeout_s`; the message gives the lag.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self.drained():
            if time.monotonic() > deadline_s:
                frames = self.lag(self.topics.shard_group, self.topics.frames)
                raise ClusterError(
                    f"the site is not done after {timeout_s:.0f} s: {frames} frames wait; see the workers' logs above"
                )
            self.tend()
            time.sleep(poll_s)

    def stop(self) -> None:
        """Let every worker finish its batch and commit, then free everything."""
        running = [worker for worker in self._workers if worker.again_s is None]
        try:
            ray.get([worker.actor.stop.remote() for worker in running], timeout=10)
            ray.wait([worker.run for worker in running], num_returns=len(running), timeout=30)
        except (ray.exceptions.RayError, ValueError) as error:
            _logger.warning("a worker did not stop in order", extra={"error": str(error)})
        for actor in [worker.actor for worker in self._workers] + self._perception:
            ray.kill(actor)
        self._workers.clear()
        self._perception.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server = None
        if self._owns_ray:
            ray.shutdown()
        self.log.close()

    def _start_ray(self, metrics_dir: str) -> None:
        if ray.is_initialized():
            return
        self._owns_ray = True
        address = os.environ.get("RAY_ADDRESS")
        environment = {"env_vars": {"PROMETHEUS_MULTIPROC_DIR": metrics_dir}}
        if address:
            ray.init(address=address, runtime_env=environment, log_to_driver=True)
            return
        # Ray's workers are less urgent than all else by default (15), and the learner could hardly be less so.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(
            runtime_env=environment, include_dashboard=False, log_to_driver=True, logging_level=logging.ERROR,
            object_store_memory=256 << 20,
        )  # fmt: skip

    def _sample(self, name: str, labels: dict[str, str]) -> float:
        return self._registry.get_sample_value(name, labels) or 0.0

    def _serve_metrics(self, metrics_dir: str) -> None:
        MultiProcessCollector(self._registry, path=metrics_dir)  # type: ignore[no-untyped-call]  # prometheus_client
        if self.config.metrics_port < 0:
            return
        try:
            self._server, _ = start_http_server(
                self.config.metrics_port, self.config.metrics_host, self._registry
            )
        except OSError as error:
            raise ClusterError(
                f"cannot serve metrics on {self.config.metrics_host}:{self.config.metrics_port}: {error.strerror}; "
                "set metrics_port to a free port, 0 for any, -1 for none"
            ) from error
        self.metrics_port = self._server.server_port

    def _start_workers(self) -> None:
        config = self.config
        if config.placement == "split":
            self._perception = [
                _options(PerceptionActor, num_cpus=0.5, num_gpus=config.perception_gpus).remote(config)
                for _ in range(config.num_perception)
            ]
        self._start("gallery", _options(GalleryActor, num_cpus=0.1).remote(config))
        gpus = config.perception_gpus if config.placement == "fused" else 0
        for index in range(config.num_shards):
            perception = self._perception[index % len(self._perception)] if self._perception else None
            shard = _options(ShardActor, num_cpus=0.5, num_gpus=gpus).remote(config, perception)
            self._start("shard", shard)

    def _start(self, part: str, actor: Any) -> None:
        self._workers.append(_Worker(part, actor, actor.run.remote(), time.monotonic()))

    def _notice_death(self, worker: _Worker, now_s: float) -> None:
        done, _ = ray.wait([worker.run], timeout=0)
        if not done:
            return
        try:
            ray.get(worker.run)
        except ray.exceptions.RayActorError as error:  # the process died; Ray is starting another
            worker.again_s = now_s + FIRST_BACK_OFF_S
            _logger.warning(
                "process died, going on in another", extra={"part": worker.part, "error": str(error)}
            )
        except ray.exceptions.RayError as error:
            # The worker raised: a bug, or something that it cannot do without.
            worker.num_deaths += 1
            if worker.num_deaths == self._give_up_after:
                raise ClusterError(
                    f"the {worker.part} died {worker.num_deaths} times, last of: {error}"
                ) from error
            if now_s - worker.started_s > STEADY_S:
                worker.back_off_s = FIRST_BACK_OFF_S
            worker.again_s = now_s + worker.back_off_s
            worker.back_off_s = min(2 * worker.back_off_s, MAX_BACK_OFF_S)
            _logger.warning(
                "worker died, starting it again", extra={"part": worker.part, "error": str(error)}
            )
