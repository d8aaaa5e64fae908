import subprocess
import sys
import textwrap

import av
import numpy as np
import pytest

from cluster.errors import OutputUnavailable
from cluster.video_writer import VideoWriter
from pipeline.errors import BadInput

COLOURS = [(200, 60, 40), (40, 180, 60), (60, 50, 210)]


def filled(colour, height=96, width=160):
    return np.full((height, width, 3), colour, np.uint8)


def test_the_file_holds_every_picture_at_its_size_rate_and_colour(tmp_path):
    path = tmp_path / "out" / "film.mp4"
    with VideoWriter(path, 12.5, 160, 96) as writer:
        for i in range(30):
            writer.write(filled(COLOURS[i // 10]))
        assert writer.num_frames == 30
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate)) == (160, 96, 12.5)
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]
    assert len(frames) == 30
    for i in (5, 15, 25):
        assert np.abs(frames[i].astype(int) - COLOURS[i // 10]).max() <= 6


def test_browsers_can_play_it(tmp_path):
    path = tmp_path / "film.mp4"
    with VideoWriter(path, 10, 160, 96) as writer:
        writer.write(filled(COLOURS[0]))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), (
        "the index stands in front, so that it plays while it loads"
    )


def test_a_picture_may_be_drawn_over_after_it_was_written(tmp_path):
    path = tmp_path / "film.mp4"
    picture = filled(COLOURS[0])
    with VideoWriter(path, 10, 160, 96) as writer:
        writer.write(picture)
        picture[:] = 0
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="bgr24")
    assert np.abs(frame.astype(int) - COLOURS[0]).max() <= 6


def test_an_error_while_drawing_leaves_nothing_half_written_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"the film of the run before")

    def draw_and_fail():
        with VideoWriter(path, 10, 160, 96) as writer:
            writer.write(filled(COLOURS[0]))
            raise RuntimeError("drawing failed")

    with pytest.raises(RuntimeError, match="drawing failed"):
        draw_and_fail()
    assert path.read_bytes() == b"the film of the run before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_process_leaves_no_film_under_its_final_name(tmp_path):
    script = """
        import os, signal, sys
        from pathlib import Path
        import numpy as np
        from cluster.video_writer import VideoWriter
        with VideoWriter(Path(sys.argv[1]), 10, 160, 96) as writer:
            for _ in range(50):
                writer.write(np.zeros((96, 160, 3), np.uint8))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "film.mp4"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], timeout=60)
    assert done.returncode == -9
    assert not path.exists()
    with VideoWriter(path, 10, 160, 96) as writer:
        writer.write(filled(COLOURS[0]))
    assert list(tmp_path.iterdir()) == [path], "the next run clears what the killed one left"


def test_a_film_without_a_picture_is_not_written(tmp_path):
    with VideoWriter(tmp_path / "film.mp4", 10, 160, 96):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fps", "width", "height"), [(10, 161, 96), (10, 160, 0), (0, 160, 96), (float("nan"), 160, 96)]
)
def test_a_size_or_rate_that_video_cannot_have_is_refused(tmp_path, fps, width, height):
    with pytest.raises(BadInput, match="expected"):
        VideoWriter(tmp_path / "film.mp4", fps, width, height)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_another_size_is_refused(tmp_path):
    with VideoWriter(tmp_path / "film.mp4", 10, 160, 96) as writer:
        with pytest.raises(BadInput, match=r"\(96, 160, 3\)"):
            writer.write(filled(COLOURS[0], height=90))
        writer.write(filled(COLOURS[0]))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputUnavailable, match=r"file/film\.mp4"):
        VideoWriter(tmp_path / "file" / "film.mp4", 10, 160, 96)
