"""Declares every metric that camweave exposes, with units in the names and bounded labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STAGES: Final = ("poll", "guard", "detect", "track", "embed", "produce", "commit")
_STAGE_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LATENCY_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Holds the metrics of one process, registered in the registry that its main function passes in.

    The label `camera` is bounded by the site file, `cause` and `reason` by enumerations, `stage` by `STAGES`,
    `partition` by their fixed number.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.frames_captured = Counter(
            "camweave_frames_captured_total", "Frames captured by a gateway.", ["camera"], registry=registry
        )
        self.frames_encoded = Counter(
            "camweave_frames_encoded_total", "Frames made ready to be sent.", ["camera"], registry=registry
        )
        self.frame_bytes = Counter(
            "camweave_frame_bytes_total", "Bytes of the frames made ready.", ["camera"], registry=registry
        )
        self.encode_seconds = Histogram(
            "camweave_encode_seconds", "Time to scale and compress a frame.", buckets=_STAGE_BUCKETS,
            registry=registry,
        )  # fmt: skip
        self.frames_dropped = Counter(
            "camweave_frames_dropped_total",
            "Frames dropped by a gateway.",
            ["camera", "reason"],
            registry=registry,
        )
        self.source_losses = Counter(
            "camweave_source_losses_total", "Times a camera died or could not be opened.", ["camera"],
            registry=registry,
        )  # fmt: skip
        self.source_reconnects = Counter(
            "camweave_source_reconnects_total", "Times a camera came back.", ["camera"], registry=registry
        )
        self.frames_processed = Counter(
            "camweave_frames_processed_total",
            "Frames whose result was written.",
            ["camera"],
            registry=registry,
        )
        self.frames_skipped = Counter(
            "camweave_frames_skipped_total",
            "Frames not looked at, by the camera's overload policy.",
            ["camera", "cause"],
            registry=registry,
        )
        self.frames_lost = Counter(
            "camweave_frames_lost_total",
            "Frames gone from the log before they were read, by its partition.",
            ["partition", "cause"],
            registry=registry,
        )
        self.tracklet_records_lost = Counter(
            "camweave_tracklet_records_lost_total",
            "Batches of tracklets gone from the log before the gallery read them.",
            ["cause"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "camweave_dead_letters_total", "Messages refused.", ["cause"], registry=registry
        )
        self.detections = Counter(
            "camweave_detections_total", "Objects detected.", ["camera"], registry=registry
        )
        self.tracks = Counter(
            "camweave_tracks_confirmed_total", "Tracks told to the gallery.", ["camera"], registry=registry
        )
        self.embeddings = Counter("camweave_embeddings_total", "Crops embedded.", registry=registry)
        self.stage_seconds = Histogram(
            "camweave_stage_seconds", "Time a batch spends in a stage.", ["stage"],
            buckets=_STAGE_BUCKETS, registry=registry,
        )  # fmt: skip
        self.batch_frames = Histogram(
            "camweave_batch_frames", "Frames in a batch.", buckets=_BATCH_BUCKETS, registry=registry
        )
        self.latency_seconds = Histogram(
            "camweave_latency_seconds", "From the gateway's producing a frame to its result.",
            buckets=_LATENCY_BUCKETS, registry=registry,
        )  # fmt: skip
        self.log_errors = Counter(
            "camweave_log_errors_total",
            "Times the log did not answer and was tried again.",
            ["part"],
            registry=registry,
        )
        self.worker_restarts = Counter(
            "camweave_worker_restarts_total", "Times an actor was started again.", ["part"], registry=registry
        )
        self.identity_decisions = Counter(
            "camweave_identity_decisions_total",
            "Records written to the identity log.",
            ["kind"],
            registry=registry,
        )
        self.gallery_appearances = Gauge(
            "camweave_gallery_appearances", "Appearances remembered.", multiprocess_mode="mostrecent",
            registry=registry,
        )  # fmt: skip
        self.gallery_identities = Gauge(
            "camweave_gallery_identities", "Identities remembered.", multiprocess_mode="mostrecent",
            registry=registry,
        )  # fmt: skip
        self.gallery_rejected = Counter(
            "camweave_gallery_rejected_total",
            "Tracklet events that the gallery could not use.",
            registry=registry,
        )
        self.events_late = Counter(
            "camweave_events_late_total",
            "Events that came after their moment was decided.",
            registry=registry,
        )
        self.learning_tasks = Gauge(
            "camweave_learning_tasks", "Lessons that the learner remembers.", multiprocess_mode="mostrecent",
            registry=registry,
        )  # fmt: skip
        self.learning_updates = Counter(
            "camweave_learning_updates_total", "Versions that the learner announced, by what became of them.",
            ["standing"], registry=registry,
        )  # fmt: skip
        self.learning_gain = Gauge(
            "camweave_learning_gain_ratio", "Mean gain of the last candidate on the tasks that were new to it.",
            multiprocess_mode="mostrecent", registry=registry,
        )  # fmt: skip
        self.learning_drift = Gauge(
            "camweave_learning_drift_ratio", "Energy distance of a camera's tracks from its reference.", ["camera"],
            multiprocess_mode="mostrecent", registry=registry,
        )  # fmt: skip
        self.learning_drifts = Counter(
            "camweave_learning_drifts_total", "Times that a camera was found to see otherwise than before.",
            ["camera"], registry=registry,
        )  # fmt: skip
        self.model_feed_errors = Counter(
            "camweave_model_feed_errors_total",
            "Times that the announced version of the learned parts could not be followed.",
            ["cause"],
            registry=registry,
        )
        self.model_serial = Gauge(
            "camweave_model_serial", "Changes that led to the version of the learned parts that is served.",
            multiprocess_mode="mostrecent", registry=registry,
        )  # fmt: skip

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of a batch."""
        start_s = perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(perf_counter() - start_s)
