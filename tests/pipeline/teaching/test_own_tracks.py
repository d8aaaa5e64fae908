from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.detector import ImageHW3
from pipeline.errors import BadTask
from pipeline.pictures.moments import Moment
from pipeline.records import FrameRef, TaskKind
from pipeline.teaching import MAX_EXAMPLES, OwnTracks, PastTrack, choose_tracks, make_task
from pipeline.teaching.own_tracks import CROPS_A_SIDE, MAX_PAIRED, Sight
from tests.pipeline.teaching.examples import image


def track(camera: str, number: int, identity: str = "", label: str = "person") -> PastTrack:
    """A track; the higher its number, the later it was seen."""
    name = f"{camera}:0-{number}-0"
    return PastTrack(name, camera, identity or f"id-{name}", label, number)


def pairs(num: int, first: int = 0, other: str = "door", label: str = "person") -> list[PastTrack]:
    """Identities seen in the yard and in another camera."""
    return [
        track(camera, first + number, f"{label} {first + number}", label)
        for number in range(num)
        for camera in ("yard", other)
    ]


def strangers(camera: str, num: int, first: int = 1000) -> list[PastTrack]:
    return [track(camera, first + number) for number in range(num)]


def cameras(tracks: tuple[PastTrack, ...]) -> Counter[str]:
    return Counter(one.camera for one in tracks)


def moments_of(chosen: OwnTracks, num: int = 9) -> dict[str, list[Moment]]:
    """Of each track, sights a second apart."""
    return {
        name: [
            Moment(
                FrameRef(topic="frames", partition=0, offset=second),
                name.partition(":")[0],
                second,
                (float(hash_of(name)), 0.0, 10.0, 20.0),
                40,
                40,
                1.0,
            )
            for second in range(num)
        ]
        for name in chosen.names
    }


