"""Opens cameras, videos and folders behind one protocol: an iterator of captures.

Errors of the libraries underneath are translated here, without credentials.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import av
import av.container
import av.error
import cv2
import numpy as np

from cluster.errors import BadConfig, SourceUnavailable
from cluster.gateway.config import SourceConfig
from models.detector import ImageHW3
from pipeline.errors import BadFrame, BadFrameCause
from pipeline.frames import check_jpeg, decode

MAX_PIXELS: Final = 100_000_000
IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """Is one picture of a source, not decoded to BGR until it is asked for."""

    media_s: float | None
    """Seconds since the first picture; None for a live source, whose pictures are taken when they arrive."""
    load: Callable[[], ImageHW3]
    """Returns the picture, H x W x 3, uint8, BGR, contiguous. Raises BadFrame when it is damaged."""
    read_jpeg: Callable[[], bytes] | None = None
    """Returns the picture as the JPEG that it already is, where it is one. Raises BadFrame."""


class Source(Protocol):
    """Gives the pictures of one camera, in order."""

    @property
    def name(self) -> str:
        """What is read, without credentials."""

    @property
    def live(self) -> bool:
        """Whether time is the arrival's, and an end is a failure."""

    def captures(self) -> Generator[Capture, None, None]:
        """Open the source anew and yield its pictures; closing the iterator closes the source.

        Raises:
            SourceUnavailable: cannot be opened, gave no picture, or (live) stopped giving any.
        """


def open_source(config: SourceConfig) -> Source:
    """Choose the source for a url; nothing is opened before `captures`.

    Raises:
        BadConfig: the url has a scheme that no source reads.
    """
    url = config.url
    if url.startswith(("rtsp://", "rtsps://")):
        return RtspCamera(url, config.name, config.rtsp_transport, config.read_timeout_s)
    if usb := re.fullmatch(r"usb:(\d+)|/dev/video(\d+)", url):
        return UsbCamera(int(usb[1] or usb[2]), config.name)
    if "://" in url or url.startswith("usb:"):
        raise BadConfig(
            f"source {config.name} has an address that no source reads; expected a video file, a folder of "
            "images, rtsp://..., usb:N or /dev/videoN"
        )
    path = Path(url)
    recording = ImageFolder(path, config.folder_fps) if path.is_dir() else VideoFile(path)
    return Looped(recording) if config.loop else recording


class VideoFile:
    """Reads a video file; a capture's time is its presentation time."""

    live: Final = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    def captures(self) -> Generator[Capture, None, None]:
        """Yield the pictures; one that the decoder refuses fails on `load`, and the next follows."""
        if not self._path.is_file():
            raise SourceUnavailable(f"video {self.name} does not exist; check the path")
        with _translated(self.name, "check that it is a video and complete"):
            yield from self._decode()

    def _decode(self) -> Generator[Capture, None, None]:
        with av.open(str(self._path)) as container:
            stream = _video_stream(container, self.name)
            frame_s = float(1 / (stream.average_rate or stream.guessed_rate or 25))
            first_s: float | None = None
            media_s = -frame_s
            for picture in _pictures(container, stream):
                pts_s = picture.time if isinstance(picture, av.VideoFrame) else None
                first_s = pts_s if first_s is None else first_s
                # Pictures without, or with a falling, time stamp follow at the frame rate: time never stands still.
                stamped_s = -1.0 if pts_s is None or first_s is None else pts_s - first_s
                media_s = stamped_s if stamped_s > media_s else media_s + frame_s
                yield Capture(media_s, partial(_to_bgr, picture))
            if media_s < 0:
                raise SourceUnavailable(f"video {self.name} holds no picture; check that it is complete")


