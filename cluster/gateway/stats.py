"""Counts what a gateway does, and tells whoever keeps the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cluster.errors import SourceUnavailable


class DropReason(StrEnum):
    """Names why a captured frame was not sent; a bounded set, used as a metric label."""

    MAX_FPS = "max_fps"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    LOG_AWAY = "log_away"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStats:
    """Counts the frames of one gateway run: captured = produced + buffered + all that were dropped."""

    captured: int
    produced: int
    buffered: int
    dropped: Mapping[DropReason, int]
    reconnects: int
    num_bytes: int
    encode_s: float

    @property
    def num_dropped(self) -> int:
        """Frames dropped for any reason."""
        return sum(self.dropped.values())


class GatewayObserver(Protocol):
    """Is told what a gateway does, in the gateway's thread; metrics bind here."""

    def captured(self, camera: str) -> None:
        """Note a frame taken from the source."""

    def encoded(self, camera: str, num_bytes: int, seconds: float) -> None:
        """Note a frame ready to be sent."""

    def dropped(self, camera: str, reason: DropReason, num_frames: int) -> None:
        """Note frames that are not sent."""

    def source_lost(self, camera: str, error: SourceUnavailable) -> None:
        """Note that a live source has died or cannot be opened; it will be tried again."""

    def source_back(self, camera: str) -> None:
        """Note that a live source gives frames again."""


class Unobserved:
    """Ignores everything."""

    def captured(self, camera: str) -> None: ...  # noqa: D102
    def encoded(self, camera: str, num_bytes: int, seconds: float) -> None: ...  # noqa: D102
    def dropped(self, camera: str, reason: DropReason, num_frames: int) -> None: ...  # noqa: D102
    def source_lost(self, camera: str, error: SourceUnavailable) -> None: ...  # noqa: D102
    def source_back(self, camera: str) -> None: ...  # noqa: D102
