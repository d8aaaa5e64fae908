import numpy as np
import pytest

from pipeline.detections import Detections
from pipeline.looks import Looks
from pipeline.perception import Models, Seen
from pipeline.records import TrackletPhase
from pipeline.tracker import TrackerUpdate
from pipeline.tracklets import CameraTracklets, SampleRequest, TrackletConfig, covered_share

NS = 1_000_000_000
SIZE = (640, 480)
LOOK = np.eye(4, dtype=np.float32)


def boxes(*rows: tuple[float, float, float, float]) -> Detections:
    n = len(rows)
    return Detections(
        np.array(rows, np.float32).reshape(n, 4), np.full(n, 0.9, np.float32), np.zeros(n, np.int64)
    )


def update(*tracks: str | None, confirmed: bool = True) -> TrackerUpdate:
    flags = tuple(track is not None and confirmed for track in tracks)
    return TrackerUpdate(track_ids=tracks, confirmed=flags, newly_confirmed=(), ended=(), abandoned=())


def seen(detections: Detections) -> Seen:
    return Seen(detections, Models("m@1", ("person",)))


PERSON = (100.0, 100.0, 150.0, 220.0)
OTHER = (300.0, 100.0, 350.0, 220.0)


@pytest.fixture
def tracklets() -> CameraTracklets:
    config = TrackletConfig(min_samples=2, sample_interval_s=0.5, refresh_interval_s=2.0, max_wait_s=3.0)
    return CameraTracklets(config, "e@1")


def observe(
    tracklets: CameraTracklets, at_s: float, *tracks: str, at: Detections | None = None
) -> list[SampleRequest]:
    detections = at or boxes(*(PERSON, OTHER)[: len(tracks)])
    return tracklets.observe(update(*tracks), seen(detections), round(at_s * NS), SIZE)


def sample(tracklets: CameraTracklets, at_s: float, look: np.ndarray) -> None:
    requests = observe(tracklets, at_s, "t")
    tracklets.add_samples(requests, looks(*[look] * len(requests)))


def looks(*rows: np.ndarray, sharpness: float = 1.0) -> Looks:
    return Looks(np.array(rows, np.float32).reshape(-1, 4), np.full(len(rows), sharpness, np.float32))


def test_a_young_track_is_sampled_at_the_short_interval_and_a_known_one_at_the_long(
    tracklets: CameraTracklets,
) -> None:
    asked = [at_s for at_s in np.arange(0, 6, 0.25) if observe(tracklets, float(at_s), "t")]
    assert asked == [0.0, 0.5, 2.5, 4.5]


def test_a_track_that_is_not_confirmed_is_not_sampled(tracklets: CameraTracklets) -> None:
    assert tracklets.observe(update("t", confirmed=False), seen(boxes(PERSON)), 0, SIZE) == []


@pytest.mark.parametrize(
    "box", [(0.0, 100.0, 50.0, 220.0), (100.0, 100.0, 110.0, 130.0), (600.0, 300.0, 640.0, 480.0)], ids=str
)
def test_a_box_at_the_edge_or_too_small_is_not_sampled(
    tracklets: CameraTracklets, box: tuple[float, float, float, float]
) -> None:
    assert observe(tracklets, 0, "t", at=boxes(box)) == []


def test_who_stands_behind_another_is_not_sampled_and_who_stands_in_front_is(
    tracklets: CameraTracklets,
) -> None:
    behind, front = (100.0, 100.0, 150.0, 200.0), (110.0, 110.0, 160.0, 220.0)
    requests = observe(tracklets, 0, "behind", "front", at=boxes(behind, front))
    assert [request.track for request in requests] == ["front"]


