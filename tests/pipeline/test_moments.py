import numpy as np
import pytest

from pipeline.pictures.moments import best_moments, cut, moments_of_tracks
from pipeline.records import FrameRef, FrameResult, Observation


def result(offset, *observations, camera="gate"):
    return FrameResult(
        frame=FrameRef(topic="frames", partition=3, offset=offset), camera=camera, sequence=offset,
        captured_ns=offset * 100, width=100, height=80, model_version="m", observations=observations,
    )  # fmt: skip


def seen(track, box=(10, 10, 20, 40), score=0.9):
    return Observation(box=box, score=score, label="person", track=track, confirmed=True)


def test_moments_are_those_of_the_tracks_asked_for_in_order_of_time():
    results = [result(5, seen("a"), seen("b")), result(2, seen("a"), seen(None)), result(3, seen("c"))]
    found = moments_of_tracks(results, {"a", "c", "nowhere"})
    assert {track: [moment.at_ns for moment in moments] for track, moments in found.items()} == {
        "a": [200, 500],
        "c": [300],
    }


def test_each_stretch_of_time_gives_its_largest_whole_sight():
    small, large, cut_off = (10, 10, 20, 40), (10, 5, 40, 75), (0, 0, 60, 80)
    boxes = [small, large, small, small, cut_off, large]
    found = moments_of_tracks([result(at, seen("a", box)) for at, box in enumerate(boxes)], {"a"})
    assert [moment.frame.offset for moment in best_moments(found["a"], 2)] == [1, 5]


@pytest.mark.parametrize("num_moments", [0, 1, 2])
def test_a_short_track_gives_as_many_as_it_has(num_moments):
    found = moments_of_tracks([result(at, seen("a")) for at in range(num_moments)], {"a"})
    assert len(best_moments(found.get("a", []), 3)) == num_moments


def test_a_cut_out_has_a_margin_and_follows_the_frame_s_size():
    (moment,) = moments_of_tracks([result(0, seen("a", (20, 20, 70, 70)))], {"a"})["a"]
    assert cut(np.zeros((80, 100, 3), np.uint8), moment).shape == (58, 58, 3)
    assert cut(np.zeros((40, 50, 3), np.uint8), moment).shape == (29, 29, 3)


def test_a_box_beyond_the_frame_is_cut_at_its_edge():
    (moment,) = moments_of_tracks([result(0, seen("a", (80, 60, 140, 120)))], {"a"})["a"]
    height, width, _ = cut(np.zeros((80, 100, 3), np.uint8), moment).shape
    assert 0 < height <= 30
    assert 0 < width <= 30
