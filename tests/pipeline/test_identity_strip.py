import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.pictures.identity_strip import MAX_CARDS, Card, Rival, draw_identity_strip

ORANGE = (34, 136, 255)
RED = np.full((40, 20, 3), (0, 0, 255), np.uint8)


def card(camera="gate", start_s=0.0, end_s=4.0, **more):
    return Card(camera=camera, start_s=start_s, end_s=end_s, heading="new identity", **more)


def drawn(cards, **more):
    return draw_identity_strip("P1", "2 tracks", ORANGE, cards, **more)


def num_red(picture):
    """Pixels of the crops, which the picture's own colours leave alone."""
    return int((picture == (0, 0, 255)).all(axis=2).sum())


def test_crops_are_shown_whole_and_undistorted():
    one = num_red(drawn([card(crops=(RED,))]))
    assert one == pytest.approx(87 * 174, rel=0.1)  # 20 x 40, enlarged to the width of a crop, less the frame


def test_a_runner_up_is_shown_beside_the_choice():
    alone = num_red(drawn([card()]))
    rivalled = num_red(drawn([card(rival=Rival(caption="runner-up P2", crop=RED))]))
    assert alone == 0
    assert rivalled > 1000


def test_longer_evidence_makes_a_higher_card_and_loses_nothing_at_the_edge():
    short = drawn([card()])
    long = drawn([card(lines=("appearance says so, and so does the way from the gate to the yard " * 4,))])
    assert long.shape[0] > short.shape[0]
    assert (long[-20:] == 255).all()


def test_cards_wrap_into_rows_and_a_longer_story_says_what_it_leaves_out():
    one, six = drawn([card()]), drawn([card(start_s=at) for at in range(6)])
    assert six.shape[1] == one.shape[1]
    assert six.shape[0] > 1.5 * one.shape[0]
    most = drawn([card(start_s=at) for at in range(MAX_CARDS)])
    more = drawn([card(start_s=at) for at in range(MAX_CARDS + 9)])
    assert more.shape == most.shape


def test_each_camera_has_a_lane_in_its_colour_and_in_the_site_s_order():
    cards = [card("yard", 5.0, 9.0), card("gate", 0.0, 4.0)]
    assert (drawn(cards) == drawn(cards[::-1])).all()
    assert (drawn(cards) != drawn(cards, cameras=["yard", "gate"])).any()


def test_a_sight_of_a_single_frame_and_crops_of_one_pixel_are_drawn():
    picture = drawn([card(start_s=3.0, end_s=3.0, crops=(np.zeros((1, 1, 3), np.uint8),))])
    assert picture.dtype == np.uint8


def test_without_a_track_there_is_nothing_to_draw():
    with pytest.raises(BadInput, match="has no track to draw"):
        drawn([])


def test_long_names_are_shortened_and_leave_the_margins_free():
    name = "the-camera-above-the-northern-entrance-of-the-old-market-hall" * 2
    picture = draw_identity_strip("P1" * 60, "x" * 400, ORANGE, [card(name, lines=("y" * 300,))])
    assert (picture[:, :20] == 255).all()
    assert (picture[:, -20:] == 255).all()
