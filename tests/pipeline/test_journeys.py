from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.journeys import (
    Sighting,
    first_seen,
    sightings,
    stretches,
    summarise_journeys,
)
from pipeline.pictures import Legend, journeys_png
from pipeline.pictures.chart import journeys_figure
from pipeline.records import DecisionKind, FrameRef, FrameResult, IdentityDecision, Observation

START_NS = 1_764_000_000_000_000_000


def result(camera, at_s, *tracks):
    return FrameResult(
        frame=FrameRef(topic="frames", partition=0, offset=0), camera=camera, sequence=0,
        captured_ns=START_NS + round(at_s * 1e9), width=640, height=480, model_version="m",
        observations=tuple(Observation(box=(0, 0, 9, 9), score=0.9, label="person", track=t) for t in tracks),
    )  # fmt: skip


def decision(track, identity, at_s=0.0):
    at_ns = START_NS + round(at_s * 1e9)
    return IdentityDecision(
        track=track, camera="a", identity=identity, kind=DecisionKind.NEW, at_ns=at_ns, start_ns=at_ns, label="person"
    )  # fmt: skip


def stay(identity, camera, start_s, end_s):
    return Sighting(identity=identity, camera=camera, start_s=start_s, end_s=end_s)


def decode_png(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    frames = [result("a", s, "t") for s in (0.0, 1.0, 3.0, 5.5, 6.0)]
    assert sightings(frames, [decision("t", "ann")]) == [
        stay("ann", "a", 0.0, 3.0),
        stay("ann", "a", 5.5, 6.0),
    ]


def test_two_tracks_of_one_identity_in_one_camera_are_one_stay():
    frames = [result("a", 0.0, "s"), result("a", 1.0, "s"), result("a", 2.0, "t"), result("a", 3.0, "t")]
    assert sightings(frames, [decision("s", "ann"), decision("t", "ann")]) == [stay("ann", "a", 0.0, 3.0)]


def test_a_whole_track_belongs_to_its_latest_identity():
    frames = [result("a", 0.0, "t"), result("a", 1.0, "t")]
    decisions = [decision("t", "right", at_s=0.9), decision("t", "wrong", at_s=0.2)]
    assert sightings(frames, decisions) == [stay("right", "a", 0.0, 1.0)]


def test_clock_offsets_are_taken_off():
    frames = [result("a", 0.0, "s"), result("b", 10.5, "t")]
    found = sightings(frames, [decision("s", "ann"), decision("t", "ann")], clock_offsets_s={"b": 10.0})
    assert found == [stay("ann", "a", 0.0, 0.0), stay("ann", "b", 0.5, 0.5)]


def test_time_starts_at_the_first_frame_even_if_it_is_empty():
    assert sightings([result("a", 0.0), result("b", 4.0, "t")], [decision("t", "ann")])[0].start_s == 4.0


def test_tracks_without_an_identity_and_boxes_without_a_track_are_no_sightings():
    assert sightings([result("a", 0.0, "undecided", None)], [decision("t", "ann")]) == []


def test_a_sighting_that_ends_before_it_starts_is_refused():
    with pytest.raises(BadInput, match="start <= end"):
        stay("ann", "a", 2.0, 1.0)


@given(st.lists(st.floats(0, 100)), st.floats(0, 10))
def test_stretches_cover_all_moments_and_keep_their_distance(times_s, gap_s):
    times_s = sorted(times_s)
    joined = stretches(times_s, gap_s)
    assert all(any(start <= t <= end for start, end in joined) for t in times_s)
    assert all(after[0] - before[1] > gap_s for before, after in pairwise(joined))
    assert {edge for stretch in joined for edge in stretch} <= set(times_s)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 300), st.sampled_from(["s", "t", "u"])), max_size=40
    ),
    st.randoms(),
)
def test_sightings_do_not_depend_on_the_order_of_records(moments, random):
    frames = [result(camera, tenth / 10, track) for camera, tenth, track in moments]
    decisions = [decision("s", "ann"), decision("t", "ann"), decision("u", "bob")]
    shuffled = random.sample(frames, len(frames))
    assert sightings(frames, decisions) == sightings(shuffled, decisions[::-1])


def test_a_summary_counts_identities_and_lists_visits_in_order():
    seen = [stay("bob", "b", 5, 6), stay("ann", "a", 0, 2), stay("ann", "b", 3, 4), stay("ann", "b", 7, 8),
            stay("ann", "a", 9, 10)]  # fmt: skip
    summary = summarise_journeys(seen)
    assert (summary.num_identities, summary.num_cross_camera) == (2, 1)
    assert summary.cameras_of == {"ann": ("a", "b", "a"), "bob": ("b",)}
    assert first_seen(seen) == ["ann", "bob"]


def words_of(figure):
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    return [text.get_text() for text in texts]


def draw(seen, max_rows=40, crops=None):
    return journeys_figure(
        seen, Legend.of(first_seen(seen)), cameras=None, crops=crops or {}, title="Yard", max_rows=max_rows
    )


def test_the_chart_names_cameras_identities_and_groups():
    words = words_of(draw([stay("ann", "gate", 0, 5), stay("ann", "lobby", 6, 9), stay("bob", "gate", 2, 4)]))
    assert {"gate", "lobby", "P1", "P2", "two cameras or more", "one camera", "Yard"} <= set(words)
    assert "2 identities, 1 of them seen by two cameras or more" in words


def test_the_chart_says_how_many_identities_it_leaves_out_and_keeps_the_longest():
    seen = [stay(f"i{n}", "gate", n, n + 1 + n / 10) for n in range(9)]
    words = words_of(draw(seen, max_rows=4))
    assert any("not charted: 5" in word for word in words)
    assert {"P6", "P7", "P8", "P9"} <= set(words)
    assert "P1" not in words


def test_a_bar_stands_where_the_stay_was_and_a_single_frame_still_shows():
    axes = draw([stay("ann", "gate", 2, 7), stay("ann", "lobby", 9, 9)]).axes[0]
    bars = sorted((bar.get_x(), bar.get_width()) for bar in axes.patches)
    assert bars[0] == (2, 5)
    assert bars[1][0] == 9
    assert bars[1][1] > 0


def test_stays_that_overlap_in_time_do_not_hide_each_other():
    axes = draw([stay("ann", "gate", 0, 7), stay("ann", "lobby", 3, 9)]).axes[0]
    one, other = sorted(axes.patches, key=lambda bar: bar.get_y())
    assert one.get_y() + one.get_height() <= other.get_y()


def test_the_chart_is_a_picture_with_the_mosaics_colours_and_the_cut_outs():
    seen = [stay("ann", "gate", 0, 5), stay("ann", "lobby", 6, 9)]
    legend = Legend.of(["ann"])
    crop = np.full((80, 30, 3), (7, 77, 177), np.uint8)
    picture = decode_png(journeys_png(seen, legend, crops={"ann": [("gate", crop), ("gate", crop)]}))
    assert (picture == np.array(legend.colour("ann"), np.uint8)).all(axis=-1).sum() > 50
    assert (np.abs(picture.astype(int) - (7, 77, 177)).max(axis=-1) <= 2).sum() > 500


def test_a_run_without_identities_still_has_a_chart():
    assert decode_png(journeys_png([])).shape[1] > 1000
    assert "nobody was identified" in words_of(draw([]))
