import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.identity.transit import FINE_S, LIMIT, Delay, TransitTimes

DOOR_YARD, DOOR_GATE = ("door", "yard"), ("door", "gate")


def learned(seed: int = 0, num: int = 60) -> TransitTimes:
    """Return what a site learns where it takes 40 s from door to yard, by clocks 200 s apart."""
    rng = np.random.default_rng(seed)
    times = TransitTimes()
    for _ in range(num):
        times.learn_same([Delay(DOOR_YARD, float(-160 + rng.normal(0, 2)))])
        times.learn_other(Delay(DOOR_YARD, float(s)) for s in rng.uniform(-600, 600, 5))
    return times


def test_before_anything_is_learned_times_say_nothing() -> None:
    assert abs(TransitTimes().weigh([Delay(DOOR_YARD, 12.0)])) < 1e-9


def test_the_usual_time_speaks_for_and_others_against_whatever_the_clocks_say() -> None:
    times = learned()
    assert times.weigh([Delay(DOOR_YARD, -160.0)]) > 2
    assert times.weigh([Delay(DOOR_YARD, 160.0)]) < -0.5
    assert times.weigh([Delay(DOOR_YARD, -300.0)]) < -0.5


def test_any_one_of_several_tracks_may_be_where_somebody_came_from() -> None:
    usual, other = Delay(DOOR_YARD, -160.0), Delay(DOOR_YARD, 400.0)
    times = learned()
    assert times.weigh([other]) < times.weigh([usual, other]) < times.weigh([usual])


def test_two_cameras_that_never_show_one_person_at_once_speak_against_it() -> None:
    times = TransitTimes()
    for second in range(60):
        times.learn_same([Delay(DOOR_GATE, 30.0 + second % 5)])
        times.learn_other([Delay(DOOR_GATE, -5.0 + second % 7)])
    assert times.weigh([Delay(DOOR_GATE, -4.0)]) < -1


def test_what_is_known_of_one_pair_of_cameras_says_little_of_another() -> None:
    times = learned()
    assert times.weigh([Delay(DOOR_GATE, -160.0)]) < times.weigh([Delay(DOOR_YARD, -160.0)])


def test_old_times_fade() -> None:
    times = learned()
    for _ in range(8000):
        times.learn_same([Delay(DOOR_YARD, 50.0)])
    assert times.weigh([Delay(DOOR_YARD, 50.0)]) > 2
    assert times.weigh([Delay(DOOR_YARD, -160.0)]) < times.weigh([Delay(DOOR_YARD, 50.0)]) - 2
    assert times._same._pairs[DOOR_YARD].total <= 2000


def test_no_delay_at_all_says_nothing() -> None:
    assert learned().weigh([]) == 0.0


@given(st.floats(-1e6, 1e6))
def test_no_time_says_more_than_the_limit(seconds: float) -> None:
    assert abs(learned(num=5).weigh([Delay(DOOR_YARD, seconds)])) <= LIMIT


@given(st.floats(-500, 500), st.floats(0, FINE_S))
def test_a_little_later_weighs_about_the_same(seconds: float, later_s: float) -> None:
    times = learned()
    here, there = (times.weigh([Delay(DOOR_YARD, s)]) for s in (seconds, seconds + later_s))
    assert abs(here - there) < 2.5
