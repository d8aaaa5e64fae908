import random
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from cluster.errors import BadConfig, LogUnavailable, SourceUnavailable
from cluster.gateway import (
    BoundedOutbox,
    Capture,
    Delivery,
    DropReason,
    Gateway,
    GatewayConfig,
    GatewayStats,
    PatientOutbox,
    SourceConfig,
    Unobserved,
    open_source,
    run_camera,
)  # fmt: skip
from pipeline.frames import decode
from tests.cluster.gateway.conftest import (
    HEIGHT,
    START_NS,
    WIDTH,
    FakeTime,
    FlakyProducer,
    FrameLog,
    index_of,
    picture,
)  # fmt: skip

MakePath = Callable[..., Path]
SECOND = 1_000_000_000


@pytest.fixture
def send(frame_log: FrameLog, fake_time: FakeTime, stop: threading.Event) -> Callable[..., GatewayStats]:
    """Send a source to a real log, while time passes at once."""

    def run(path: Path, loop: bool = False, **config: object) -> GatewayStats:
        return run_camera(
            GatewayConfig(**{"camera": "cam", "pace": "fast", **config}), SourceConfig(url=str(path), loop=loop),
            frame_log.log, frame_log.topics.frames, stop, clock=fake_time.clock,
        )  # fmt: skip

    return run


def test_a_video_arrives_frame_by_frame_and_ends(send, frame_log: FrameLog, make_video: MakePath) -> None:
    stats = send(make_video(num_frames=12))
    records, headers = frame_log.records("cam"), frame_log.headers("cam")
    assert [index_of(decode(record.value)) for record in records[:-1]] == list(range(12))
    assert [header.sequence for header in headers] == list(range(13))
    assert {(header.width, header.height) for header in headers} == {(WIDTH, HEIGHT)}
    assert [header.ended for header in headers] == [False] * 12 + [True]
    assert records[-1].value == b""
    assert (stats.captured, stats.produced, stats.num_dropped, stats.buffered) == (12, 12, 0, 0)
    assert stats.num_bytes == sum(len(record.value) for record in records)
    assert stats.encode_s > 0


