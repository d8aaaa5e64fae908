import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.identity import IdentityBook, IdentityConfig, identities_of_tracks
from pipeline.records import DecisionKind, IdentityDecision, TrackletEvent, decode, encode
from tests.pipeline.identity.sites import BLUE, EMBEDDER, GREEN, LOOKS, NS, RED, D, Site, event, mix, rebuilt

LOOKING_ALIKE = IdentityConfig(match_similarity=0.5, evidence=("appearance",), match_score=0.0)


def site(**config: Any) -> Site:
    return Site(**{"match_similarity": 0.5, "evidence": ("appearance",), "match_score": 0.0, **config})


def kinds(records: list[IdentityDecision]) -> list[str]:
    return [record.kind.value for record in records]


def test_a_tracklet_waits_in_doubt_until_its_deadline_and_is_then_somebody_new() -> None:
    one = site(decide_within_s=5.0)
    (told,) = one.tell("door", event("t1", RED, 10))
    assert (told.kind, told.identity) == (DecisionKind.WAIT, "id-t1")
    assert one.wait(14.9) == []
    (decided,) = one.wait(15)
    assert (decided.kind, decided.identity, decided.decided_by) == (DecisionKind.NEW, "id-t1", "deadline")


def test_the_end_of_a_track_decides_it() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    one.tell("door", event("t1", RED, 11, "ended"))
    assert [(d.kind, d.decided_by) for d in one.wait(12)] == [(DecisionKind.NEW, "end of track")]


def test_the_same_look_in_another_camera_is_the_same_identity() -> None:
    one = site()
    one.see("door", "t1", RED, 10, 12)
    one.see("yard", "t2", mix(0.95), 20, 22)
    (match,) = [d for d in [*one.log, *one.wait(30)] if d.kind is DecisionKind.MATCH]
    assert (match.track, match.identity, match.absorbed, match.moved) == ("t2", "id-t1", "id-t2", ("t2",))
    assert match.decided_by == "appearance"
    assert 0.9 < match.similarity < 0.95  # of looks without what all in their camera share
    assert match.evidence is not None
    assert match.evidence.appearance > 0


def test_another_look_is_somebody_new_and_the_nearest_is_named_as_runner_up() -> None:
    one = site()
    one.see("door", "t1", RED, 10, 12)
    one.see("yard", "t2", mix(0.3), 20, 22)
    (new,) = [d for d in one.wait(30) if d.track == "t2"]
    assert new.kind is DecisionKind.NEW
    assert new.runner_up is not None
    assert new.runner_up.identity == "id-t1"


def test_somebody_clearly_known_is_not_kept_waiting() -> None:
    one = site(sure_score=0.5, sure_margin=0.5, decide_within_s=60.0)
    one.see("door", "t1", RED, 10, 12)
    one.tell("yard", event("t2", RED, 20))
    assert [d.kind for d in one.wait(21)] == [DecisionKind.MATCH]


def test_between_two_that_fit_as_well_a_tracklet_waits() -> None:
    one = site(sure_score=0.5, sure_margin=0.5, decide_within_s=60.0)
    one.see("door", "t1", RED, 10, 12)
    one.tell("door", event("t2", RED, 10, start_s=9, beside=("t1",)))
    one.wait(80)
    one.tell("yard", event("t3", RED, 90))
    assert one.wait(95) == []


def test_nobody_is_twice_in_one_view_at_one_time() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    one.tell("door", event("t2", RED, 12, start_s=11, beside=("t1",)))
    one.wait(30)
    assert one.groups() == {frozenset({"t1"}), frozenset({"t2"})}
    (second,) = [d for d in one.log if d.kind is DecisionKind.NEW and d.track == "t2"]
    assert "beside" in second.candidates[0].excluded_by


def test_of_two_seen_together_the_one_that_fits_better_gets_the_identity() -> None:
    one = site()
    one.see("door", "known", RED, 10, 12)
    one.tell("yard", event("worse", mix(0.85), 20, beside=("better",)))
    one.tell("yard", event("better", mix(0.99), 20.5, start_s=19, beside=("worse",)))
    one.wait(40)
    assert one.groups() == {frozenset({"known", "better"}), frozenset({"worse"})}


