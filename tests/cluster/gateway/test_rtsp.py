"""A real RTSP server plays the camera: it asks for passwords, freezes, dies and comes back."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import pytest

from cluster.errors import SourceUnavailable
from cluster.gateway import GatewayConfig, GatewayStats, SourceConfig, Unobserved, open_source, run_camera
from pipeline.frames import decode
from tests.cluster.gateway.conftest import PASSWORD, QUOTED_PASSWORD, USER, FrameLog, RtspCamera


class Watching(Unobserved):
    """Remembers what the gateway says, and how many frames came since it last said it."""

    def __init__(self) -> None:
        self.num_captured = 0
        self.losses: list[tuple[float, str]] = []
        self.num_backs = 0

    def captured(self, camera: str) -> None:
        self.num_captured += 1

    def source_lost(self, camera: str, error: SourceUnavailable) -> None:
        self.losses.append((time.monotonic(), str(error)))

    def source_back(self, camera: str) -> None:
        self.num_backs += 1


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def start_gateway(
    frame_log: FrameLog, watching: Watching, stop: threading.Event
) -> Iterator[Callable[[str], list[GatewayStats]]]:
    threads: list[threading.Thread] = []

    def start(url: str) -> list[GatewayStats]:
        results: list[GatewayStats] = []
        config = GatewayConfig(camera="cam", reconnect_first_s=0.1, reconnect_max_s=0.2)
        source = SourceConfig(url=url, read_timeout_s=1.0)

        def run() -> None:
            results.append(
                run_camera(config, source, frame_log.log, frame_log.topics.frames, stop, observer=watching)
            )  # fmt: skip

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return results

    yield start
    stop.set()
    for thread in threads:
        thread.join(20)


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return holds()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_plays(rtsp_camera: RtspCamera, transport: str) -> None:
    config = SourceConfig(url=rtsp_camera.url(), rtsp_transport=transport)  # type: ignore[arg-type]  # both are allowed
    captures = list(islice(open_source(config).captures(), 10))
    assert {capture.load().shape for capture in captures} == {(240, 320, 3)}


def test_a_camera_accepts_the_right_password(locked_rtsp_camera: RtspCamera) -> None:
    url = locked_rtsp_camera.url(f"{USER}:{QUOTED_PASSWORD}@")
    assert next(open_source(SourceConfig(url=url)).captures()).load().shape == (240, 320, 3)


@pytest.mark.parametrize("login", ["", f"{USER}:guess@", f"guess:{QUOTED_PASSWORD}@"])
def test_a_camera_refuses_a_wrong_password_by_name(locked_rtsp_camera: RtspCamera, login: str) -> None:
    source = open_source(SourceConfig(url=locked_rtsp_camera.url(login)))
    with pytest.raises(SourceUnavailable, match=r"refuses the credentials \(401\); check user and password"):
        next(source.captures())


def test_a_path_that_the_camera_does_not_have_is_named(rtsp_camera: RtspCamera) -> None:
    with pytest.raises(SourceUnavailable, match="/other cannot be read: Server returned 404"):
        next(open_source(SourceConfig(url=rtsp_camera.url(path="other"))).captures())


def test_a_camera_that_freezes_is_noticed_within_the_read_timeout(rtsp_camera: RtspCamera) -> None:
    captures = open_source(SourceConfig(url=rtsp_camera.url(), read_timeout_s=1.0)).captures()
    next(captures)
    rtsp_camera.freeze()
    started_s = time.monotonic()
    with pytest.raises(SourceUnavailable, match=r"gave no picture for 1 s; is it frozen"):
        list(captures)
    assert time.monotonic() - started_s < 2.5


def test_a_camera_that_is_frozen_when_it_is_opened_is_noticed_too(rtsp_camera: RtspCamera) -> None:
    rtsp_camera.freeze()
    started_s = time.monotonic()
    with pytest.raises(SourceUnavailable, match=r"gave no picture for 1 s; is it frozen"):
        next(open_source(SourceConfig(url=rtsp_camera.url(), read_timeout_s=1.0)).captures())
    assert time.monotonic() - started_s < 2.5


def test_a_camera_that_dies_is_found_again_and_its_stream_goes_on(
    rtsp_camera: RtspCamera, start_gateway, watching: Watching, frame_log: FrameLog, stop: threading.Event
) -> None:
    results = start_gateway(rtsp_camera.url())
    assert eventually(lambda: watching.num_captured >= 5)
    rtsp_camera.kill()
    assert eventually(lambda: len(watching.losses) >= 2)
    num_before = watching.num_captured
    rtsp_camera.start()
    assert eventually(lambda: watching.num_captured >= num_before + 5)
    stop.set()
    assert eventually(lambda: bool(results))
    headers = frame_log.headers("cam")
    assert results[0].reconnects == watching.num_backs == 1
    assert [header.sequence for header in headers] == list(range(results[0].captured))
    assert len({header.epoch for header in headers}) == 1
    assert all(a.captured_ns <= b.captured_ns for a, b in pairwise(headers))
    assert abs(headers[0].captured_ns / 1e9 - time.time()) < 60
    assert decode(frame_log.records("cam")[0].value).shape == (240, 320, 3)


def test_a_frozen_camera_is_opened_again_when_it_thaws(
    rtsp_camera, start_gateway, watching: Watching
) -> None:
    start_gateway(rtsp_camera.url())
    assert eventually(lambda: watching.num_captured >= 2)
    rtsp_camera.freeze()
    assert eventually(lambda: bool(watching.losses))
    rtsp_camera.kill()
    rtsp_camera.start()
    assert eventually(lambda: watching.num_backs == 1)


@pytest.mark.usefixtures("_gstreamer")
def test_a_camera_that_is_not_there_yet_is_waited_for(start_gateway, watching: Watching) -> None:
    camera = RtspCamera()
    camera.start()
    camera.kill()
    try:
        start_gateway(camera.url())
        assert eventually(lambda: len(watching.losses) >= 2)
        camera.start()
        assert eventually(lambda: watching.num_captured >= 2)
    finally:
        camera.kill()


def test_a_password_is_in_no_message_no_error_and_no_output(
    locked_rtsp_camera: RtspCamera, start_gateway, watching: Watching, caplog, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    start_gateway(locked_rtsp_camera.url(f"{USER}:{QUOTED_PASSWORD}@"))
    assert eventually(lambda: watching.num_captured >= 2)
    locked_rtsp_camera.kill()
    assert eventually(lambda: len(watching.losses) >= 2)
    for url in (
        locked_rtsp_camera.url(f"{USER}:{QUOTED_PASSWORD}@"),
        f"rtsp://{USER}:{QUOTED_PASSWORD}@host.invalid/",
    ):
        with pytest.raises(SourceUnavailable) as caught:
            next(open_source(SourceConfig(url=url)).captures())
        caplog.records.append(logging.makeLogRecord({"msg": "", "text": str(caught.getrepr(chain=True))}))
    output = capfd.readouterr()
    told = (
        output.out
        + output.err
        + str(watching.losses)
        + "".join(str(vars(record)) for record in caplog.records)
    )
    assert "***@" in told
    assert PASSWORD not in told
    assert QUOTED_PASSWORD not in told
