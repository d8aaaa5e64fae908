"""Runs gateways from source to log: one thread a camera, so that none waits for another."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.errors import BadConfig
from cluster.gateway.config import GatewayConfig, SourceConfig
from cluster.gateway.delivery import Delivery
from cluster.gateway.gateway import Gateway
from cluster.gateway.outbox import BoundedOutbox, Outbox, PatientOutbox
from cluster.gateway.pacing import Clock, LagLimit, Stop
from cluster.gateway.sources import open_source
from cluster.gateway.stats import GatewayObserver, GatewayStats
from cluster.log.protocol import Log
from models.errors import CamweaveError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLag:
    """Says how far a gateway that reads as fast as it can may run ahead of its readers."""

    group: str
    """The consumer group that reads the frames."""
    max_records: int
    """Frames that the group has not committed yet at most. Must exceed what it reads between two commits."""


@dataclass(frozen=True, slots=True)
class CameraOutcome:
    """Tells how a camera's gateway has ended."""

    stats: GatewayStats | None  # None when it ended in an error
    error: CamweaveError | None = None


def run_camera(
    config: GatewayConfig,
    source_config: SourceConfig,
    log: Log,
    topic: str,
    stop: Stop,
    *,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    observer: GatewayObserver | None = None,
    reader_lag: ReaderLag | None = None,
) -> GatewayStats:
    """Send one camera's frames to `topic` until its source ends or `stop` is set; blocks.

    A recording at pace `fast` waits for the log and its readers; anything else never waits, and drops the
    oldest frames when the log stays away.

    Raises:
        BadConfig: the source's url is of no known kind.
        BadInput: the topic does not exist.
        SourceUnavailable: a recording cannot be read; a live source is tried for ever instead.
        LogUnavailable: at the end, the log did not take the rest in time.
    """
    clock = clock or Clock()
    source = open_source(source_config)
    delivery = Delivery(log.producer, topic, clock)
    patient = config.pace == "fast" and not source.live
    outbox: Outbox = (
        PatientOutbox(delivery, stop, clock)
        if patient
        else BoundedOutbox(delivery, config.max_buffered, stop)
    )
    lag_limit: LagLimit | None = None
    if reader_lag is not None and patient:
        lag_limit = LagLimit(
            log, reader_lag.group, topic, [config.camera.encode()], reader_lag.max_records, clock
        )
    try:
        gateway = Gateway(
            config, outbox, stop, clock=clock, rng=rng, observer=observer, lag_limit=lag_limit
        )  # fmt: skip
        return gateway.run(source)
    finally:
        outbox.close()
        if patient:
            delivery.close()


def run_cameras(
    cameras: Sequence[tuple[GatewayConfig, SourceConfig]],
    log: Log,
    topic: str,
    stop: Stop,
    *,
    observer: GatewayObserver | None = None,
    reader_lag: ReaderLag | None = None,
) -> dict[str, CameraOutcome]:
    """Run one gateway thread a camera until all have ended; a camera that fails does not stop the others.

    Raises:
        BadConfig: two cameras have the same id, or a url is of no known kind; nothing was started.
    """
    if not cameras:
        return {}
    names = [config.camera for config, _ in cameras]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise BadConfig(f"camera ids must be unique, got more than one of {', '.join(doubles)}")
    for _, source_config in cameras:
        open_source(source_config)

    def run_one(config: GatewayConfig, source_config: SourceConfig) -> CameraOutcome:
        threading.current_thread().name = f"gateway-{config.camera}"
        try:
            stats = run_camera(
                config, source_config, log, topic, stop, observer=observer, reader_lag=reader_lag
            )
            return CameraOutcome(stats)
        except CamweaveError as error:
            logger.error("gateway failed", extra={"camera": config.camera, "error": str(error)})
            return CameraOutcome(None, error)
        except Exception:
            # The others go on, maybe for days, before this comes out of run_cameras.
            logger.critical("gateway has a bug", extra={"camera": config.camera}, exc_info=True)
            raise

    with ThreadPoolExecutor(len(cameras)) as threads:
        runs = [threads.submit(run_one, *pair) for pair in cameras]
    return {name: run.result() for name, run in zip(names, runs, strict=True)}