def test_two_newcomers_in_two_cameras_may_be_one() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    one.tell("yard", event("t2", RED, 10.2))
    one.wait(30)
    assert one.groups() == {frozenset({"t1", "t2"})}
    assert identities_of_tracks(one.log) == {"t1": "id-t1", "t2": "id-t1"}


def test_a_car_is_never_a_person_however_alike_they_look() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    one.tell("yard", event("t2", RED, 12, label="car"))
    one.wait(30)
    assert len(one.groups()) == 2


def test_two_identities_are_merged_when_their_looks_become_one() -> None:
    one = site(merge_score=0.5)
    one.tell("door", event("t1", RED, 10))
    one.tell("yard", event("t2", BLUE, 10))
    one.wait(20)
    assert len(one.groups()) == 2
    one.tell("yard", event("t2", RED, 21, "updated", start_s=9))
    (merge,) = one.wait(22)
    assert (merge.kind, merge.identity, merge.absorbed) == (DecisionKind.MERGE, "id-t1", "id-t2")
    assert one.groups() == {frozenset({"t1", "t2"})}


def test_an_identity_is_split_when_two_of_its_tracks_are_seen_side_by_side() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10, seen_s=10))
    one.tell("door", event("t2", RED, 13, start_s=12))
    one.wait(20)
    assert one.groups() == {frozenset({"t1", "t2"})}
    one.tell("door", event("t1", None, 21, "moved", start_s=9, beside=("t2",)))
    (split,) = [d for d in one.wait(22) if d.kind is DecisionKind.SPLIT]
    assert (split.split_from, split.identity, split.moved) == ("id-t1", "id-t2", ("t2",))
    assert "beside" in split.decided_by
    assert identities_of_tracks(one.log) == {"t1": "id-t1", "t2": "id-t2"}


def test_embeddings_of_another_version_are_never_compared() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    one.tell("yard", event("t2", RED, 12, embedder="e@2"))
    one.wait(30)
    assert len(one.groups()) == 2
    assert one.book.num_appearances == 2


def test_no_more_than_a_few_versions_are_held() -> None:
    one = site()
    for version in range(4):
        one.tell("door", event(f"t{version}", RED, 10 + version, embedder=f"e@{version}"))
    with pytest.raises(BadInput, match="at most 4"):
        one.tell("door", event("t9", RED, 20, embedder="e@9"))


@pytest.mark.parametrize(
    "look", [np.full(D, np.nan, np.float32), np.ones(D + 1, np.float32), np.ones(D, np.float32)], ids=str
)
def test_a_bad_embedding_never_enters_the_book(look: np.ndarray) -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    with pytest.raises(BadInput):
        one.tell("door", event("t2", look, 30))
    assert (one.book.num_identities, one.book.num_appearances) == (1, 1)
    assert kinds(one.wait(31)) == ["new"]  # what was due then is not lost


def test_time_that_runs_backwards_changes_nothing() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    one.tell("door", event("t1", BLUE, 12, "updated"))
    assert one.tell("door", event("t1", GREEN, 11, "updated")) == []


def test_hearing_the_same_news_twice_changes_nothing() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    assert one.tell("door", event("t1", RED, 10)) == []
    assert one.book.num_identities == 1


def test_somebody_unheard_of_for_longer_than_memory_is_forgotten() -> None:
    one = site(memory_s=60)
    one.see("door", "t1", RED, 10, 11)
    one.see("yard", "t2", RED, 100, 101)
    one.wait(110)
    assert one.groups() == {frozenset({"t2"})}


def test_no_more_tracks_are_held_than_there_is_room_for() -> None:
    one = site(capacity=3)
    for number in range(6):
        one.see("door", f"t{number}", LOOKS[number], 10 * number, 10 * number + 1)
    assert list(one.book.memory.tracks) == ["t3", "t4", "t5"]
    assert one.book.num_appearances == 3


