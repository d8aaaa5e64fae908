"""Admits frames: whatever reaches a decoder has passed here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline.errors import BadFrame, BadFrameCause
from pipeline.frames import FrameHeader, Headers, check_jpeg


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameConfig:
    """Bounds what a frame may be."""

    max_pixels: int = 4096 * 2304
    """Width x height above which a JPEG is refused before it is decoded (bombs)."""
    max_bytes: int = 8 << 20
    """Bytes above which a message is refused."""


@dataclass(slots=True)
class FrameGuard:
    """Checks messages of the frame topic, and remembers which gateway run speaks for each camera."""

    cameras: Collection[str]
    config: FrameConfig
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)  # camera -> (epoch, sequence)

    def admit(self, headers: Headers, value: bytes) -> FrameHeader:
        """Return the checked header; its width and height are those of the JPEG itself.

        Of two gateways that claim one camera the one started later is believed, and the other's frames are
        refused: two clocks and two sequences in one stream would tear every track.

        Raises:
            BadFrame: with its cause.
        """
        header = FrameHeader.from_headers(headers)
        if header.camera not in self.cameras:
            raise BadFrame(
                BadFrameCause.UNKNOWN_CAMERA,
                f"camera {header.camera!r} is not in the site file; add it under `cameras`, or stop its gateway",
            )
        self._check_place(header)
        if header.ended:
            self._last[header.camera] = (header.epoch, header.sequence)
            return header
        if len(value) > self.config.max_bytes:
            raise BadFrame(
                BadFrameCause.TOO_LARGE,
                f"{len(value)} bytes, more than frames.max_bytes {self.config.max_bytes}",
            )
        width, height = check_jpeg(value, self.config.max_pixels)
        self._last[header.camera] = (header.epoch, header.sequence)
        return header if (header.width, header.height) == (width, height) else _resized(header, width, height)

    def forget(self, cameras: Collection[str]) -> None:
        """Forget cameras that moved to another shard."""
        for camera in cameras:
            self._last.pop(camera, None)

    def _check_place(self, header: FrameHeader) -> None:
        epoch, sequence = self._last.get(header.camera, (-1, -1))
        if header.epoch < epoch:
            raise BadFrame(
                BadFrameCause.SUPERSEDED_GATEWAY,
                f"camera {header.camera!r} is claimed by a gateway started at {epoch} ns; this frame is from one "
                f"started earlier, at {header.epoch} ns; stop one of the two",
            )
        if header.epoch == epoch and header.sequence <= sequence:
            raise BadFrame(
                BadFrameCause.DUPLICATE,
                f"camera {header.camera!r} sent frame {header.sequence} after frame {sequence} of the same run",
            )


def _resized(header: FrameHeader, width: int, height: int) -> FrameHeader:
    return FrameHeader(
        camera=header.camera, sequence=header.sequence, captured_ns=header.captured_ns,
        produced_ns=header.produced_ns, epoch=header.epoch, width=width, height=height,
        traceparent=header.traceparent,
    )  # fmt: skip
