from pipeline.pictures.moments import best_moments, moments_of_tracks, sureness
from pipeline.records import FrameRef, FrameResult, Observation


def result(second: int, *seen: Observation) -> FrameResult:
    return FrameResult(
        frame=FrameRef(topic="frames", partition=0, offset=second), camera="door", sequence=second, captured_ns=second,
        width=200, height=100, model_version="m", observations=seen,
    )  # fmt: skip


def seen(track: str | None, score: float, left: float = 20, right: float = 40) -> Observation:
    return Observation(box=(left, 20, right, 80), score=score, label="person", track=track)


def test_a_sure_box_is_worth_more_than_a_large_one_around_two_people() -> None:
    moments = moments_of_tracks(
        [result(0, seen("a", 0.5, right=100)), result(1, seen("a", 0.9))], {"a"}, sureness
    )
    (best,) = best_moments(moments["a"], 1)
    assert best.box == (20, 20, 40, 80)


def test_somebody_cut_off_by_the_frame_is_worth_less_than_somebody_unsure() -> None:
    moments = moments_of_tracks(
        [result(0, seen("a", 0.9, left=0)), result(1, seen("a", 0.3))], {"a"}, sureness
    )
    (best,) = best_moments(moments["a"], 1)
    assert best.at_ns == 1


def test_moments_are_those_of_the_tracks_asked_for_in_order_of_time() -> None:
    results = [result(2, seen("a", 0.9), seen("b", 0.9)), result(1, seen("a", 0.8), seen(None, 0.9))]
    moments = moments_of_tracks(results, {"a", "c"}, sureness)
    assert {track: [one.at_ns for one in known] for track, known in moments.items()} == {"a": [1, 2]}