def told(seed: int, num: int) -> list[tuple[str, TrackletEvent]]:
    """Return random news of tracks that come and go; at least one track ends, and none is forgotten."""
    rng = np.random.default_rng(seed)
    news: list[tuple[str, TrackletEvent]] = []
    for number in range(num):
        camera, start_s = f"c{rng.integers(3)}", float(rng.integers(0, 60)) / 2
        person = LOOKS[rng.integers(3)] + 0.3 * rng.normal(size=D)
        look = (person / np.linalg.norm(person)).astype(np.float32)
        x, y, length_s = float(rng.uniform()), float(rng.uniform()), float(rng.integers(2, 12))
        ways = [(start_s + s / 2, float(np.clip(x + s / 30, 0, 1)), y) for s in range(int(length_s * 2))]
        name = f"{camera}:{number}"
        at_s = start_s + 1
        news.append((camera, event(name, look, at_s, start_s=start_s, path=ways[:3])))
        news.append((camera, event(name, None, at_s + 1.5, "moved", start_s=start_s, path=ways[3:6])))
        news.append(
            (camera, event(name, look, start_s + length_s + 2, "ended", start_s=start_s, seen_s=start_s + length_s,
                           path=ways[6:]))
        )  # fmt: skip
    return sorted(news, key=lambda one: (one[1].at_ns, one[0], one[1].track))


SOON = dataclasses.replace(LOOKING_ALIKE, evidence=("appearance", "motion", "transit"), merge_score=0.5)


def play(book: IdentityBook, news: list[tuple[str, TrackletEvent]]) -> list[IdentityDecision]:
    log = [record for camera, one in news for record in book.hear(camera, one)]
    return log + book.advance(200 * NS)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7), st.floats(0, 1))
def test_whoever_resumes_anywhere_in_the_log_takes_the_same_decisions(
    seed: int, num: int, cut: float
) -> None:
    news = told(seed, num)
    log = play(IdentityBook(SOON, EMBEDDER, D), news)
    kept = [decode(encode(record), IdentityDecision) for record in log[: round(cut * len(log))]]
    assert kept + play(rebuilt(kept, SOON), news) == log


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7))
def test_decisions_do_not_depend_on_how_often_the_book_is_asked_to_go_on(seed: int, num: int) -> None:
    news = told(seed, num)
    rng = np.random.default_rng(seed)
    book = IdentityBook(SOON, EMBEDDER, D)
    log: list[IdentityDecision] = []
    for camera, one in news:
        for before_ns in sorted(rng.integers(0, one.at_ns + 1, 3)):
            log.extend(book.advance(int(before_ns)))
        log.extend(book.hear(camera, one))
    assert log + book.advance(200 * NS) == play(IdentityBook(SOON, EMBEDDER, D), news)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7))
def test_a_rebuilt_book_is_the_same_to_the_bit(seed: int, num: int) -> None:
    book = IdentityBook(SOON, EMBEDDER, D)
    log = play(book, told(seed, num))
    again = rebuilt([decode(encode(record), IdentityDecision) for record in log], SOON)
    probe = event("probe", mix(0.7), 100)
    assert again.hear("c9", probe) == book.hear("c9", probe)
    assert again.advance(110 * NS) == book.advance(110 * NS)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7))
def test_the_log_tells_the_identities_that_the_book_holds_and_each_is_one_name(seed: int, num: int) -> None:
    book = IdentityBook(SOON, EMBEDDER, D)
    log = play(book, told(seed, num))
    assert identities_of_tracks(log) == {t.track: t.identity for t in book.memory.tracks.values()}
    for name, identity in book.memory.identities.items():
        assert {track.identity for track in identity.tracks.values()} == {name}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7))
def test_applying_each_record_twice_changes_nothing(seed: int, num: int) -> None:
    log = play(IdentityBook(SOON, EMBEDDER, D), told(seed, num))
    twice = rebuilt([record for record in log for _ in range(2)], SOON)
    once = rebuilt(log, SOON)
    assert {t.track: t.identity for t in twice.memory.tracks.values()} == {
        t.track: t.identity for t in once.memory.tracks.values()
    }
    probe = event("probe", mix(0.7), 100)
    assert twice.hear("c9", probe) + twice.advance(110 * NS) == once.hear("c9", probe) + once.advance(
        110 * NS
    )


def test_a_record_keeps_no_more_than_it_needs() -> None:
    one = site()
    one.tell("door", event("t1", RED, 10))
    (moved,) = one.tell("door", event("t1", None, 11, "moved", path=[(11, 0.5, 0.5)]))
    assert (moved.kind, moved.embedding) == (DecisionKind.UPDATE, b"")
    assert msgspec.json.decode(encode(moved))["path"] == [[11 * NS, 0.5, 0.5, 0.2]]
