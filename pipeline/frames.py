"""Guards and decodes frames: a message becomes an image only after its headers and its JPEG header pass.

Headers follow CloudEvents 1.0 in Kafka's binary content mode: attributes are headers `ce_<name>` in UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import simplejpeg

from models.detector import ImageHW3
from pipeline.errors import BadFrame, BadFrameCause

FRAME_TYPE: Final = "camweave.frame"
END_TYPE: Final = "camweave.stream.ended"
MAX_HEADER_BYTES: Final = 8192
MAX_CAMERA_ID: Final = 128

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """Says where and when a frame was taken.

    An `ended` header carries no image: it tells that the stream is over, so that nothing waits for more.
    """

    camera: str
    sequence: int
    """Counts the frames of one gateway run from 0; a gap is a dropped frame."""
    captured_ns: int
    """Unix time on the camera's own clock."""
    produced_ns: int
    """Unix time on the gateway's clock when the frame was handed to the log."""
    epoch: int
    """Start of the gateway run, Unix ns. Of two gateways claiming one camera the later one is believed."""
    width: int
    height: int
    ended: bool = False
    traceparent: str = ""

    def to_headers(self) -> Headers:
        """Encode as CloudEvents headers."""
        fields: list[tuple[str, str]] = [
            ("ce_specversion", "1.0"),
            ("ce_id", f"{self.camera}/{self.epoch}/{self.sequence}"),
            ("ce_source", self.camera),
            ("ce_type", END_TYPE if self.ended else FRAME_TYPE),
            ("ce_time", datetime.fromtimestamp(self.produced_ns / 1e9, UTC).isoformat()),
            ("ce_sequence", str(self.sequence)),
            ("ce_capturedns", str(self.captured_ns)),
            ("ce_producedns", str(self.produced_ns)),
            ("ce_epoch", str(self.epoch)),
            ("ce_width", str(self.width)),
            ("ce_height", str(self.height)),
            ("content-type", "image/jpeg"),
        ]
        if self.traceparent:
            fields.append(("traceparent", self.traceparent))
        return tuple((name, text.encode()) for name, text in fields)

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]]) -> FrameHeader:
        """Decode and check headers.

        Raises:
            BadFrame: `not_a_frame` when an attribute is missing, too long, or not what it should be.
        """
        fields: dict[str, bytes] = {}
        size = 0
        for name, value in headers:
            size += len(name) + len(value)
            if size > MAX_HEADER_BYTES:
                raise BadFrame(BadFrameCause.NOT_A_FRAME, f"headers exceed {MAX_HEADER_BYTES} bytes")
            fields[name] = value
        kind = _text(fields, "ce_type")
        if kind not in (FRAME_TYPE, END_TYPE):
            raise BadFrame(BadFrameCause.NOT_A_FRAME, f"ce_type is {kind[:64]!r}, expected {FRAME_TYPE!r}")
        camera = _text(fields, "ce_source")
        if not 0 < len(camera) <= MAX_CAMERA_ID:
            raise BadFrame(
                BadFrameCause.NOT_A_FRAME,
                f"ce_source has {len(camera)} characters, expected a camera id of 1 to {MAX_CAMERA_ID}",
            )
        return cls(
            camera=camera,
            sequence=_integer(fields, "ce_sequence"),
            captured_ns=_integer(fields, "ce_capturedns"),
            produced_ns=_integer(fields, "ce_producedns"),
            epoch=_integer(fields, "ce_epoch"),
            width=_integer(fields, "ce_width"),
            height=_integer(fields, "ce_height"),
            ended=kind == END_TYPE,
            traceparent=_text(fields, "traceparent") if "traceparent" in fields else "",
        )


def check_jpeg(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Read only the JPEG's header and return its (width, height); costs microseconds, allocates nothing large.

    Raises:
        BadFrame: `empty`, `not_a_jpeg`, or `too_large` when it would decode to more than `max_pixels`.
    """
    if not data:
        raise BadFrame(BadFrameCause.EMPTY, "the frame has no bytes; the gateway sent an empty image")
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise BadFrame(
            BadFrameCause.NOT_A_JPEG, f"{len(data)} bytes do not start with a JPEG header: {error}"
        ) from error
    if width * height > max_pixels:
        raise BadFrame(
            BadFrameCause.TOO_LARGE,
            f"the JPEG would decode to {width} x {height} pixels, more than the cap of {max_pixels}; "
            "raise frames.max_pixels if the camera is real",
        )
    return width, height


def decode(data: bytes, min_height: int = 0, min_width: int = 0) -> ImageHW3:
    """Decode a checked JPEG to BGR, at the smallest DCT scale that keeps at least the size asked for (0 = full).

    Raises:
        BadFrame: `truncated` when the data ends early or is damaged.
    """
    try:
        return simplejpeg.decode_jpeg(  # type: ignore[no-any-return]
            data, "BGR", fastdct=True, fastupsample=True, min_height=min_height, min_width=min_width
        )
    except ValueError as error:
        raise BadFrame(
            BadFrameCause.TRUNCATED, f"the JPEG of {len(data)} bytes is damaged: {error}"
        ) from error


def _text(fields: dict[str, bytes], name: str) -> str:
    if name not in fields:
        raise BadFrame(BadFrameCause.NOT_A_FRAME, f"header {name} is missing; this is not a camweave frame")
    try:
        return fields[name].decode()
    except UnicodeDecodeError as error:
        raise BadFrame(BadFrameCause.NOT_A_FRAME, f"header {name} is not UTF-8") from error


def _integer(fields: dict[str, bytes], name: str) -> int:
    text = _text(fields, name)
    if not (0 < len(text) <= 20 and text.isascii() and text.isdigit()):
        raise BadFrame(
            BadFrameCause.NOT_A_FRAME, f"header {name} is {text[:32]!r}, expected a whole number >= 0"
        )
    return int(text)
