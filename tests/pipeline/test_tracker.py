import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detections import Detections
from pipeline.errors import BadInput
from pipeline.records import FrameRef
from pipeline.tracker import CameraTracker, TrackerConfig
from pipeline.tracks import TrackerSnapshot

CONFIG = TrackerConfig(confirm_hits=3, lost_s=2.0)
FRAME_NS = 100_000_000


def ref(offset):
    return FrameRef(topic="frames", partition=7, offset=offset)


def seen(*boxes, scores=None, labels=None):
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array([0.9] * n if scores is None else scores, np.float32),
        np.array([0] * n if labels is None else labels, np.int64),
    )


def person(x, y=100.0, height=100.0):
    return (x, y, x + 0.4 * height, y + height)


def follow(tracker, frames, start=0, step_ns=FRAME_NS):
    return [
        tracker.update(detections, (start + index) * step_ns, ref(start + index))
        for index, detections in enumerate(frames)
    ]


def walkers(num_frames, num_people, seed=0, drop=0.2):
    """People who cross the picture at their own pace; some frames miss some of them, and scores vary."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 700, num_people), rng.uniform(0, 400, num_people)
    speed = rng.uniform(-8, 8, num_people)
    frames = []
    for step in range(num_frames):
        kept = np.flatnonzero(rng.random(num_people) >= drop)
        boxes = [person(x[i] + speed[i] * step + rng.normal(), y[i] + rng.normal()) for i in kept]
        frames.append(seen(*boxes, scores=rng.uniform(0.05, 1.0, len(kept)), labels=kept % 2))
    return frames


# what a track is


def test_a_person_who_walks_keeps_one_track_and_is_confirmed_at_the_third_sighting():
    updates = follow(CameraTracker("cam", CONFIG), [seen(person(10 + 6 * k)) for k in range(10)])
    assert {update.track_ids for update in updates} == {("cam:7-0-0",)}
    assert [update.confirmed for update in updates] == [(False,)] * 2 + [(True,)] * 8
    assert [update.newly_confirmed for update in updates] == [(), (), ("cam:7-0-0",)] + [()] * 7


def test_a_track_is_named_by_the_frame_and_the_detection_that_founded_it():
    tracker = CameraTracker("north gate", CONFIG)
    update = tracker.update(seen(person(10), person(300), person(600)), 0, ref(41))
    assert update.track_ids == ("north gate:7-41-0", "north gate:7-41-1", "north gate:7-41-2")


def test_objects_of_different_labels_never_share_a_track():
    tracker = CameraTracker("cam", CONFIG)
    person_update, dog_update = follow(tracker, [seen(person(10), labels=[0]), seen(person(10), labels=[16])])
    assert person_update.track_ids != dog_update.track_ids


def test_one_sighting_confirms_where_the_config_asks_for_no_more():
    config = replace(CONFIG, confirm_hits=1)
    update = CameraTracker("cam", config).update(seen(person(10)), 0, ref(0))
    assert update.confirmed == (True,)
    assert update.newly_confirmed == ("cam:7-0-0",)


# ByteTrack's two stages


def test_a_weak_detection_continues_a_track_and_begins_none():
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10))] * 3)
    update = tracker.update(seen(person(10), person(400), scores=[0.3, 0.3]), 3 * FRAME_NS, ref(3))
    assert update.track_ids == ("cam:7-0-0", None)
    assert update.confirmed == (True, False)


def test_a_strong_detection_is_given_out_before_a_weak_one_that_overlaps_better():
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10))] * 3)
    update = tracker.update(seen(person(10), person(16), scores=[0.3, 0.95]), 3 * FRAME_NS, ref(3))
    assert update.track_ids == (None, "cam:7-0-0")


def test_a_weak_detection_does_not_bring_back_a_track_that_was_lost():
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10))] * 3 + [seen()] * 2)
    assert tracker.update(seen(person(10), scores=[0.3]), 5 * FRAME_NS, ref(5)).track_ids == (None,)


def test_a_track_that_is_missed_before_it_is_confirmed_is_abandoned():
    tracker = CameraTracker("cam", CONFIG)
    updates = follow(tracker, [seen(person(10)), seen()])
    assert updates[1].abandoned == ("cam:7-0-0",)
    assert updates[1].ended == ()
    assert tracker.finish() == ()


def test_noise_below_the_low_score_is_not_looked_at():
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10))] * 3)
    assert tracker.update(seen(person(10), scores=[0.01]), 3 * FRAME_NS, ref(3)).track_ids == (None,)


# time


def test_a_walker_hidden_for_a_second_and_a_half_comes_back_as_the_same_track():
    visible = [seen(person(10 + 6 * k)) if not 20 <= k < 35 else seen() for k in range(40)]
    updates = follow(CameraTracker("cam", CONFIG), visible)
    assert updates[-1].track_ids == ("cam:7-0-0",)


def test_dropped_frames_only_widen_the_prediction():
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10 + 6 * k)) for k in range(20)])
    later = 20 + 8  # eight frames never arrived
    update = tracker.update(seen(person(10 + 6 * later)), later * FRAME_NS, ref(later))
    assert update.track_ids == ("cam:7-0-0",)


@pytest.mark.parametrize("step_ns", [FRAME_NS, FRAME_NS // 4, FRAME_NS * 3])
def test_a_track_ends_by_the_clock_whatever_the_frame_rate(step_ns):
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10))] * 3, step_ns=step_ns)
    offset, waited_ns = 3, 0
    while not (update := tracker.update(seen(), offset * step_ns, ref(offset))).ended:
        waited_ns = (offset - 2) * step_ns
        offset += 1
    assert update.ended == ("cam:7-0-0",)
    assert waited_ns <= 2_000_000_000 < waited_ns + step_ns


def test_a_jump_of_the_clock_beyond_the_lost_time_ends_all_tracks():
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10), person(400))] * 3)
    update = tracker.update(seen(person(10), person(400)), 3600 * 10**9, ref(3))
    assert update.ended == ("cam:7-0-0", "cam:7-0-1")
    assert update.track_ids == ("cam:7-3-0", "cam:7-3-1")


def test_a_clock_that_stands_still_or_runs_backwards_is_counted_and_survived():
    tracker = CameraTracker("cam", CONFIG)
    times_s = (10.0, 10.1, 10.2, 10.2, 3.0, 3.1)
    updates = [tracker.update(seen(person(10)), round(t * 1e9), ref(k)) for k, t in enumerate(times_s)]
    assert tracker.num_clock_steps_back == 2
    assert updates[-1].track_ids == ("cam:7-0-0",)


@pytest.mark.parametrize("captured_ns", [10**19, -(10**19), 10**30])
def test_a_clock_that_is_absurd_ends_tracks_at_most(captured_ns):
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10))] * 3)
    tracker.update(seen(person(10)), captured_ns, ref(3))
    assert tracker.update(seen(person(10)), 4 * FRAME_NS, ref(4)).track_ids[0] is not None


def test_finish_ends_what_is_alive_and_confirmed():
    tracker = CameraTracker("cam", CONFIG)
    follow(tracker, [seen(person(10)), seen(person(10)), seen(person(10), person(400))])
    assert tracker.finish() == ("cam:7-0-0",)
    assert tracker.finish() == ()


# direction, occlusion, appearance


def crossing(weight, embeddings=None, frames=40):
    """Two people walk towards each other, pass, and are hidden while they do; returns whose track each is last."""
    config = replace(CONFIG, direction_weight=weight, appearance_weight=0.0 if embeddings is None else 0.5)
    tracker = CameraTracker("cam", config)
    for k in range(frames):
        hidden = 17 <= k < 23
        boxes = [] if hidden else [person(100 + 6 * k), person(340 - 6 * k)]
        looks = None if embeddings is None else embeddings[: len(boxes)]
        update = tracker.update(seen(*boxes), k * FRAME_NS, ref(k), looks)
    return update.track_ids


def test_two_who_pass_each_other_keep_their_tracks():
    assert crossing(weight=0.3) == ("cam:7-0-0", "cam:7-0-1")


def test_of_two_boxes_that_overlap_alike_a_track_takes_the_one_where_it_was_heading():
    def taken(weight):
        tracker = CameraTracker("cam", replace(CONFIG, direction_weight=weight, lost_s=5.0))
        follow(tracker, [seen(person(10 + 6 * k)) for k in range(15)])
        middle = 10 + 6 * 15
        ahead, behind = seen(person(middle - 8), person(middle + 9)), FRAME_NS * 15
        return tracker.update(ahead, behind, ref(15)).track_ids

    assert taken(weight=0.0) == ("cam:7-0-0", "cam:7-15-1")
    assert taken(weight=1.0) == ("cam:7-15-0", "cam:7-0-0")


def test_made_up_sightings_turn_the_velocity_towards_where_an_object_came_back():
    def speed_after_occlusion(step_s):
        tracker = CameraTracker("cam", replace(CONFIG, reupdate_step_s=step_s))
        follow(tracker, [seen(person(10 + 4 * k)) for k in range(15)] + [seen()] * 10)
        update = tracker.update(seen(person(10 + 4 * 14 + 5.5 * 11)), 25 * FRAME_NS, ref(25))
        assert update.track_ids == ("cam:7-0-0",)
        return tracker.snapshot().tracks[0].filter[4]

    # 40 pixels a second before, 55 on the way that was hidden.
    assert 40.0 < speed_after_occlusion(0.0) < speed_after_occlusion(0.1) < 55.0


def test_appearance_decides_where_places_do_not():
    tracker = CameraTracker("cam", replace(CONFIG, appearance_weight=0.5))
    looks = np.eye(2)
    for k in range(5):
        tracker.update(seen(person(100), person(130)), k * FRAME_NS, ref(k), looks)
    swapped = tracker.update(seen(person(114), person(116)), 5 * FRAME_NS, ref(5), looks[::-1])
    assert swapped.track_ids == ("cam:7-0-1", "cam:7-0-0")


def test_embeddings_that_are_not_known_change_nothing():
    frames = walkers(20, 5)
    config = replace(CONFIG, appearance_weight=0.5)
    without = follow(CameraTracker("cam", config), frames)
    tracker = CameraTracker("cam", config)
    for k, detections in enumerate(frames):
        unknown = np.full((len(detections), 8), np.nan)
        assert tracker.update(detections, k * FRAME_NS, ref(k), unknown) == without[k]


def test_a_restart_remembers_what_tracks_look_like():
    config = replace(CONFIG, appearance_weight=0.5)
    tracker = CameraTracker("cam", config)
    for k in range(5):
        tracker.update(seen(person(100), person(130)), k * FRAME_NS, ref(k), np.eye(2))
    as_json = msgspec.json.encode(tracker.snapshot())
    resumed = CameraTracker.resume(msgspec.json.decode(as_json, type=TrackerSnapshot), config)
    later = (seen(person(114), person(116)), 5 * FRAME_NS, ref(5), np.eye(2)[::-1])
    assert resumed.update(*later) == tracker.update(*later)
    assert resumed.snapshot() == tracker.snapshot()


def test_steadied_boxes_tremble_less_and_boxes_without_a_track_stay():
    rng = np.random.default_rng(0)
    tracker, moved, steady = CameraTracker("cam", CONFIG), [], []
    for k in range(60):
        x = 100 + 3 * k + rng.normal(0, 4)
        detections = seen(person(x), person(600), scores=[0.9, 0.3])
        update = tracker.update(detections, k * FRAME_NS, ref(k))
        boxes = tracker.steadied(detections, update)
        moved.append(x - 100 - 3 * k)
        steady.append(boxes[0, 0] - 100 - 3 * k)
        np.testing.assert_array_equal(boxes[1], detections.boxes_N4[1])
    assert np.std(steady[10:]) < 0.9 * np.std(moved[10:])


def test_more_objects_than_there_was_room_for_are_all_tracked():
    boxes = [person(100 * (k % 20), 150 * (k // 20)) for k in range(300)]
    updates = follow(CameraTracker("cam", CONFIG), [seen(*boxes[:70])] + [seen(*boxes)] * 3)
    assert updates[-1].track_ids == updates[1].track_ids
    assert len(set(updates[-1].track_ids)) == 300


# invariants

streams = st.builds(
    walkers, st.integers(1, 25), st.integers(0, 8), seed=st.integers(0, 10_000), drop=st.floats(0.0, 0.7)
)


@settings(max_examples=40, deadline=None)
@given(streams, st.data())
def test_a_restart_at_any_frame_changes_nothing(frames, data):
    cut = data.draw(st.integers(0, len(frames)))
    through = CameraTracker("cam", CONFIG)
    expected = follow(through, frames)
    first = CameraTracker("cam", CONFIG)
    before = follow(first, frames[:cut])
    as_json = msgspec.json.encode(first.snapshot())
    second = CameraTracker.resume(msgspec.json.decode(as_json, type=TrackerSnapshot), CONFIG)
    assert before + follow(second, frames[cut:], start=cut) == expected
    assert second.snapshot() == through.snapshot()
    assert second.finish() == through.finish()


@settings(max_examples=40, deadline=None)
@given(streams)
def test_the_life_of_every_track_is_told_once_and_in_order(frames):
    tracker = CameraTracker("cam", CONFIG)
    born, confirmed, over = set(), set(), set()
    for update in follow(tracker, frames):
        claimed = [track for track in update.track_ids if track is not None]
        assert len(claimed) == len(set(claimed))  # a track is in one place at a time
        over |= {*update.ended, *update.abandoned}
        assert not over & set(claimed)
        born |= set(claimed)
        assert not confirmed & set(update.newly_confirmed)
        confirmed |= set(update.newly_confirmed)
        told = {t for t, sure in zip(update.track_ids, update.confirmed, strict=True) if sure}
        assert told <= confirmed
        assert set(update.ended) <= confirmed
        assert not set(update.abandoned) & confirmed
    assert set(tracker.finish()) == confirmed - over
    assert over <= born


@settings(max_examples=20, deadline=None)
@given(streams, st.integers(-(10**15), 10**15))
def test_tracks_do_not_depend_on_when_the_clock_began(frames, epoch_ns):
    now = follow(CameraTracker("cam", CONFIG), frames)
    then = CameraTracker("cam", CONFIG)
    shifted = [then.update(one, epoch_ns + k * FRAME_NS, ref(k)) for k, one in enumerate(frames)]
    assert shifted == now


@settings(max_examples=20, deadline=None)
@given(streams, st.floats(0.25, 4.0))
def test_tracks_do_not_depend_on_the_scale_of_the_picture(frames, scale):
    def identity_of(updates):
        return [update.track_ids for update in updates]

    # Powers of two keep float32 boxes exact.
    factor = np.float32(2.0 ** round(np.log2(scale)))
    scaled = [Detections(one.boxes_N4 * factor, one.scores_N, one.labels_N) for one in frames]
    assert identity_of(follow(CameraTracker("cam", CONFIG), scaled)) == identity_of(
        follow(CameraTracker("cam", CONFIG), frames)
    )


def test_boxes_that_are_empty_inside_out_or_enormous_do_no_harm():
    tracker = CameraTracker("cam", CONFIG)
    strange = seen((5, 5, 5, 5), (9, 9, 1, 1), (-1e30, -1e30, 1e30, 1e30), person(10))
    for offset in range(4):
        update = tracker.update(strange, offset * FRAME_NS, ref(offset))
    assert update.track_ids[3] == "cam:7-0-3"
    assert "null" not in json.dumps(msgspec.to_builtins(tracker.snapshot()))
    assert (
        msgspec.json.decode(msgspec.json.encode(tracker.snapshot()), type=TrackerSnapshot)
        == tracker.snapshot()
    )


# errors


@pytest.mark.parametrize(
    "wrong",
    [
        {"low_score": 0.9},
        {"new_score": 1.5},
        {"lost_s": 0.0},
        {"confirm_hits": 0},
        {"high_score": 0.95},
        {"smoothing": 1.5},
        {"appearance_weight": -0.1},
        {"direction_weight": 2.0},
        {"reupdate_step_s": -1.0},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(BadInput, match="expected"):
        replace(CONFIG, **wrong)


def test_a_snapshot_of_another_version_is_refused():
    tracker = CameraTracker("cam", CONFIG)
    tracker.update(seen(person(10)), 0, ref(0))
    snapshot = tracker.snapshot()
    broken = msgspec.structs.replace(
        snapshot, tracks=(msgspec.structs.replace(snapshot.tracks[0], filter=(1.0, 2.0)),)
    )
    with pytest.raises(BadInput, match="20 numbers"):
        CameraTracker.resume(broken, CONFIG)