class ImageFolder:
    """Reads a folder's jpg and png files, sorted by name with numbers in numeric order, at a fixed frame rate."""

    live: Final = False

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps
        self.name = str(path)

    def captures(self) -> Generator[Capture, None, None]:
        """Yield one capture a file; an unreadable one fails when it is loaded, and the next follows."""
        if not self._path.is_dir():
            raise SourceUnavailable(f"image folder {self.name} does not exist; check the path")
        paths = [path for path in self._path.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
        if not paths:
            raise SourceUnavailable(
                f"image folder {self.name} holds no image; expected .jpg, .jpeg or .png files"
            )
        for index, path in enumerate(sorted(paths, key=_natural)):
            if path.suffix.lower() == ".png":
                yield Capture(index / self._fps, partial(_load_png, path))
            else:
                read = partial(_read_jpeg, path)
                yield Capture(index / self._fps, partial(_load_jpeg, read), read)


class RtspCamera:
    """Reads an RTSP camera (RFC 2326) with FFmpeg; only its video is asked for, so that sound keeps no dead picture alive."""

    live: Final = True

    def __init__(self, url: str, name: str, transport: str, read_timeout_s: float) -> None:
        self._url = url
        self._transport = transport
        self._read_timeout_s = read_timeout_s
        self.name = name

    def captures(self) -> Generator[Capture, None, None]:
        """Yield pictures as they arrive; ends only by SourceUnavailable."""
        with _translated(self.name, "check address, network and credentials", self._read_timeout_s):
            with self._open() as container:
                stream = _video_stream(container, self.name)
                last_s = time.monotonic()
                for picture in _pictures(container, stream):
                    if isinstance(picture, av.VideoFrame):
                        last_s = time.monotonic()
                    elif time.monotonic() - last_s > self._read_timeout_s:
                        raise SourceUnavailable(_silence(self.name, self._read_timeout_s))
                    yield Capture(None, partial(_to_bgr, picture))
            raise SourceUnavailable(f"camera {self.name} has ended the stream; is it restarting?")

    def _open(self) -> av.container.InputContainer:
        options = {"rtsp_transport": self._transport, "allowed_media_types": "video"}
        started_s = time.monotonic()
        try:
            return av.open(self._url, options=options, timeout=self._read_timeout_s)
        except av.error.InvalidDataError:
            # A handshake that is interrupted half way looks like bad data to FFmpeg.
            if time.monotonic() - started_s >= self._read_timeout_s:
                raise SourceUnavailable(_silence(self.name, self._read_timeout_s)) from None
            raise


class UsbCamera:
    """Reads a USB camera with OpenCV."""

    live: Final = True

    def __init__(
        self, index: int, name: str, capture: Callable[[int], cv2.VideoCapture] = cv2.VideoCapture
    ) -> None:
        self._index = index
        self._capture = capture
        self.name = name

    def captures(self) -> Generator[Capture, None, None]:
        """Yield pictures as they arrive; ends only by SourceUnavailable."""
        camera = self._capture(self._index)
        try:
            if not camera.isOpened():
                raise SourceUnavailable(
                    f"USB camera {self.name} cannot be opened; check that it is plugged in, that nothing else "
                    "uses it, and that this user may read it"
                )
            while True:
                arrived, image = camera.read()
                if not arrived:
                    raise SourceUnavailable(
                        f"USB camera {self.name} gives no picture any more; check its cable"
                    )
                yield Capture(None, partial(np.asarray, image, np.uint8))
        finally:
            camera.release()


class Looped:
    """Starts a recording again at its end, for ever, with time going on."""

    live: Final = False

    def __init__(self, recording: Source) -> None:
        self._recording = recording
        self.name = recording.name

    def captures(self) -> Generator[Capture, None, None]:
        """Yield the recording's pictures again and again; the seam lasts as long as the step before it."""
        passed_s, step_s = 0.0, 0.04
        while True:
            last_s = 0.0
            for capture in self._recording.captures():
                assert capture.media_s is not None
                step_s = capture.media_s - last_s if capture.media_s > last_s else step_s
                last_s = capture.media_s
                yield Capture(passed_s + last_s, capture.load, capture.read_jpeg)
            passed_s += last_s + step_s


def _video_stream(container: Any, name: str) -> Any:
    if not container.streams.video:
        raise SourceUnavailable(f"{name} has no video stream; check that it is a video")
    stream = container.streams.video[0]
    # One thread a camera is the gateway's plan; frame threads would also delay a live picture.
    stream.codec_context.thread_count = 1
    return stream


def _pictures(container: Any, stream: Any) -> Iterator[av.VideoFrame | av.error.FFmpegError]:
    """Yield decoded pictures; for a packet that the decoder refuses, the error."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError as error:
            yield error


def _to_bgr(picture: av.VideoFrame | av.error.FFmpegError) -> ImageHW3:
    if isinstance(picture, av.error.FFmpegError):
        raise BadFrame(BadFrameCause.TRUNCATED, f"the decoder refused a packet: {picture.strerror}")
    return np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFrame(BadFrameCause.EMPTY, f"image {path} cannot be read: {error.strerror}") from error


def _read_jpeg(path: Path) -> bytes:
    data = _read(path)
    check_jpeg(data, MAX_PIXELS)
    return data


def _load_jpeg(read: Callable[[], bytes]) -> ImageHW3:
    return decode(read())


def _load_png(path: Path) -> ImageHW3:
    data = _read(path)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise BadFrame(BadFrameCause.TRUNCATED, f"image {path} of {len(data)} bytes cannot be decoded")
    return np.asarray(image, np.uint8)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


@contextmanager
def _translated(name: str, remedy: str, timeout_s: float = 0.0) -> Iterator[None]:
    """Turn FFmpeg's errors into SourceUnavailable, dropping the original: its text holds the url with the password."""
    try:
        yield
    except av.error.HTTPUnauthorizedError:
        raise SourceUnavailable(
            f"{name} refuses the credentials (401); check user and password in its url"
        ) from None
    except (av.error.ExitError, av.error.TimeoutError):
        raise SourceUnavailable(_silence(name, timeout_s)) from None
    except av.error.FFmpegError as error:
        raise SourceUnavailable(f"{name} cannot be read: {error.strerror}; {remedy}") from None


def _silence(name: str, timeout_s: float) -> str:
    return (
        f"{name} gave no picture for {timeout_s:g} s; is it frozen, cut off, or of a codec that FFmpeg lacks?"
    )