def test_frames_carry_start_plus_media_time_plus_clock_offset(
    send, frame_log: FrameLog, make_video: MakePath
) -> None:
    send(make_video(num_frames=5), clock_offset_s=-0.25)
    headers = frame_log.headers("cam")
    expected = [START_NS + index * SECOND // 10 - SECOND // 4 for index in [0, 1, 2, 3, 4, 4]]
    assert [header.captured_ns for header in headers] == expected
    assert {header.epoch for header in headers} == {START_NS}


def test_a_paced_video_takes_as_long_as_it_lasts(send, fake_time: FakeTime, make_video: MakePath) -> None:
    send(make_video(num_frames=12), pace="source")
    assert fake_time.now_ns - START_NS == pytest.approx(1.1 * SECOND)


def test_a_fast_video_waits_for_nothing(send, fake_time: FakeTime, make_video: MakePath) -> None:
    send(make_video(num_frames=12), pace="fast")
    assert fake_time.waits == []


def test_frames_beyond_the_limit_are_dropped_and_leave_gaps(
    send, frame_log: FrameLog, make_video: MakePath
) -> None:
    stats = send(make_video(num_frames=12, fps=10), max_fps=5)
    assert [header.sequence for header in frame_log.headers("cam")] == [0, 2, 4, 6, 8, 10, 12]
    assert stats.dropped == {DropReason.MAX_FPS: 6}
    assert (stats.captured, stats.produced) == (12, 6)


def test_wide_frames_are_scaled_down(send, frame_log: FrameLog, make_video: MakePath) -> None:
    send(make_video(num_frames=2), max_width=80)
    assert {(header.width, header.height) for header in frame_log.headers("cam")} == {(80, 60)}
    assert decode(frame_log.records("cam")[0].value).shape == (60, 80, 3)


def test_a_lower_quality_makes_smaller_frames(stop: threading.Event) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    sizes = [
        len(_gateway(FlakyProducer(), stop, jpeg_quality=quality).encode(noise).jpeg) for quality in (95, 70)
    ]
    assert sizes[0] > sizes[1]


def test_frames_too_large_for_the_log_are_dropped_and_the_stream_goes_on(
    send, frame_log, make_folder: MakePath
) -> None:
    folder = make_folder(num_images=3)
    noise = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    cv2.imwrite(str(folder / "frame1.jpg"), noise)
    stats = send(folder, max_bytes=8000)
    assert stats.dropped == {DropReason.TOO_LARGE: 1}
    assert [header.sequence for header in frame_log.headers("cam")] == [0, 2, 3]


def test_a_jpeg_from_a_folder_is_passed_through_byte_by_byte(send, frame_log, make_folder: MakePath) -> None:
    folder = make_folder(num_images=3)
    stats = send(folder)
    assert [record.value for record in frame_log.records("cam")[:-1]] == [
        (folder / f"frame{index}.jpg").read_bytes() for index in range(3)
    ]
    assert stats.encode_s == 0


def test_a_jpeg_that_must_be_scaled_is_encoded_anew(send, frame_log, make_folder: MakePath) -> None:
    send(make_folder(num_images=1), max_width=80)
    assert simplejpeg.decode_jpeg_header(frame_log.records("cam")[0].value)[:2] == (60, 80)


@pytest.mark.parametrize("data", [b"", b"this is no picture"])
def test_an_unreadable_image_is_skipped_and_counted(
    send, frame_log, make_folder: MakePath, data: bytes
) -> None:
    folder = make_folder(num_images=3)
    (folder / "frame1.jpg").write_bytes(data)
    stats = send(folder)
    assert [header.sequence for header in frame_log.headers("cam")] == [0, 2, 3]
    assert stats.dropped == {DropReason.UNREADABLE: 1}


def test_a_looped_video_is_sent_until_told_to_stop(
    frame_log: FrameLog, stop: threading.Event, make_video
) -> None:
    class StopAfterThirty(Unobserved):
        num_frames = 0

        def captured(self, camera: str) -> None:
            self.num_frames += 1
            if self.num_frames == 30:
                stop.set()

    stats = run_camera(
        GatewayConfig(camera="cam", pace="fast"), SourceConfig(url=str(make_video(num_frames=4)), loop=True),
        frame_log.log, frame_log.topics.frames, stop, observer=StopAfterThirty(),
    )  # fmt: skip
    headers = frame_log.headers("cam")
    assert stats.produced == len(headers) == 30
    assert not any(header.ended for header in headers)


def test_a_missing_video_is_an_error_not_an_empty_stream(send, frame_log: FrameLog, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"missing\.mp4 does not exist"):
        send(tmp_path / "missing.mp4")
    assert frame_log.records("cam") == []


def _gateway(producer: FlakyProducer, stop: threading.Event, **config: object) -> Gateway:
    gateway_config = GatewayConfig(**{"camera": "cam", **config})
    return Gateway(
        gateway_config, PatientOutbox(Delivery(lambda: producer, "frames", FakeTime().clock), stop), stop
    )


def test_capturing_goes_on_while_the_log_is_away_and_resumes_with_the_newest(
    fake_time, stop: threading.Event
) -> None:
    producer = FlakyProducer(away=True)
    outbox = BoundedOutbox(Delivery(lambda: producer, "frames", fake_time.clock), 5, stop, retry_s=0.01)
    gateway = Gateway(GatewayConfig(camera="cam", max_buffered=5), outbox, stop, clock=fake_time.clock)
    for index in range(20):
        gateway.send(picture(0), START_NS + index)
    away = gateway.stats
    assert away.captured == 20
    assert away.produced == 0
    assert 5 <= away.buffered <= 6
    assert away.dropped == {DropReason.LOG_AWAY: 20 - away.buffered}
    producer.away = False
    gateway.send(picture(0), START_NS + 20)
    gateway.end()
    sequences = [header.sequence for header in producer.taken]
    assert sequences[-5:] == [17, 18, 19, 20, 21]
    assert sequences == sorted(sequences)
    assert producer.taken[-1].ended
    stats = gateway.stats
    assert stats.captured == 21 == stats.produced + stats.num_dropped
    assert stats.buffered == 0
    outbox.close()


def test_the_end_of_a_stream_fails_when_the_log_stays_away(stop: threading.Event) -> None:
    outbox = BoundedOutbox(Delivery(lambda: FlakyProducer(away=True), "frames", FakeTime().clock), 5, stop)
    gateway = Gateway(GatewayConfig(camera="cam", flush_timeout_s=0.1), outbox, stop)
    gateway.send(picture(0), START_NS)
    with pytest.raises(LogUnavailable, match=r"camera cam within 0\.1 s"):
        gateway.end()
    outbox.close()


@dataclass
class DyingCamera:
    """Gives some pictures each time it is opened, then dies; stops the gateway in the end."""

    lives: list[int]
    stop: threading.Event
    name: str = "a camera"
    live: bool = True

    def captures(self) -> Generator[Capture, None, None]:
        if not self.lives:
            self.stop.set()
            raise SourceUnavailable("gone for good")
        for _ in range(self.lives.pop(0)):
            yield Capture(None, lambda: picture(0))
        raise SourceUnavailable("died")


class Losses(Unobserved):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def source_lost(self, camera: str, error: SourceUnavailable) -> None:
        self.seen.append(str(error))

    def source_back(self, camera: str) -> None:
        self.seen.append("back")


def test_a_live_source_is_opened_again_for_ever_with_growing_waits(fake_time, stop: threading.Event) -> None:
    producer, losses = FlakyProducer(), Losses()
    gateway = Gateway(
        GatewayConfig(camera="cam"), PatientOutbox(Delivery(lambda: producer, "frames", fake_time.clock), stop), stop,
        clock=fake_time.clock, rng=random.Random(1), observer=losses,
    )  # fmt: skip
    stats = gateway.run(DyingCamera([2, 0, 0, 0, 3], stop))
    assert [header.sequence for header in producer.taken] == [0, 1, 2, 3, 4]
    assert stats.reconnects == 1
    assert losses.seen == ["died"] * 4 + ["back", "died", "gone for good"]
    ceilings_s = [0.5, 1.0, 2.0, 4.0, 0.5, 1.0]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(fake_time.waits, ceilings_s, strict=True))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("camera", ""), ("camera", "x" * 129), ("pace", "slow"), ("jpeg_quality", 0), ("max_fps", 0.0), ("max_width", 0),
        ("max_bytes", 10**9), ("max_buffered", 0), ("reconnect_first_s", -1.0),
    ],
)  # fmt: skip
def test_a_gateway_setting_that_makes_no_sense_is_named(field: str, value: object) -> None:
    with pytest.raises(BadConfig, match=f"{field}.*expected"):
        GatewayConfig(**{"camera": "cam", field: value})


def test_a_recording_is_read_without_its_credentials_being_told() -> None:
    with pytest.raises(BadConfig) as caught:
        open_source(SourceConfig(url="http://user:secret@host/video"))
    assert "secret" not in str(caught.value)