def hash_of(name: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 1_000_003


def crops_of(sights: list[Sight]) -> Iterator[tuple[Sight, ImageHW3]]:
    """A picture of its own for every sight."""
    for number, sight in enumerate(sights):
        yield sight, np.asarray(image(number))


def test_whom_the_site_found_in_both_cameras_is_paired_and_all_others_are_strangers() -> None:
    alone = track("yard", 99, "seen here twice"), track("yard", 98, "seen here twice")
    chosen = choose_tracks([*pairs(4), *strangers("yard", 3), *strangers("door", 5), *alone], "yard")
    assert [one[0].identity for one in chosen.paired] == [f"person {number}" for number in (3, 2, 1, 0)]
    assert cameras(chosen.strangers) == {"yard": 5, "door": 5}
    assert not {one.identity for one in chosen.strangers} & {one[0].identity for one in chosen.paired}


def test_who_was_seen_in_two_other_cameras_alone_does_not_tell_of_this_one() -> None:
    elsewhere = [track(camera, 50, "elsewhere") for camera in ("door", "gate")]
    chosen = choose_tracks([*pairs(4), *elsewhere, *strangers("yard", 3), *strangers("door", 1)], "yard")
    assert "elsewhere" not in {one[0].identity for one in chosen.paired}
    assert cameras(chosen.strangers) == {"yard": 3, "door": 2, "gate": 1}


def test_the_last_seen_are_taken_in_balance_and_fill_a_task() -> None:
    many = [*pairs(60), *strangers("yard", 300), *strangers("door", 300), *strangers("gate", 2)]
    chosen = choose_tracks(many, "yard")
    assert [one[0].seen_ns for one in chosen.paired] == list(range(59, 59 - MAX_PAIRED, -1))
    assert cameras(chosen.strangers) == {"yard": 50, "door": 48, "gate": 2}
    assert {one.seen_ns for one in chosen.strangers if one.camera == "yard"} == set(range(1250, 1300))
    assert len(chosen.sights(moments_of(chosen))) == MAX_EXAMPLES


@given(
    st.integers(4, 60),
    st.integers(0, 200),
    st.integers(0, 200),
    st.randoms(use_true_random=False),
)
def test_the_choice_is_balanced_fits_into_a_task_and_is_the_same_in_any_order(
    num, own, others, random
) -> None:
    tracks = [*pairs(num), *strangers("yard", own), *strangers("door", others)]
    chosen = choose_tracks(tracks, "yard")
    assert choose_tracks(random.sample(tracks, len(tracks)), "yard") == chosen
    counts = cameras(chosen.strangers)
    assert counts["yard"] == counts["door"] <= min(own, others)
    assert (counts["yard"] > 0) == (min(own, others) >= 3)
    assert len(chosen.sights(moments_of(chosen))) <= MAX_EXAMPLES


def test_one_or_two_strangers_tell_less_of_a_camera_than_they_harm() -> None:
    chosen = choose_tracks([*pairs(4), *strangers("yard", 2), *strangers("door", 40)], "yard")
    assert chosen.strangers == ()


def test_what_is_not_of_the_usual_class_is_left_out() -> None:
    cars = [*pairs(3, 500, label="car"), *(track("door", 900 + number, label="car") for number in range(9))]
    chosen = choose_tracks([*pairs(5), *cars, *strangers("yard", 3), *strangers("door", 3)], "yard")
    assert {one.label for tracks in (*chosen.paired, chosen.strangers) for one in tracks} == {"person"}


@pytest.mark.parametrize("num", [0, 1, 3])
def test_too_few_found_across_cameras_are_counted_with_what_to_do(num: int) -> None:
    tracks = [*pairs(num), *strangers("yard", 30), *strangers("door", 30)]
    with pytest.raises(BadTask, match=rf"has found {num} identities in 'yard' .* at least 4: let it run for"):
        choose_tracks(tracks, "yard")


def test_each_side_of_an_identity_is_looked_at_twice_spread_over_its_time_and_a_stranger_once() -> None:
    chosen = choose_tracks(
        [*pairs(4), track("yard", 3, "person 0"), *strangers("yard", 3), *strangers("door", 3)], "yard"
    )
    sights = chosen.sights(moments_of(chosen))
    counts = Counter((sight.who, sight.moment.camera) for sight in sights)
    assert {counts["person 0", camera] for camera in ("yard", "door")} == {CROPS_A_SIDE}
    assert {counts[one.name, one.camera] for one in chosen.strangers} == {1}
    assert [one.moment.at_ns for one in sights if (one.who, one.moment.camera) == ("person 3", "door")] == [
        0,
        5,
    ]


@pytest.mark.parametrize(("num", "num_held_out"), [(4, 2), (5, 2), (6, 2), (7, 2), (8, 3), (25, 8)])
def test_some_identities_are_held_out_whole_and_strangers_never(num: int, num_held_out: int) -> None:
    chosen = choose_tracks([*pairs(num), *strangers("yard", 9), *strangers("door", 9)], "yard")
    pictures = chosen.pictures(crops_of(chosen.sights(moments_of(chosen))))
    held_out = {one.label for one in pictures if one.query}
    learned = {one.label for one in pictures if not one.query}
    assert len(held_out) == num_held_out
    assert not held_out & learned
    assert held_out < {one[0].identity for one in chosen.paired}
    assert {one.name for one in chosen.strangers} < learned
    task = make_task(TaskKind.CAMERA, "yard", pictures, taught_ns=1)
    assert Counter(one.query for one in task.examples) == Counter(one.query for one in pictures)


def test_an_identity_of_which_one_side_is_not_to_be_had_is_left_out_and_others_are_held_out() -> None:
    chosen = choose_tracks([*pairs(6), *strangers("yard", 3), *strangers("door", 3)], "yard")
    halves = {("person 4", "door"), ("person 1", "yard")}
    sights = [one for one in chosen.sights(moments_of(chosen)) if (one.who, one.moment.camera) not in halves]
    pictures = chosen.pictures(crops_of(sights))
    assert {one.label for one in pictures if one.query} == {"person 3", "person 0"}
    assert {one.label for one in pictures if not one.query} >= {"person 5", "person 2"}
    assert not {"person 4", "person 1"} & {one.label for one in pictures}
    few = [one for one in sights if one.who != "person 5"]
    with pytest.raises(BadTask, match="has found 3 identities"):
        chosen.pictures(crops_of(few))


def test_a_picture_that_a_frozen_camera_repeats_counts_for_the_first_alone() -> None:
    chosen = choose_tracks([*pairs(5), *strangers("yard", 3), *strangers("door", 3)], "yard")
    sights = chosen.sights(moments_of(chosen))
    repeated = [
        (sight, np.asarray(image(0 if "yard:" in sight.who else 1 + n))) for n, sight in enumerate(sights)
    ]
    pictures = chosen.pictures(repeated)
    assert len({one.jpeg for one in pictures}) == len(pictures) == len(sights) - 2
    make_task(TaskKind.CAMERA, "yard", pictures, taught_ns=1)
