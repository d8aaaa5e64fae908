"""Declares how a camera is read and how its frames are sent."""

from dataclasses import dataclass, field
from typing import Literal

from cluster.errors import BadConfig
from cluster.gateway.pacing import Pace
from cluster.gateway.redaction import redact
from cluster.log.protocol import MAX_RECORD_BYTES
from pipeline.frames import MAX_CAMERA_ID, MAX_HEADER_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Says where the pictures come from."""

    url: str = field(repr=False)  # may hold a password
    """A video file, a folder of jpg/png images, rtsp://[user:password@]host/path, usb:0 or /dev/video0."""
    loop: bool = False
    """Starts a file or a folder again at its end, with time going on. Live sources ignore it."""
    folder_fps: float = 10.0
    """Frame rate of an image folder."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    """tcp loses nothing and passes firewalls; udp has less delay."""
    read_timeout_s: float = 5.0
    """A live source that gives no frame for this long is taken for dead."""

    def __post_init__(self) -> None:
        _require(bool(self.url), "source.url is empty; give a video file, a folder, rtsp://... or usb:0")
        _require(self.folder_fps > 0, f"source.folder_fps is {self.folder_fps}, expected more than 0")
        _require(
            self.read_timeout_s > 0, f"source.read_timeout_s is {self.read_timeout_s}, expected more than 0"
        )
        _require(
            self.rtsp_transport in ("tcp", "udp"),
            f"source.rtsp_transport is {self.rtsp_transport!r}, expected 'tcp' or 'udp'",
        )

    @property
    def name(self) -> str:
        """The url without credentials, fit for messages."""
        return redact(self.url.replace(" ", "%20"))  # a blank would end the part that is hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Says how the frames of one camera are sent."""

    camera: str
    """The camera's id: key of its records, and part of every id that derives from them."""
    pace: Pace = "source"
    """`source` sends a file or folder at its own frame rate; `fast` as fast as it can be read, waiting for the
    log and its readers instead of dropping. Live sources ignore it."""
    max_fps: float | None = None
    """Frames a second that are sent at most; the others are dropped, counted, and leave a gap."""
    jpeg_quality: int = 85
    """From 1 to 100."""
    max_width: int | None = None
    """Wider frames are scaled down to this width in pixels before they are sent."""
    max_bytes: int = 2_000_000
    """Larger JPEGs are dropped and counted; below the log's own cap, which refuses a record as a mistake."""
    max_buffered: int = 50
    """Frames kept while the log is away; beyond it the oldest are dropped and counted."""
    reconnect_first_s: float = 0.5
    """Wait after a live source has died for the first time; doubles with each failure."""
    reconnect_max_s: float = 30.0
    """Longest wait between two attempts."""
    flush_timeout_s: float = 60.0
    """How long the end of a stream waits for the log before it gives up."""
    clock_offset_s: float = 0.0
    """How far the camera's clock is ahead of the gateway's; added to capture times. For tests and simulation."""

    def __post_init__(self) -> None:
        _require(
            0 < len(self.camera) <= MAX_CAMERA_ID,
            f"camera id {self.camera[:32]!r} has {len(self.camera)} characters, expected 1 to {MAX_CAMERA_ID}",
        )
        _require(self.pace in ("source", "fast"), f"pace is {self.pace!r}, expected 'source' or 'fast'")
        _require(1 <= self.jpeg_quality <= 100, f"jpeg_quality is {self.jpeg_quality}, expected 1 to 100")
        _require(
            self.max_bytes <= MAX_RECORD_BYTES - MAX_HEADER_BYTES,
            f"max_bytes is {self.max_bytes}, expected at most {MAX_RECORD_BYTES - MAX_HEADER_BYTES}, the log's cap",
        )
        for name in (
            "max_fps", "max_width", "max_bytes", "max_buffered", "reconnect_first_s", "reconnect_max_s",
            "flush_timeout_s",
        ):  # fmt: skip
            value = getattr(self, name)
            _require(value is None or value > 0, f"{name} is {value}, expected more than 0")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise BadConfig(message)
