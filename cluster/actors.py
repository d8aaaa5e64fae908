"""Wraps plain classes as Ray actors, in as few lines as it takes.

Each actor runs one pull loop (`run`) and answers `stop` and `num_partitions` meanwhile from a thread of its own
(concurrency group `control`). Ray restarts an actor that dies; whoever called `run` calls it again.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from prometheus_client import CollectorRegistry

from cluster.announcements import Announcements
from cluster.config import SiteConfig
from cluster.gallery import GalleryWriter
from cluster.learner import MetaLearner
from cluster.log.open import open_log
from cluster.logs import log_as_json
from cluster.metrics import Metrics
from cluster.model_feed import ModelFeed
from cluster.shard import StreamShard, run_until
from cluster.topics import Topics
from cluster.tracklet_watch import TrackletWatch
from models.detectors import DetectorConfig, build_detector
from models.embedders import build_embedder, embedding_space
from models.fewshot.detection_features import FeatureDetector, build_feature_detector
from models.fewshot.parts import FrozenNetworks, parts_of
from models.learned import VersionStore
from pipeline import gallery, tracker
from pipeline.identity import IdentityBook
from pipeline.learning.drift import DriftWatch
from pipeline.learning.kinds import kinds_over
from pipeline.learning.learning import Learning
from pipeline.looks import Looks
from pipeline.perception import CropRequest, EncodedFrame, Perceiver, Perception, Refusal, Seen

MAX_PENDING_CALLS = 16
_actor: Any = ray.remote  # its stubs know neither `concurrency_groups` nor `.options`


def build_perception(site: SiteConfig, metrics: Metrics) -> Perception:
    """Load the site's networks onto their device, with what was taught on top of them from now on."""
    networks = FrozenNetworks(
        build_detector(site.detector), build_embedder(site.embedder), _opening_features(site.detector)
    )
    perception = Perception(networks.detector, networks.embedder, site.perception)
    if site.learning.enabled:
        topics = Topics.with_prefix(site.topic_prefix)
        feed = ModelFeed(
            announcements=Announcements(open_log(site.log), topics.models),
            store=VersionStore(Path(site.learning.store)),
            metrics=metrics,
            on_change=lambda served: perception.use(parts_of(served.name, served.learned, networks)),
        )
        feed.step()  # before the first frame; what is away is tried again
        feed.start()
    return perception


def _opening_features(detector: DetectorConfig) -> Callable[[], FeatureDetector] | None:
    """Return what loads the detector with its features given out, once, where there are any."""
    return cache(partial(build_feature_detector, detector)) if detector.name == "nanodet" else None


def build_learning(site: SiteConfig) -> Learning:
    """Load the networks that tasks are studied with, on one thread."""
    embedder = build_embedder(dataclasses.replace(site.embedder, threads=1))
    one_thread = dataclasses.replace(site.detector, threads=1)
    networks = FrozenNetworks(build_detector(one_thread), embedder, _opening_features(one_thread))
    return Learning(
        kinds_over(networks), networks.backbones, site.learning.gate, capacity=site.learning.capacity
    )


@_actor(max_restarts=-1, max_task_retries=-1, max_pending_calls=MAX_PENDING_CALLS)
class PerceptionActor:
    """Holds the networks for `placement: split`; stateless, so its calls may be repeated."""

    def __init__(self, site: SiteConfig) -> None:
        log_as_json()
        self._perception = build_perception(site, Metrics(CollectorRegistry()))

    def embedder_version(self) -> str:
        """Return what embeddings are compared within."""
        return self._perception.embedder_version

    def detect(self, frames: list[EncodedFrame]) -> list[Seen | Refusal]:
        """Detect in a batch of JPEGs."""
        return self._perception.detect(frames)

    def embed(self, requests: list[CropRequest]) -> list[Looks]:
        """Embed boxes of frames."""
        return self._perception.embed(requests)


class RemotePerception:
    """Speaks to a `PerceptionActor` as a shard speaks to a `Perception`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.embedder_version: str = ray.get(actor.embedder_version.remote())

    def detect(self, frames: Sequence[EncodedFrame]) -> list[Seen | Refusal]:
        """Detect in a batch of JPEGs, over there."""
        return ray.get(self._actor.detect.remote(list(frames)))  # type: ignore[no-any-return]

    def embed(self, requests: Sequence[CropRequest]) -> list[Looks]:
        """Embed boxes of frames, over there."""
        return ray.get(self._actor.embed.remote(list(requests)))  # type: ignore[no-any-return]


class _PullActor:
    """Runs a plain class's `step` until stopped."""

    part = ""

    def __init__(self) -> None:
        log_as_json()
        self._stop = threading.Event()
        self._metrics = Metrics(CollectorRegistry())
        self._worker: StreamShard | GalleryWriter | MetaLearner | None = None

    def _build(self) -> StreamShard | GalleryWriter | MetaLearner:
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
            logging.getLogger(__name__).exception("worker died", extra={"part": self.part})
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


@_actor(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})
class ShardActor(_PullActor):
    """Is a `StreamShard` in a process of its own."""

    part = "shard"

    def __init__(self, site: SiteConfig, perception: Any | None) -> None:
        super().__init__()
        self._site = site
        self._perception = perception
        self._perceiver: Perceiver | None = None

    def _build(self) -> StreamShard:
        tracker.warm_up()
        if self._perceiver is None:
            remote = self._perception is not None
            self._perceiver = (
                RemotePerception(self._perception) if remote else build_perception(self._site, self._metrics)
            )
        return StreamShard(
            site=self._site, topics=Topics.with_prefix(self._site.topic_prefix), log=open_log(self._site.log),
            perceiver=self._perceiver, metrics=self._metrics,
        )  # fmt: skip


@_actor(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})
class GalleryActor(_PullActor):
    """Is the site's one `GalleryWriter` in a process of its own."""

    part = "gallery"

    def __init__(self, site: SiteConfig) -> None:
        super().__init__()
        self._site = site

    def _build(self) -> GalleryWriter:
        space = embedding_space(self._site.embedder)
        gallery.warm_up(space.dimension)
        return GalleryWriter(
            site=self._site, topics=Topics.with_prefix(self._site.topic_prefix), log=open_log(self._site.log),
            book=IdentityBook(self._site.identity, space.version, space.dimension), metrics=self._metrics,
        )  # fmt: skip


@_actor(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})
class LearnerActor(_PullActor):
    """Is the site's one `MetaLearner` in a process of its own, less urgent to the CPU than those that serve."""

    part = "learner"

    def __init__(self, site: SiteConfig) -> None:
        super().__init__()
        self._site = site
        os.nice(site.learning.nice)
        torch.set_num_threads(1)

    def _build(self) -> MetaLearner:
        from cluster.learning_report import write_report  # draws: half a second that no other actor needs

        site = self._site
        topics = Topics.with_prefix(site.topic_prefix)
        log = open_log(site.log)
        drift = DriftWatch(site.learning.drift, np.random.default_rng(0))
        store = VersionStore(Path(site.learning.store))
        return MetaLearner(
            site=site, topics=topics, log=log, open_learning=lambda: build_learning(site), metrics=self._metrics,
            store=store, report=partial(write_report, store.folder),
            watch=TrackletWatch(log, topics.tracklets, embedding_space(site.embedder).version, drift),
        )  # fmt: skip
