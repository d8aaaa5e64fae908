from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pictures import Legend, colour_map, identity_colour, short_names
from pipeline.pictures.colours import NUM_COLOURS, ink_on, oklab, palette

identities = st.lists(st.text(min_size=1, max_size=12), max_size=80)


def oklab_distance(one, other):
    return float(np.linalg.norm(oklab(np.array(one, float)) - oklab(np.array(other, float))))


def test_the_first_dozen_colours_are_far_apart():
    assert min(oklab_distance(a, b) for a, b in combinations(palette()[:12], 2)) > 0.12


def test_all_colours_differ_and_none_is_close_to_grey():
    assert len(set(palette())) == NUM_COLOURS
    chroma = np.hypot(*oklab(np.array(palette(), float))[:, 1:].T)
    assert chroma.min() > 0.10


def test_an_identity_keeps_its_colour_from_run_to_run():
    assert identity_colour("site/cam-1/0/17") == identity_colour("site/cam-1/0/17")
    assert identity_colour("site/cam-1/0/17") == (255, 150, 165)


@given(identities)
def test_neighbours_in_order_of_appearance_differ(names):
    colours = list(colour_map(names).values())
    assert all(before != after for before, after in pairwise(colours))


@given(identities)
def test_names_count_up_by_first_appearance(names):
    expected = {name: f"P{i + 1}" for i, name in enumerate(sorted(set(names), key=names.index))}
    assert short_names(names) == expected


@given(identities, identities)
def test_identities_that_come_later_change_no_colour(first, later):
    assert colour_map(first).items() <= colour_map(first + later).items()


def test_an_identity_that_the_legend_does_not_know_still_has_a_colour_and_a_name():
    legend = Legend.of(["a"])
    assert legend.colour("site/000042") == identity_colour("site/000042")
    assert legend.name("site/000042") == "000042"


def test_ink_is_readable_on_every_colour():
    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(colour) / 255]
        return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]

    for colour in palette():
        low, high = sorted([luminance(colour), luminance(ink_on(colour))])
        assert (high + 0.05) / (low + 0.05) >= 4.5
