"""Owns the way of a picture from a camera to the log."""

from cluster.gateway.cameras import CameraOutcome, ReaderLag, run_camera, run_cameras
from cluster.gateway.config import GatewayConfig, SourceConfig
from cluster.gateway.delivery import Delivery
from cluster.gateway.gateway import Encoded, Gateway
from cluster.gateway.outbox import BoundedOutbox, Outbox, PatientOutbox
from cluster.gateway.pacing import Clock, LagLimit, Pace, Stop
from cluster.gateway.sources import Capture, Source, open_source
from cluster.gateway.stats import DropReason, GatewayObserver, GatewayStats, Unobserved
from cluster.gateway.virtual import VirtualSite, stream_virtual_site

__all__ = [
    "BoundedOutbox", "CameraOutcome", "Capture", "Clock", "Delivery", "DropReason", "Encoded", "Gateway",
    "GatewayConfig", "GatewayObserver", "GatewayStats", "LagLimit", "Outbox", "Pace", "PatientOutbox", "ReaderLag",
    "Source", "SourceConfig", "Stop", "Unobserved", "VirtualSite", "open_source", "run_camera", "run_cameras",
    "stream_virtual_site",
]  # fmt: skip
