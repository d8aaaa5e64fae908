import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.identities import IdentityBook, IdentityConfig
from pipeline.records import DecisionKind, IdentityDecision, TrackletEvent, TrackletPhase, decode, encode

D = 4
NS = 1_000_000_000
RED, BLUE = np.eye(D, dtype=np.float32)[:2]


def mix(share: float) -> np.ndarray:
    """Return a unit vector whose cosine with RED is `share`."""
    return (share * RED + np.sqrt(1 - share**2) * BLUE).astype(np.float32)


def event(
    track: str,
    look: np.ndarray,
    at_s: float,
    phase: str = "confirmed",
    label: str = "person",
    beside: tuple[str, ...] = (),
) -> TrackletEvent:
    return TrackletEvent(
        track=track, phase=TrackletPhase(phase), at_ns=round(at_s * NS),
        start_ns=round((at_s - 1) * NS), label=label, box=(0, 0, 1, 1), num_samples=3, beside=beside,
        embedding=look.astype("<f4").tobytes(), embedder="e@1",
    )  # fmt: skip


class Site:
    """Decides and applies, and keeps the log, as the gallery's writer does."""

    def __init__(self, **config: float) -> None:
        self.book = IdentityBook(IdentityConfig(**config), "e@1", D)  # type: ignore[arg-type]
        self.log: list[IdentityDecision] = []

    def tell(self, camera: str, news: TrackletEvent) -> IdentityDecision | None:
        decision = self.book.decide(camera, news)
        if decision is not None:
            self.book.apply(decision)
            self.log.append(decision)
        return decision


def test_the_first_tracklet_is_somebody_new() -> None:
    decision = Site().tell("door", event("t1", RED, 10))
    assert decision is not None
    assert (decision.kind, decision.identity, decision.similarity) == (DecisionKind.NEW, "id-t1", None)


def test_the_same_look_in_another_camera_is_the_same_identity() -> None:
    site = Site(match_similarity=0.8)
    site.tell("door", event("t1", RED, 10))
    decision = site.tell("yard", event("t2", mix(0.9), 12))
    assert decision is not None
    assert (decision.kind, decision.identity) == (DecisionKind.MATCH, "id-t1")
    assert decision.similarity == pytest.approx(0.9, abs=1e-4)


def test_another_look_is_somebody_new_and_the_nearest_is_named_as_runner_up() -> None:
    site = Site(match_similarity=0.8)
    site.tell("door", event("t1", RED, 10))
    decision = site.tell("yard", event("t2", mix(0.5), 12))
    assert decision is not None
    assert decision.kind is DecisionKind.NEW
    assert decision.runner_up is not None
    assert decision.runner_up.identity == "id-t1"


def test_a_match_names_the_second_best_as_runner_up() -> None:
    site = Site(match_similarity=0.8)
    site.tell("door", event("t1", RED, 10))
    site.tell("yard", event("t2", mix(0.7), 11))
    decision = site.tell("gate", event("t3", mix(0.95), 12))
    assert decision is not None
    assert decision.runner_up is not None
    assert (decision.identity, decision.runner_up.identity) == ("id-t1", "id-t2")


def test_nobody_is_twice_in_one_view_at_one_time() -> None:
    site = Site(match_similarity=0.8)
    site.tell("door", event("t1", RED, 10))
    decision = site.tell("door", event("t2", RED, 12, beside=("t1",)))
    assert decision is not None
    assert decision.kind is DecisionKind.NEW
    assert "t1" in decision.candidates[0].excluded_by


def test_somebody_who_left_and_came_back_is_known() -> None:
    site = Site(match_similarity=0.8)
    site.tell("door", event("t1", RED, 10))
    site.tell("door", event("t1", RED, 11, "ended"))
    decision = site.tell("door", event("t2", RED, 20))
    assert decision is not None
    assert decision.identity == "id-t1"


def test_a_car_is_never_a_person_however_alike_they_look() -> None:
    site = Site()
    site.tell("door", event("t1", RED, 10))
    decision = site.tell("yard", event("t2", RED, 12, label="car"))
    assert decision is not None
    assert decision.kind is DecisionKind.NEW


def test_an_identity_unseen_for_longer_than_memory_is_forgotten() -> None:
    site = Site(memory_s=60)
    site.tell("door", event("t1", RED, 10))
    site.tell("door", event("t1", RED, 11, "ended"))
    site.tell("yard", event("t2", BLUE, 100))
    decision = site.tell("yard", event("t3", RED, 101))
    assert decision is not None
    assert decision.kind is DecisionKind.NEW
    assert site.book.num_identities == 2


def test_hearing_the_same_news_twice_changes_nothing() -> None:
    site = Site()
    site.tell("door", event("t1", RED, 10))
    assert site.tell("door", event("t1", RED, 10)) is None
    assert site.book.num_identities == 1


def test_an_update_moves_the_appearance_but_not_the_identity() -> None:
    site = Site(match_similarity=0.9)
    site.tell("door", event("t1", RED, 10))
    site.tell("door", event("t1", BLUE, 11, "updated"))
    decision = site.tell("yard", event("t2", BLUE, 12))
    assert decision is not None
    assert decision.identity == "id-t1"


def test_embeddings_of_another_version_are_never_compared() -> None:
    site = Site()
    stranger = TrackletEvent(
        track="t", phase=TrackletPhase.CONFIRMED, at_ns=1, start_ns=0, label="person", box=(0, 0, 1, 1),
        num_samples=1, embedding=RED.tobytes(), embedder="e@2",
    )  # fmt: skip
    with pytest.raises(BadInput, match="e@2"):
        site.tell("door", stranger)


@pytest.mark.parametrize("look", [np.full(D, np.nan, np.float32), np.ones(D + 1, np.float32)])
def test_a_bad_embedding_never_enters_the_book(look: np.ndarray) -> None:
    site = Site()
    with pytest.raises(BadInput):
        site.tell("door", event("t1", look, 10))
    assert site.book.num_identities == 0
    assert len(site.book.gallery) == 0


def test_the_identity_log_alone_rebuilds_the_book() -> None:
    rng = np.random.default_rng(7)
    site = Site(match_similarity=0.6, memory_s=40, capacity=12)
    for step in range(200):
        track = f"t{rng.integers(60)}"
        phase = ["confirmed", "updated", "ended"][rng.integers(3)]
        site.tell(f"c{rng.integers(3)}", event(track, mix(float(rng.uniform(0, 1))), 10 + step, phase))
    rebuilt = IdentityBook(site.book.config, "e@1", D)
    for decision in site.log:
        rebuilt.apply(decode(encode(decision), IdentityDecision))
    probe = event("probe", mix(0.4), 500)
    assert rebuilt.num_identities == site.book.num_identities
    assert rebuilt.decide("c9", probe) == site.book.decide("c9", probe)
    assert rebuilt.gallery.search(mix(0.3), 50) == site.book.gallery.search(mix(0.3), 50)
