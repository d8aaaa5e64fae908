"""Builds the learner of a site with all that it computes with; seconds of imports, see `cluster.learner_actor`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cluster.config import SiteConfig
from cluster.learner import AtLeisure, MetaLearner, at_once
from cluster.learning_report import write_report
from cluster.log.open import open_log
from cluster.metrics import Metrics
from cluster.topics import Topics
from cluster.tracklet_watch import TrackletWatch
from models.embedders import embedding_space
from models.fewshot.parts import build_networks
from models.learned import VersionStore
from pipeline.learning.drift import DriftWatch
from pipeline.learning.kinds import kinds_over
from pipeline.learning.learning import Learning


def build_learning(site: SiteConfig) -> Learning:
    """Load the networks that tasks are studied with, on one thread."""
    networks = build_networks(replace(site.detector, threads=1), replace(site.embedder, threads=1))
    return Learning(
        kinds_over(networks), networks.backbones, site.learning.gate, capacity=site.learning.capacity
    )


def build_learner(site: SiteConfig, metrics: Metrics, at_leisure: AtLeisure = at_once) -> MetaLearner:
    """Connect a learner to a site's log and store; it loads its networks when there is something to learn.

    Raises:
        LogUnavailable: the log does not answer; call again.
    """
    torch.set_num_threads(1)
    topics = Topics.with_prefix(site.topic_prefix)
    log = open_log(site.log)
    drift = DriftWatch(site.learning.drift, np.random.default_rng(0))
    store = VersionStore(Path(site.learning.store))
    return MetaLearner(
        site=site, topics=topics, log=log, open_learning=lambda: build_learning(site), metrics=metrics, store=store,
        report=partial(write_report, store.folder), at_leisure=at_leisure,
        watch=TrackletWatch(log, topics.tracklets, embedding_space(site.embedder).version, drift),
    )  # fmt: skip
