"""Makes videos and folders to read, a log to write to, and time that passes at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cluster.errors import LogUnavailable, RecordsLost
from cluster.gateway import Clock, Stop
from cluster.log.open import open_log
from cluster.log.protocol import Headers, Log, Record
from cluster.topics import Topics
from pipeline.frames import FrameHeader

WIDTH, HEIGHT = 160, 120
START_NS = 1_700_000_000_000_000_000


def picture(index: int) -> np.ndarray:
    """Return a grey picture whose brightness tells its index."""
    return np.full((HEIGHT, WIDTH, 3), 20 + 10 * index, np.uint8)


def index_of(image: np.ndarray) -> int:
    # The codec makes grey a little darker.
    return round((float(image.mean()) - 17) / 10)


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    def make(num_frames: int = 12, fps: int = 10, name: str = "video.mp4") -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=fps)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.bit_rate = 4_000_000
            for index in range(num_frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="bgr24")))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    def make(num_images: int = 12, suffix: str = ".jpg") -> Path:
        folder = tmp_path / "images"
        folder.mkdir()
        for index in range(num_images):
            cv2.imwrite(str(folder / f"frame{index}{suffix}"), picture(index))
        return folder

    return make


@dataclass
class FakeTime:
    """Is a clock that moves only when someone waits."""

    now_ns: int = START_NS
    waits: list[float] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(now_ns=lambda: self.now_ns, wait=self.wait)

    def wait(self, stop: Stop, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now_ns += round(seconds * 1e9)
        return stop.is_set()


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@dataclass
class FlakyProducer:
    """Stores frames, and refuses them while `away`."""

    away: bool = False
    broken: bool = False
    taken: list[FrameHeader] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    num_flushes: int = 0

    def produce(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        self.flush()
        self.taken.append(FrameHeader.from_headers(headers))
        self.values.append(value)

    def flush(self, timeout_s: float = 60.0) -> None:
        if self.broken:
            raise RecordsLost("records were lost")
        if self.away:
            raise LogUnavailable("the log is away; wait")
        self.num_flushes += 1

    def close(self) -> None:
        if self.broken:
            raise LogUnavailable("records were lost")

    def __enter__(self) -> FlakyProducer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass
class FrameLog:
    """Is a real log, and what the gateway has put there."""

    log: Log
    url: str
    topics: Topics

    def records(self, camera: str) -> list[Record]:
        return [record for record in self.log.read(self.topics.frames) if record.key == camera.encode()]

    def headers(self, camera: str) -> list[FrameHeader]:
        return [FrameHeader.from_headers(record.headers) for record in self.records(camera)]


@pytest.fixture
def frame_log(tmp_path: Path) -> FrameLog:
    url = f"sqlite:///{tmp_path}/log.db"
    log, topics = open_log(url), Topics.with_prefix()
    log.create_topics(topics.declare())
    return FrameLog(log, url, topics)


PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-rtsp gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)
USER, PASSWORD = "viewer", "pa:s@s&w0rd"
QUOTED_PASSWORD = "pa%3As%40s%26w0rd"
SCRIPT = Path(__file__).parent / "rtsp_camera.py"
CHECK = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
    "Gst.init(None); assert Gst.ElementFactory.find('x264enc') and Gst.ElementFactory.find('rtph264pay')"
)


@dataclass
class RtspCamera:
    """Is a real RTSP server in a process of its own, which can be frozen, killed and started again."""

    login: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        command = ["/usr/bin/python3", str(SCRIPT), str(self.port), *self.login]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def url(self, login: str = "", path: str = "cam") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}/{path}"


@pytest.fixture(scope="session")
def _gstreamer() -> None:
    """Skip where the system has no RTSP server."""
    try:
        found = (
            subprocess.run(["/usr/bin/python3", "-c", CHECK], capture_output=True, timeout=60).returncode == 0
        )
    except OSError:
        found = False
    if not found:
        pytest.skip(f"needs GStreamer's RTSP server: apt-get install {PACKAGES}")


@pytest.fixture
def rtsp_camera(_gstreamer: None) -> Iterator[RtspCamera]:
    camera = RtspCamera()
    camera.start()
    yield camera
    camera.kill()


@pytest.fixture
def locked_rtsp_camera(_gstreamer: None) -> Iterator[RtspCamera]:
    camera = RtspCamera((USER, PASSWORD))
    camera.start()
    yield camera
    camera.kill()
