"""Every source passes the same suite; what only one of them does follows."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from cluster.errors import BadConfig, SourceUnavailable
from cluster.gateway import Source, SourceConfig, open_source
from cluster.gateway.sources import Looped, UsbCamera, VideoFile
from pipeline.errors import BadFrame
from tests.cluster.gateway.conftest import HEIGHT, WIDTH, index_of

MakePath = Callable[..., Path]
KINDS = ("video", "jpg folder", "png folder", "loop", "usb", "rtsp")


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest) -> Source:
    if request.param == "rtsp":
        return open_source(SourceConfig(url=request.getfixturevalue("rtsp_camera").url()))
    if "folder" in request.param:
        folder = request.getfixturevalue("make_folder")(suffix=f".{request.param[:3]}")
        return open_source(SourceConfig(url=str(folder)))
    video = request.getfixturevalue("make_video")()
    if request.param == "usb":
        # No machine that runs the tests has a camera: OpenCV reads a video in its place.
        return UsbCamera(0, "usb:0", lambda _: cv2.VideoCapture(str(video)))
    return open_source(SourceConfig(url=str(video), loop=request.param == "loop"))


def test_pictures_are_bgr_bytes_in_rows(source: Source) -> None:
    capture = next(source.captures())
    image = capture.load()
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.c_contiguous


def test_recordings_give_growing_times_and_live_sources_none(source: Source) -> None:
    times = [capture.media_s for capture in islice(source.captures(), 10)]
    assert times == ([None] * 10 if source.live else pytest.approx([index / 10 for index in range(10)]))


def test_a_source_can_be_left_early_and_opened_again(source: Source) -> None:
    sizes = []
    for _ in range(2):
        captures = source.captures()
        sizes.append(next(captures).load().shape)
        captures.close()  # type: ignore[attr-defined]  # sources are generators
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("/nowhere/video.mp4", "does not exist"),
        ("rtsp://127.0.0.1:1/cam", "Connection refused"),
        ("rtsp://host.invalid/cam", "cannot be read"),
        ("usb:97", "cannot be opened"),
        ("/dev/video97", "cannot be opened"),
    ],
)
def test_a_source_that_is_not_there_is_named_with_a_remedy(url: str, what: str) -> None:
    with pytest.raises(SourceUnavailable, match=f"{url}.*{what}.*check"):
        next(open_source(SourceConfig(url=url)).captures())


@pytest.mark.parametrize("url", ["http://camera/video", "usb:front", "ftp://host/x.mp4"])
def test_an_address_that_nothing_reads_is_a_mistake_in_the_configuration(url: str) -> None:
    with pytest.raises(BadConfig, match="expected a video file, a folder"):
        open_source(SourceConfig(url=url))


def test_a_text_file_named_mp4_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("buy milk\n" * 100)
    with pytest.raises(SourceUnavailable, match=r"notes\.mp4.*Invalid data.*is a video"):
        next(VideoFile(path).captures())


def test_an_empty_file_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "empty.avi"
    path.touch()
    with pytest.raises(SourceUnavailable, match=r"empty\.avi"):
        next(VideoFile(path).captures())


def test_a_sound_file_has_no_video_stream(tmp_path: Path) -> None:
    import wave

    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    with pytest.raises(SourceUnavailable, match="no video stream"):
        next(VideoFile(path).captures())


def test_a_truncated_video_gives_what_it_still_holds(make_video: MakePath) -> None:
    path = make_video(num_frames=20, name="video.avi")
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"00dc", 0, data.index(b"idx1")) - 300])
    captures = list(VideoFile(path).captures())
    images = [_load(capture.load) for capture in captures]
    assert 2 < sum(image is not None for image in images) < 20


def test_a_video_damaged_in_the_middle_goes_on_behind_it(make_video: MakePath) -> None:
    path = make_video(num_frames=20, name="video.avi")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    times = [capture.media_s for capture in VideoFile(path).captures()]
    assert times[-1] == pytest.approx(1.9, abs=0.2)


def test_an_mp4_that_lost_its_index_is_refused(make_video: MakePath) -> None:
    path = make_video(num_frames=20)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(SourceUnavailable, match="complete"):
        list(VideoFile(path).captures())


def test_a_looped_video_starts_again_with_time_going_on(make_video: MakePath) -> None:
    captures = list(islice(Looped(VideoFile(make_video(num_frames=4))).captures(), 10))
    assert [index_of(capture.load()) for capture in captures] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert [capture.media_s for capture in captures] == pytest.approx([index / 10 for index in range(10)])


def test_images_are_read_in_the_order_of_their_numbers(make_folder: MakePath) -> None:
    captures = open_source(SourceConfig(url=str(make_folder(num_images=12)))).captures()
    assert [index_of(capture.load()) for capture in captures] == list(range(12))


def test_other_files_in_an_image_folder_are_left_alone(make_folder: MakePath) -> None:
    folder = make_folder(num_images=2)
    (folder / "frame0.txt").write_text("a note")
    (folder / "Thumbs.db").write_bytes(b"x")
    assert len(list(open_source(SourceConfig(url=str(folder))).captures())) == 2


def test_an_image_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"holds no image; expected \.jpg"):
        next(open_source(SourceConfig(url=str(tmp_path))).captures())


@pytest.mark.parametrize("name", ["frame1.jpg", "frame1.png"])
@pytest.mark.parametrize("data", [b"", b"not an image"])
def test_a_damaged_image_fails_alone(make_folder: MakePath, name: str, data: bytes) -> None:
    folder = make_folder(num_images=3, suffix=name[-4:])
    (folder / name).write_bytes(data)
    captures = list(open_source(SourceConfig(url=str(folder))).captures())
    assert [_load(capture.load) is not None for capture in captures] == [True, False, True]


def test_a_usb_camera_that_is_unplugged_is_named(make_video: MakePath) -> None:
    video = make_video(num_frames=3)
    captures = UsbCamera(0, "usb:0", lambda _: cv2.VideoCapture(str(video))).captures()
    assert len(list(islice(captures, 3))) == 3
    with pytest.raises(SourceUnavailable, match="usb:0 gives no picture any more; check its cable"):
        next(captures)


@pytest.mark.parametrize(
    ("field", "value"),
    [("url", ""), ("folder_fps", 0.0), ("read_timeout_s", -1.0), ("rtsp_transport", "carrier pigeon")],
)
def test_a_source_setting_that_makes_no_sense_is_named(field: str, value: object) -> None:
    with pytest.raises(BadConfig, match=f"source.{field} is"):
        SourceConfig(**{"url": "video.mp4", field: value})


def test_pictures_keep_the_size_of_the_video(make_video: MakePath) -> None:
    assert next(VideoFile(make_video()).captures()).load().shape == (HEIGHT, WIDTH, 3)


def _load(load: Callable[[], np.ndarray]) -> np.ndarray | None:
    try:
        return load()
    except BadFrame:
        return None
