from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.teaching import Picture
from pipeline.teaching.holding_out import hold_out
from tests.pipeline.teaching.examples import picture

alone = st.tuples(st.sampled_from("abc"), st.just(""))
grouped = st.tuples(st.sampled_from("ab"), st.sampled_from(["walk 1", "walk 2", "walk 3", "walk 4"]))


def pictures_of(drawn: list[tuple[str, str]]) -> list[Picture]:
    return [
        picture(f"{label}-{number:03d}", label, group=f"{label} {group}" if group else "")
        for number, (label, group) in enumerate(drawn)
    ]


def label_of(one: Picture) -> str:
    return one.label


@given(st.lists(alone, max_size=40))
def test_every_class_of_two_or_more_has_some_to_learn_from_and_some_held_out(
    drawn: list[tuple[str, str]],
) -> None:
    held = hold_out(pictures_of(drawn), label_of)
    num, num_queries = Counter(map(label_of, held)), Counter(one.label for one in held if one.query)
    assert num == Counter(label for label, _ in drawn)
    for label in num:
        assert num_queries[label] == (num[label] // 3 or min(1, num[label] - 1))


@given(st.lists(grouped, max_size=40))
def test_a_group_is_not_torn_unless_it_is_all_there_is_of_its_class(drawn: list[tuple[str, str]]) -> None:
    held = hold_out(pictures_of(drawn), label_of)
    groups = {one.group for one in held}
    for group in groups:
        sides = {one.query for one in held if one.group == group}
        label = group[0]
        others = [one for one in held if one.label == label and one.group != group]
        assert len(sides) == 1 or not others


@given(st.lists(alone | grouped, max_size=30), st.randoms(use_true_random=False))
def test_the_same_are_held_out_in_whatever_order_they_come(drawn, random) -> None:
    pictures = pictures_of(drawn)
    shuffled = random.sample(pictures, len(pictures))
    assert hold_out(shuffled, label_of) == hold_out(pictures, label_of)


@given(st.lists(alone, min_size=1, max_size=20), st.data())
def test_what_the_source_holds_out_is_held_out_and_nothing_else(drawn, data: st.DataObject) -> None:
    pictures = pictures_of(drawn)
    marked = data.draw(st.sets(st.sampled_from([one.place for one in pictures]), min_size=1))
    given_ = [picture(one.place, one.label, query=one.place in marked) for one in pictures]
    assert {one.place for one in hold_out(given_, label_of) if one.query} == marked


@pytest.mark.parametrize(("num", "queries"), [(1, []), (2, [1]), (3, [2]), (5, [2]), (7, [2, 5])])
def test_every_third_is_held_out(num: int, queries: list[int]) -> None:
    held = hold_out(pictures_of([("a", "")] * num), label_of)
    assert [number for number, one in enumerate(held) if one.query] == queries
