"""Runs the gateways of a site's cameras, one thread each, and counts what they do in Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.config import CameraConfig, SiteConfig
from cluster.errors import BadConfig, SourceUnavailable
from cluster.gateway import DropReason, GatewayConfig, Stop
from cluster.gateway.cameras import CameraOutcome, ReaderLag, run_cameras
from cluster.log.open import open_log
from cluster.metrics import Metrics
from cluster.topics import Topics

MAX_WAITING_FRAMES = 128
"""A gateway that reads a recording as fast as it can stays at most this far ahead of the shards."""


class GatewayMetrics:
    """Counts what gateways report; see `cluster.gateway.GatewayObserver`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def captured(self, camera: str) -> None:
        """Count a frame taken from the source."""
        self._metrics.frames_captured.labels(camera).inc()

    def encoded(self, camera: str, num_bytes: int, seconds: float) -> None:
        """Count a frame ready to be sent, and its bytes."""
        self._metrics.frames_encoded.labels(camera).inc()
        self._metrics.frame_bytes.labels(camera).inc(num_bytes)
        self._metrics.encode_seconds.observe(seconds)

    def dropped(self, camera: str, reason: DropReason, num_frames: int) -> None:
        """Count frames that are not sent."""
        self._metrics.frames_dropped.labels(camera, reason.value).inc(num_frames)

    def source_lost(self, camera: str, error: SourceUnavailable) -> None:  # noqa: ARG002  # the protocol's
        """Count a source that has died or cannot be opened."""
        self._metrics.source_losses.labels(camera).inc()

    def source_back(self, camera: str) -> None:
        """Count a source that gives frames again."""
        self._metrics.source_reconnects.labels(camera).inc()


def cameras_with_source(site: SiteConfig, wanted: Sequence[str] = ()) -> list[CameraConfig]:
    """Return the cameras that a gateway can read: those wanted, or all that have a source.

    Raises:
        BadConfig: a wanted camera is unknown or has no source, or no camera has one.
    """
    cameras = [site.camera(name) for name in wanted] or [c for c in site.cameras if c.source is not None]
    for camera in cameras:
        if camera.source is None:
            raise BadConfig(
                f"camera {camera.id!r} has no `source` in the site file, so no gateway can read it"
            )
    if not cameras:
        raise BadConfig(
            "no camera of the site file has a `source`; add one, for example `source: rtsp://host/path`"
        )
    return cameras


def run_gateways(
    site: SiteConfig, cameras: Sequence[CameraConfig], metrics: Metrics, stop: Stop
) -> dict[str, CameraOutcome]:
    """Send the cameras' frames until every source has ended or `stop` is set; see `run_cameras`.

    Raises:
        LogUnavailable: the log does not answer at the start.
    """
    topics = Topics.with_prefix(site.topic_prefix)
    log = open_log(site.log)
    log.create_topics(topics.declare(frames_retention_bytes=site.frames_retention_bytes))
    pairs = [
        (camera.gateway or GatewayConfig(camera=camera.id), camera.source)
        for camera in cameras
        if camera.source is not None
    ]
    try:
        return run_cameras(
            pairs, log, topics.frames, stop, observer=GatewayMetrics(metrics),
            reader_lag=ReaderLag(group=topics.shard_group, max_records=MAX_WAITING_FRAMES),
        )  # fmt: skip
    finally:
        log.close()


def summarise(outcomes: Mapping[str, CameraOutcome]) -> dict[str, Any]:
    """Return the outcomes as plain values, by camera."""
    return {
        camera: {"error": str(outcome.error)}
        if outcome.stats is None
        else {
            "captured": outcome.stats.captured,
            "produced": outcome.stats.produced,
            "dropped": {reason.value: count for reason, count in outcome.stats.dropped.items()},
            "reconnects": outcome.stats.reconnects,
        }
        for camera, outcome in outcomes.items()
    }
