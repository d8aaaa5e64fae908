import hashlib
from collections.abc import Sequence
from functools import partial

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.learned import name_of
from pipeline.errors import BadInput
from pipeline.learning.lineage import Lineage, Standing
from pipeline.records import ModelAnnouncement, VersionAction, decode, encode


def promotion(seed: object, lineage: Lineage, **more: object) -> ModelAnnouncement:
    """Return what a learner that saw `lineage` announces of a version made from `seed`."""
    sha256 = hashlib.sha256(str(seed).encode()).hexdigest()
    fields = {"version": name_of(sha256), "sha256": sha256, "num_bytes": 10} | more
    return msgspec.structs.replace(lineage.promotion(at_ns=1), **fields)


def after(*seeds: object) -> Lineage:
    """Return the lineage after versions were promoted one after the other."""
    lineage = Lineage()
    for seed in seeds:
        lineage = lineage.extend([promotion(seed, lineage)])
    return lineage


def version(seed: object) -> str:
    return promotion(seed, Lineage()).version


def test_at_first_none_is_served() -> None:
    lineage = Lineage()
    assert (lineage.current, lineage.serial, lineage.origin, lineage.can_roll_back_to) == ("", 0, None, ())


def test_promotions_that_follow_each_other_count_and_name_their_file() -> None:
    lineage = after("a", "b")
    assert (lineage.current, lineage.serial, lineage.previous) == (version("b"), 2, version("a"))
    assert lineage.origin is not None
    assert lineage.origin.sha256.startswith(version("b").removeprefix("learned@"))
    assert [entry.standing for entry in lineage.history] == [Standing.COUNTED] * 2


def test_of_two_learners_at_once_the_first_in_the_log_is_heard() -> None:
    before = after("a")
    mine, yours = promotion("mine", before), promotion("yours", before)
    lineage = before.extend([yours, mine])
    assert lineage.current == version("yours")
    assert (lineage.history[-1].standing, lineage.history[-1].announcement) == (Standing.VOID, mine)
    assert "somebody else was first" in lineage.history[-1].why
    assert version("yours") in lineage.history[-1].why


def test_a_change_and_its_undoing_in_between_are_noticed_by_the_serial() -> None:
    before = after("a")
    late = promotion("late", before)
    changed = before.extend([promotion("b", before)])
    undone = changed.extend([changed.rollback(version("a"), at_ns=2)])
    assert undone.current == before.current  # the parent alone would not tell
    lineage = undone.extend([late])
    assert lineage.current == version("a")
    assert "change 2, expected change 4" in lineage.history[-1].why


def test_a_rejected_version_is_listed_with_its_reason_and_changes_nothing() -> None:
    before = after("a")
    refused = msgspec.structs.replace(
        before.rejection(at_ns=2, reason="loses 3 points on the old"), version=version("b")
    )
    lineage = before.extend([refused])
    assert (lineage.current, lineage.serial) == (before.current, before.serial)
    assert (lineage.history[-1].standing, lineage.history[-1].why) == (
        "rejected",
        "loses 3 points on the old",
    )
    assert version("b") not in lineage.can_roll_back_to
    assert lineage.extend([promotion("c", lineage)]).current == version("c")


def test_after_a_rollback_the_next_promotion_goes_on_from_what_is_served() -> None:
    lineage = after("a", "b")
    lineage = lineage.extend([lineage.rollback(version("a"), at_ns=3, reason="too many false alarms")])
    assert (lineage.current, lineage.serial) == (version("a"), 3)
    assert lineage.history[-1].announcement.sha256 == after("a").history[0].announcement.sha256
    lineage = lineage.extend([promotion("c", lineage)])
    assert (lineage.current, lineage.previous, lineage.serial) == (version("c"), version("a"), 4)
    assert lineage.can_roll_back_to == (version("b"), version("a"), "")


def test_rolled_back_to_none_the_networks_are_alone_and_any_version_can_come_again() -> None:
    lineage = after("a", "b")
    lineage = lineage.extend([lineage.rollback("", at_ns=3)])
    assert (lineage.current, lineage.origin, lineage.previous) == ("", None, "")
    assert lineage.can_roll_back_to == (version("b"), version("a"))
    lineage = lineage.extend([lineage.rollback(version("b"), at_ns=4)])
    assert (lineage.current, lineage.previous) == (version("b"), version("a"))


