import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.tracking.appearance import TrackLooks, to_units

RED, BLUE = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def test_embeddings_become_unit_vectors_and_useless_ones_unknown():
    units = to_units(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]], np.float32), 4)
    np.testing.assert_allclose(units[0], [0.6, 0.8])
    assert np.isnan(units[1:]).all()


@pytest.mark.parametrize("shape", [(2, 4), (3,)])
def test_embeddings_that_do_not_fit_the_detections_are_refused(shape):
    with pytest.raises(BadInput, match="one row for each"):
        to_units(np.ones(shape), 3)


def test_a_track_is_like_what_it_was_seen_as():
    looks = TrackLooks(memory=0.9)
    looks.learn(("red", None, "blue"), np.stack((RED, RED, BLUE)))
    np.testing.assert_allclose(looks.likeness(("red", "blue"), np.stack((RED, BLUE))), np.eye(2))


def test_what_is_not_known_is_like_nothing_and_unlike_nothing():
    looks = TrackLooks(memory=0.9)
    looks.learn(("red", "nobody knows"), np.stack((RED, np.full(2, np.nan))))
    likeness = looks.likeness(("red", "nobody knows"), np.stack((RED, np.full(2, np.nan))))
    np.testing.assert_array_equal(likeness, [[1.0, np.nan], [np.nan, np.nan]])


def test_a_look_moves_slowly_and_stays_a_unit_vector():
    looks = TrackLooks(memory=0.9)
    for seen in (RED, BLUE):
        looks.learn(("track",), seen[None])
    look = looks.of("track")
    assert look[0] > look[1] > 0
    assert np.linalg.norm(look) == pytest.approx(1.0)


def test_a_look_of_another_network_is_replaced_and_never_compared():
    looks = TrackLooks(memory=0.9, looks={"track": (1.0, 0.0, 0.0)})
    assert np.isnan(looks.likeness(("track",), RED[None])).all()
    looks.learn(("track",), RED[None])
    assert looks.of("track") == (1.0, 0.0)


def test_a_track_that_is_over_is_forgotten():
    looks = TrackLooks(memory=0.9)
    looks.learn(("track",), RED[None])
    looks.forget(("track", "another"))
    assert looks.of("track") == ()