def test_the_gallery_hears_of_a_track_once_it_has_enough_samples(tracklets: CameraTracklets) -> None:
    sample(tracklets, 0, LOOK[0])
    assert tracklets.news((), 0) == ()
    sample(tracklets, 0.5, LOOK[0])
    (event,) = tracklets.news((), NS // 2)
    assert (event.phase, event.track, event.num_samples) == (TrackletPhase.CONFIRMED, "t", 2)
    np.testing.assert_allclose(np.frombuffer(event.embedding, "<f4"), LOOK[0])
    assert tracklets.news((), NS // 2) == ()


def test_the_gallery_hears_of_a_track_with_fewer_samples_when_it_has_waited_long_enough(
    tracklets: CameraTracklets,
) -> None:
    sample(tracklets, 0, LOOK[0])
    assert tracklets.news((), 3 * NS - 1) == ()
    assert [event.phase for event in tracklets.news((), 3 * NS)] == [TrackletPhase.CONFIRMED]


def test_an_update_is_told_only_when_the_look_has_changed(tracklets: CameraTracklets) -> None:
    for at_s, look in ((0, LOOK[0]), (0.5, LOOK[0])):
        sample(tracklets, at_s, look)
    tracklets.news((), NS)
    sample(tracklets, 3, LOOK[0])
    (same,) = tracklets.news((), 3 * NS)
    assert (same.phase, same.embedding) == (TrackletPhase.MOVED, b"")
    sample(tracklets, 6, LOOK[1])
    assert [event.phase for event in tracklets.news((), 6 * NS)] == [TrackletPhase.UPDATED]


def test_a_known_track_tells_its_way_now_and_then_a_point_each_half_second(
    tracklets: CameraTracklets,
) -> None:
    for at_s in (0, 0.5):
        sample(tracklets, at_s, LOOK[0])
    (first,) = tracklets.news((), NS // 2)
    assert [point.at_ns for point in first.path] == [0, NS // 2]
    told = []
    for tenth in range(6, 36):
        observe(tracklets, tenth / 10, "t")
        told.extend(tracklets.news((), tenth * NS // 10))
    (moved,) = told
    assert (moved.phase, moved.at_ns) == (TrackletPhase.MOVED, 5 * NS // 2)
    assert [point.at_ns / NS for point in moved.path] == [1.0, 1.5, 2.0, 2.5]
    assert moved.path[0].x == pytest.approx(125 / 640, abs=1e-4)
    assert moved.path[0].y == pytest.approx(220 / 480, abs=1e-4)


def test_who_is_out_of_sight_has_no_news_until_the_end_which_tells_when_it_was_last_seen(
    tracklets: CameraTracklets,
) -> None:
    for at_s in (0, 0.5):
        sample(tracklets, at_s, LOOK[0])
    tracklets.news((), NS // 2)
    assert tracklets.news((), 5 * NS) == ()
    (ended,) = tracklets.news(("t",), 6 * NS)
    assert (ended.at_ns, ended.seen_ns) == (6 * NS, NS // 2)


@pytest.mark.parametrize("box", [(0.0, 100.0, 50.0, 220.0), (100.0, 300.0, 150.0, 480.0)], ids=str)
def test_where_a_border_cuts_off_the_feet_or_a_side_nobody_stands(
    tracklets: CameraTracklets, box: tuple[float, float, float, float]
) -> None:
    for at_s in (0, 0.5):
        sample(tracklets, at_s, LOOK[0])
    tracklets.news((), NS // 2)
    observe(tracklets, 3, "t", at=boxes(box))
    (moved,) = tracklets.news((), 3 * NS)
    assert moved.path == ()


def test_who_comes_beside_a_known_track_is_told_once(tracklets: CameraTracklets) -> None:
    for at_s in (0, 0.5):
        sample(tracklets, at_s, LOOK[0])
    tracklets.news((), NS // 2)
    told = []
    for at_s in (1, 3, 5):
        observe(tracklets, at_s, "t", "newcomer")
        told.extend(event for event in tracklets.news((), at_s * NS) if event.track == "t")
    assert [event.beside for event in told] == [("newcomer",), ()]


def test_a_short_track_is_told_of_when_it_ends(tracklets: CameraTracklets) -> None:
    sample(tracklets, 0, LOOK[0])
    events = tracklets.news(("t",), NS)
    assert [event.phase for event in events] == [TrackletPhase.CONFIRMED, TrackletPhase.ENDED]


def test_a_track_without_any_sample_ends_in_silence_and_is_forgotten(tracklets: CameraTracklets) -> None:
    tracklets.observe(update("t", confirmed=False), seen(boxes(PERSON)), 0, SIZE)
    assert tracklets.news(("t",), NS) == ()
    assert not tracklets._open


def test_tracks_seen_in_one_frame_are_told_as_beside_each_other(tracklets: CameraTracklets) -> None:
    for at_s in (0, 0.5):
        requests = observe(tracklets, at_s, "a", "b")
        tracklets.add_samples(requests, looks(*LOOK[: len(requests)]))
    events = {event.track: event.beside for event in tracklets.news((), NS)}
    assert events == {"a": ("b",), "b": ("a",)}


def test_what_is_told_of_a_frame_knows_nothing_of_later_frames_of_its_batch(
    tracklets: CameraTracklets,
) -> None:
    steps = [index / 4 for index in range(12)]
    one_by_one, at_once = CameraTracklets(tracklets.config, "e"), tracklets
    told = []
    for at_s in steps:
        sample(one_by_one, at_s, LOOK[0])
        told.append(one_by_one.news((), round(at_s * NS)))
    requests = [observe(at_once, at_s, "t") for at_s in steps]
    for at_s, asked, expected in zip(steps, requests, told, strict=True):
        at_once.add_samples(asked, looks(*LOOK[:1].repeat(len(asked), 0)))
        events = at_once.news((), round(at_s * NS))
        assert [event.path for event in events] == [event.path for event in expected]


def test_a_sharp_sample_counts_more_than_a_blurred_one(tracklets: CameraTracklets) -> None:
    for at_s, look, sharpness in ((0.0, LOOK[0], 0.6), (0.5, LOOK[1], 0.2)):
        tracklets.add_samples(observe(tracklets, at_s, "t"), looks(look, sharpness=sharpness))
    (event,) = tracklets.news((), 10 * NS)
    mean = np.frombuffer(event.embedding, "<f4")
    assert mean @ LOOK[0] == pytest.approx(3 * (mean @ LOOK[1]), rel=1e-5)


def test_a_sample_that_is_not_finite_is_left_out(tracklets: CameraTracklets) -> None:
    sample(tracklets, 0, np.full(4, np.nan, np.float32))
    assert tracklets.news((), 10 * NS) == ()


def test_covered_share_counts_only_what_stands_in_front() -> None:
    rows = np.array([(0, 0, 10, 10), (5, 0, 15, 20)], np.float32)
    np.testing.assert_allclose(covered_share(rows), [0.5, 0.0])