def test_stepping_back_twice_goes_back_two_steps() -> None:
    lineage = after("a", "b", "c")
    for expected in (version("b"), version("a"), ""):
        lineage = lineage.extend([lineage.rollback(lineage.previous, at_ns=5)])
        assert lineage.current == expected


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (version("b"), "is served already"),
        (version("z"), "was never served"),
        ("nonsense", "was never served"),
    ],
)
def test_a_rollback_to_what_was_never_served_is_refused_with_what_can_be(wanted: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        after("a", "b").rollback(wanted, at_ns=3)
    assert f"{version('a')}, none" in str(caught.value)


def test_where_nothing_was_ever_served_there_is_nothing_to_roll_back_to() -> None:
    with pytest.raises(BadInput, match="no version was ever served"):
        Lineage().rollback("", at_ns=1)


def rolled_back(lineage: Lineage, **more: object) -> ModelAnnouncement:
    return msgspec.structs.replace(lineage.rollback(version("a"), at_ns=3), **more)


@pytest.mark.parametrize(
    "senseless",
    [
        partial(promotion, "c", sha256=""), partial(promotion, "c", version=version("d")),
        partial(promotion, "c", version="", sha256=""), partial(promotion, "c", version="learned@", sha256=""),
        partial(promotion, "c", serial=4), partial(promotion, "c", serial=-1), partial(promotion, "c", parent="x"),
        partial(rolled_back, version=version("z")), partial(rolled_back, sha256="00" * 32),
        partial(rolled_back, sha256=""),
    ],
)  # fmt: skip
def test_an_announcement_that_makes_no_sense_is_void(senseless: partial[ModelAnnouncement]) -> None:
    before = after("a", "b")
    lineage = before.extend([senseless(lineage=before)])
    assert (lineage.current, lineage.serial) == (before.current, before.serial)
    assert lineage.history[-1].standing is Standing.VOID
    assert lineage.history[-1].why


def test_a_version_that_only_lost_a_race_was_never_served() -> None:
    before = after("a")
    lineage = before.extend([promotion("b", before), promotion("c", before)])
    assert version("c") not in lineage.can_roll_back_to
    assert lineage.promotion_of(version("c")) is None


ACTIONS = st.sampled_from(["learn", "reject", "roll back", "look"])
STEPS = st.lists(st.tuples(st.integers(0, 1), ACTIONS), max_size=30)


def played(steps: Sequence[tuple[int, str]]) -> list[ModelAnnouncement]:
    """Return the log that two writers leave, each of whom looks only now and then at what is in it."""
    log: list[ModelAnnouncement] = []
    seen = [Lineage(), Lineage()]
    for number, (writer, action) in enumerate(steps):
        lineage = seen[writer]
        if action == "look":
            seen[writer] = Lineage().extend(log)
        elif action == "learn":
            log.append(promotion(number, lineage))
        elif action == "reject":
            log.append(
                msgspec.structs.replace(lineage.rejection(at_ns=1, reason="no"), version=version(number))
            )
        elif lineage.can_roll_back_to:
            choice = lineage.can_roll_back_to[number % len(lineage.can_roll_back_to)]
            log.append(lineage.rollback(choice, at_ns=number))
    return log


@settings(max_examples=60, deadline=None)
@given(STEPS, st.data())
def test_readers_that_stop_and_start_anywhere_agree_with_one_that_reads_all_at_once(
    steps: list[tuple[int, str]], data: st.DataObject
) -> None:
    log = [decode(encode(announcement), ModelAnnouncement) for announcement in played(steps)]
    whole = Lineage().extend(log)
    piecemeal, position = Lineage(), 0
    while position < len(log):
        end = data.draw(st.integers(position + 1, len(log)))
        piecemeal, position = piecemeal.extend(log[position:end]), end
        assert piecemeal == Lineage().extend(log[:end])  # a replay up to here by somebody else
    assert piecemeal == whole


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_each_change_starts_from_what_was_served_and_counts_one_more(steps: list[tuple[int, str]]) -> None:
    lineage = Lineage()
    served = {""}
    for announcement in played(steps):
        before, lineage = lineage, lineage.extend([announcement])
        entry = lineage.history[-1]
        if entry.counted:
            assert (announcement.parent, announcement.serial) == (before.current, before.serial + 1)
            assert (lineage.current, lineage.serial) == (announcement.version, announcement.serial)
            assert announcement.action is VersionAction.PROMOTED or announcement.version in served
            served.add(announcement.version)
        else:
            assert (lineage.current, lineage.serial) == (before.current, before.serial)
            assert entry.why
        assert set(lineage.can_roll_back_to) | {lineage.current} == (served if served != {""} else {""})


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_of_the_announcements_made_of_one_state_at_most_one_counts(steps: list[tuple[int, str]]) -> None:
    history = Lineage().extend(played(steps)).history
    counted = [(entry.announcement.parent, entry.announcement.serial) for entry in history if entry.counted]
    assert [serial for _, serial in counted] == list(range(1, len(counted) + 1))


@settings(max_examples=60, deadline=None)
@given(STEPS, st.data())
def test_what_is_served_does_not_hang_on_rejections_that_compaction_removes(
    steps: list[tuple[int, str]], data: st.DataObject
) -> None:
    log = played(steps)
    kept = [a for a in log if a.action is not VersionAction.REJECTED or data.draw(st.booleans())]
    whole, compacted = Lineage().extend(log), Lineage().extend(kept)
    assert (whole.current, whole.serial) == (compacted.current, compacted.serial)
    assert whole.can_roll_back_to == compacted.can_roll_back_to
