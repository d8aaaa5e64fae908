import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.errors import BadConfig, SourceUnavailable
from cluster.gateway import GatewayConfig, ReaderLag, SourceConfig, Unobserved, run_cameras
from tests.cluster.gateway.conftest import FrameLog

MakePath = Callable[..., Path]


def camera(name: str, path: Path | str) -> tuple[GatewayConfig, SourceConfig]:
    return GatewayConfig(camera=name, pace="fast"), SourceConfig(url=str(path))


def test_a_camera_that_fails_does_not_stop_the_others(
    frame_log: FrameLog, make_video: MakePath, stop
) -> None:
    video = make_video(num_frames=5)
    cameras = [camera("a", video), camera("broken", "/nowhere.mp4"), camera("b", video)]
    outcomes = run_cameras(cameras, frame_log.log, frame_log.topics.frames, stop)
    assert list(outcomes) == ["a", "broken", "b"]
    assert isinstance(outcomes["broken"].error, SourceUnavailable)
    assert [outcomes[name].stats.produced for name in "ab"] == [5, 5]
    assert [header.ended for header in frame_log.headers("b")] == [False] * 5 + [True]


def test_two_cameras_of_one_name_are_refused_before_anything_starts(frame_log: FrameLog, stop) -> None:
    with pytest.raises(BadConfig, match="more than one of a"):
        run_cameras(
            [camera("a", "x.mp4"), camera("a", "y.mp4")], frame_log.log, frame_log.topics.frames, stop
        )


def test_an_address_that_nothing_reads_is_refused_before_anything_starts(frame_log, make_video, stop) -> None:
    cameras = [camera("a", make_video()), camera("b", "gopher://host")]
    with pytest.raises(BadConfig, match="gopher"):
        run_cameras(cameras, frame_log.log, frame_log.topics.frames, stop)
    assert frame_log.headers("a") == []


def test_a_bug_comes_out_when_the_other_cameras_have_ended(frame_log: FrameLog, make_video, stop) -> None:
    class Buggy(Unobserved):
        def captured(self, name: str) -> None:
            if name == "a":
                raise ZeroDivisionError

    cameras = [camera("a", make_video(num_frames=5)), camera("b", make_video(num_frames=5))]
    with pytest.raises(ZeroDivisionError):
        run_cameras(cameras, frame_log.log, frame_log.topics.frames, stop, observer=Buggy())
    assert len(frame_log.headers("b")) == 6


def test_each_recording_waits_for_the_readers_of_its_own_frames(frame_log: FrameLog, make_video) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    cameras = [camera(name, make_video(num_frames=20)) for name in ("north-west", "south-east")]
    lag = ReaderLag(group="shards", max_records=4)
    outcomes = run_cameras(cameras, frame_log.log, frame_log.topics.frames, stop, reader_lag=lag)
    assert [outcome.stats.produced for outcome in outcomes.values()] == [4, 4]
