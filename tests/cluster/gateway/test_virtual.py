import multiprocessing
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from kafka.partitioner.default import murmur2

from cluster.errors import SourceUnavailable
from cluster.gateway import GatewayStats, ReaderLag, Stop, VirtualSite, stream_virtual_site
from cluster.log.open import open_log
from cluster.topics import NUM_FRAME_PARTITIONS
from pipeline.frames import decode
from pipeline.virtual_cameras import VirtualCamera, four_quadrants
from tests.cluster.gateway.conftest import HEIGHT, START_NS, WIDTH, FakeTime, FrameLog, picture

CAMERAS = four_quadrants(WIDTH, HEIGHT)
NAMES = [camera.camera for camera in CAMERAS]


@pytest.fixture
def stream(site: VirtualSite, frame_log: FrameLog) -> Callable[..., dict[str, GatewayStats]]:
    """Stream the site, changed as told, to the real log."""

    def run(
        stop: Stop | None = None, *, clock=None, on_progress=None, **changes: object
    ) -> dict[str, GatewayStats]:
        return stream_virtual_site(
            replace(site, **changes),
            partial(open_log, frame_log.url),
            stop,
            clock=clock,
            on_progress=on_progress,
        )

    return run


@pytest.fixture
def site(frame_log: FrameLog, make_video: Callable[..., Path]) -> VirtualSite:
    return VirtualSite(
        video=make_video(num_frames=8), cameras=CAMERAS, topic=frame_log.topics.frames
    )  # fmt: skip


def test_four_cameras_fall_into_four_partitions_two_for_each_of_two_shards() -> None:
    partitions = [(murmur2(name.encode()) & 0x7FFFFFFF) % NUM_FRAME_PARTITIONS for name in NAMES]
    assert partitions == [58, 3, 59, 12]
    assert sum(partition < NUM_FRAME_PARTITIONS // 2 for partition in partitions) == 2
    assert sum(partition % 2 for partition in partitions) == 2


def test_every_frame_of_the_video_becomes_one_of_each_camera_and_all_end(stream, frame_log: FrameLog) -> None:
    progress: list[int] = []
    stats = stream(on_progress=progress.append)
    for name in NAMES:
        headers = frame_log.headers(name)
        assert [header.sequence for header in headers] == list(range(9))
        assert [header.ended for header in headers] == [False] * 8 + [True]
        assert (stats[name].captured, stats[name].produced, stats[name].num_dropped) == (8, 8, 0)
    assert progress == list(range(1, 9))


def test_all_cameras_see_the_same_moment_each_on_its_own_clock(
    stream, frame_log, fake_time: FakeTime
) -> None:
    stream(clock=fake_time.clock)
    for camera in CAMERAS:
        times = [header.captured_ns for header in frame_log.headers(camera.camera)[:-1]]
        start_ns = START_NS + round(camera.clock_offset_s * 1e9)
        assert times == [start_ns + index * 100_000_000 for index in range(8)]


def test_each_view_has_its_own_light(stream, frame_log: FrameLog) -> None:
    stream()
    blue_green_red = [decode(frame_log.records(name)[5].value).mean((0, 1)) for name in NAMES]
    expected = [
        camera.gain * np.array(camera.white_balance) * picture(5)[0, 0] for camera in CAMERAS
    ]  # fmt: skip
    np.testing.assert_allclose(blue_green_red, expected, atol=6)


def test_only_the_frames_asked_for_are_streamed(stream, frame_log: FrameLog) -> None:
    stats = stream(num_frames=3)
    assert [stats[name].produced for name in NAMES] == [3] * 4
    assert frame_log.headers("north-east")[-1].ended


def test_a_looped_site_goes_on_behind_the_end_of_the_video(stream) -> None:
    stats = stream(num_frames=20, loop=True)
    assert [stats[name].produced for name in NAMES] == [20] * 4


def test_threads_change_nothing_but_the_time(stream, frame_log: FrameLog) -> None:
    stream()
    stream(num_threads=2)
    values = [record.value for record in frame_log.records("south-west")]
    assert values[:9] == values[9:]


def test_a_paced_site_takes_as_long_as_the_video(stream, fake_time: FakeTime) -> None:
    stream(pace="source", clock=fake_time.clock)
    assert fake_time.now_ns - START_NS == pytest.approx(700_000_000)


def test_a_site_that_runs_ahead_waits_for_its_readers_until_told_to_stop(stream, frame_log: FrameLog) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    stats = stream(stop, reader_lag=ReaderLag(group="shards", max_records=12))
    assert [stats[name].produced for name in NAMES] == [3] * 4
    assert not frame_log.headers("north-west")[-1].ended


def test_a_missing_video_is_named(stream, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"missing\.avi does not exist"):
        stream(video=tmp_path / "missing.avi")


def test_a_site_streams_from_a_process_of_its_own(site: VirtualSite, frame_log: FrameLog) -> None:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    process = context.Process(target=stream_virtual_site, args=(site, partial(open_log, frame_log.url), stop))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert len(frame_log.headers("south-east")) == 9


def test_the_statistics_of_a_site_travel_between_processes(stream) -> None:
    stats = stream()
    assert pickle.loads(pickle.dumps(stats)) == stats


def test_a_site_of_one_camera_streams_one_camera(stream, frame_log: FrameLog) -> None:
    camera = VirtualCamera(camera="one", left=0, top=0, crop_width=80, crop_height=60, width=80, height=60)
    stream(cameras=(camera,))
    assert {record.key for record in frame_log.log.read(frame_log.topics.frames)} == {b"one"}
