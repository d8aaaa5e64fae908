import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ordering import EventOrder, PlacedEvent
from pipeline.records import FrameRef, TrackletBatch, TrackletEvent, TrackletPhase

REF = FrameRef(topic="frames", partition=0, offset=0)


def batch(camera: str, watermark: int, *times: int, ended: bool = False) -> TrackletBatch:
    events = tuple(
        TrackletEvent(
            track=f"{camera}{at}", phase=TrackletPhase.CONFIRMED, at_ns=at, start_ns=at, label="person", box=(0, 0, 1, 1),
            num_samples=1,
        )
        for at in times
    )  # fmt: skip
    return TrackletBatch(camera=camera, watermark_ns=watermark, frame=REF, events=events, ended=ended)


def tracks(events: list[PlacedEvent]) -> list[str]:
    return [placed.track for placed in events]


def test_an_event_waits_until_every_camera_has_passed_its_time() -> None:
    order = EventOrder(["a", "b"])
    assert order.push(batch("a", 10, 5), 0) == []
    assert tracks(order.push(batch("b", 6), 1)) == ["a5"]


def test_a_camera_that_was_never_heard_holds_everything_back() -> None:
    order = EventOrder(["a", "b"])
    order.push(batch("a", 10, 5), 0)
    assert order.holding_back == ("b",)


def test_a_silent_camera_can_be_given_up_and_comes_back() -> None:
    order = EventOrder(["a", "b"])
    order.push(batch("a", 10, 5), 0)
    assert tracks(order.stop_waiting_for("b")) == ["a5"]
    order.push(batch("b", 12), 1)
    assert order.push(batch("a", 20, 15), 2) == []


def test_an_ended_stream_is_not_waited_for() -> None:
    order = EventOrder(["a", "b"])
    order.push(batch("b", 3, ended=True), 0)
    assert tracks(order.push(batch("a", 10, 5), 1)) == ["a5"]


def test_a_late_event_is_released_at_once_and_counted() -> None:
    order = EventOrder(["a", "b"])
    order.push(batch("a", 100, 50), 0)
    assert tracks(order.push(batch("b", 90), 1)) == ["a50"]
    assert tracks(order.push(batch("b", 95, 20), 2)) == ["b20"]
    assert order.num_late == 1


def test_no_more_than_the_bound_is_held_back() -> None:
    order = EventOrder(["a", "b"], max_pending=3)
    released = order.push(batch("a", 10, 1, 2, 3, 4, 5), 0)
    assert tracks(released) == ["a1", "a2"]
    assert order.num_forced == 2


def test_the_first_undecided_record_is_known() -> None:
    order = EventOrder(["a", "b"])
    order.push(batch("a", 4, 3), 7)
    order.push(batch("a", 10, 5), 8)
    assert order.first_pending_offset == 7
    order.push(batch("b", 4), 9)
    assert order.first_pending_offset == 8


def test_what_is_told_of_one_track_at_one_time_stays_in_the_order_it_was_told() -> None:
    order = EventOrder(["a"])
    phases = (TrackletPhase.CONFIRMED, TrackletPhase.UPDATED, TrackletPhase.ENDED)
    (event,) = batch("a", 5, 5).events
    told = tuple(msgspec.structs.replace(event, phase=phase) for phase in phases)
    last = TrackletBatch(camera="a", watermark_ns=5, frame=REF, events=told, ended=True)
    assert tuple(placed.event.phase for placed in order.push(last, 0)) == phases


@given(
    st.lists(st.lists(st.integers(0, 50), max_size=15), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_the_order_is_the_same_whatever_the_interleaving_of_cameras(
    times: list[list[int]], seed: int
) -> None:
    cameras = [f"c{i}" for i in range(len(times))]
    queues = [
        [batch(camera, at, at) for at in sorted(set(ts))] + [batch(camera, 99, ended=True)]
        for camera, ts in zip(cameras, times, strict=True)
    ]
    expected = sorted((at, f"c{i}") for i, ts in enumerate(times) for at in set(ts))
    rng = random.Random(seed)
    order = EventOrder(cameras)
    released: list[PlacedEvent] = []
    while any(queues):
        queue = rng.choice([queue for queue in queues if queue])
        released.extend(order.push(queue.pop(0), 0))
    assert [(placed.at_ns, placed.camera) for placed in released] == expected
    assert order.num_late == 0
