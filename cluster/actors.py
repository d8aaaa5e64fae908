"""Wraps plain classes as Ray actors, in as few lines as it takes.

Each actor runs one pull loop (`run`) and answers `stop` and `num_partitions` meanwhile from a thread of its own
(concurrency group `control`), see `cluster.pull_actor`. Ray restarts an actor that dies; whoever called `run` calls it
again. The learner's actor stands by itself, in `cluster.learner_actor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from prometheus_client import CollectorRegistry

from cluster.announcements import Announcements
from cluster.config import SiteConfig
from cluster.gallery import GalleryWriter
from cluster.log.open import open_log
from cluster.logs import log_as_json
from cluster.metrics import Metrics
from cluster.model_feed import ModelFeed
from cluster.pull_actor import PullActor, as_actor
from cluster.shard import StreamShard
from cluster.topics import Topics
from models.embedders import embedding_space
from models.fewshot.parts import build_networks, parts_of
from models.learned import VersionStore
from pipeline import gallery, tracker
from pipeline.identity import IdentityBook
from pipeline.looks import Looks
from pipeline.perception import CropRequest, EncodedFrame, Perceiver, Perception, Refusal, Seen

MAX_PENDING_CALLS = 16


def build_perception(site: SiteConfig, metrics: Metrics) -> Perception:
    """Load the site's networks onto their device, with what was taught on top of them from now on."""
    networks = build_networks(site.detector, site.embedder)
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


@as_actor(max_restarts=-1, max_task_retries=-1, max_pending_calls=MAX_PENDING_CALLS)
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


@as_actor(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})
class ShardActor(PullActor):
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


@as_actor(max_restarts=-1, max_task_retries=0, concurrency_groups={"control": 1})
class GalleryActor(PullActor):
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
