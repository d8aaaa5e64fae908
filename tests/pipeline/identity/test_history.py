import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.identity import identities_of_tracks
from pipeline.records import DecisionKind, IdentityDecision


def record(track: str, identity: str, kind: str = "new", at_ns: int = 0, **more: object) -> IdentityDecision:
    return IdentityDecision(
        track=track, camera="c", identity=identity, kind=DecisionKind(kind), at_ns=at_ns, start_ns=0,
        label="person", **more,
    )  # type: ignore[arg-type]  # fmt: skip


def merge(absorbed: str, survivor: str) -> IdentityDecision:
    return record(f"track of {absorbed}", survivor, "merge", absorbed=absorbed)


def test_of_two_decisions_at_one_time_the_later_in_the_log_stands() -> None:
    assert identities_of_tracks([record("t", "first"), record("t", "second")]) == {"t": "second"}


def test_a_decision_taken_later_stands_wherever_it_is_in_the_log() -> None:
    assert identities_of_tracks([record("t", "right", at_ns=9), record("t", "wrong", at_ns=2)]) == {
        "t": "right"
    }


def test_a_merge_takes_earlier_tracks_along_those_that_it_does_not_name_too() -> None:
    log = [
        record("a", "A"),
        record("b", "B"),
        record("c", "B"),
        record("b", "A", "merge", 5, absorbed="B", moved=("b",)),
    ]
    assert identities_of_tracks(log) == {"a": "A", "b": "A", "c": "A"}


def test_a_split_moves_the_tracks_that_it_names_and_no_others() -> None:
    log = [record("a", "A"), record("b", "A", "match"), record("c", "A", "match")]
    split = record("b", "B", "split", 5, moved=("b",), split_from="A")
    assert identities_of_tracks([*log, split]) == {"a": "A", "b": "B", "c": "A"}


def test_who_was_merged_split_off_and_merged_again_is_where_the_last_record_says() -> None:
    log = [record("a", "A"), record("b", "B"), record("c", "C"),
           record("b", "A", "merge", 1, absorbed="B"), record("b", "B", "split", 2, moved=("b",), split_from="A"),
           record("b", "C", "merge", 3, absorbed="B")]  # fmt: skip
    assert identities_of_tracks(log) == {"a": "A", "b": "C", "c": "C"}


def test_an_update_does_not_bring_back_an_identity_that_was_merged() -> None:
    log = [record("a", "A"), record("b", "B"), merge("B", "A"), record("b", "B", "update", 7)]
    assert identities_of_tracks(log)["b"] == "A"


@given(st.permutations([("B", "A"), ("C", "B"), ("D", "A"), ("F", "E")]))
def test_merges_do_not_depend_on_their_order(order: list[tuple[str, str]]) -> None:
    tracks = [record(name.lower(), name) for name in "ABCDEF"]
    found = identities_of_tracks([*tracks, *itertools.starmap(merge, order)])
    assert {name: found[name] for name in "abcdef"} == dict(zip("abcdef", "AAAAEE", strict=True))
