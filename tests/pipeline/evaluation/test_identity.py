import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from models.detector import ImageHW3
from models.reid.dataset import ReidCrop, parse_crop
from pipeline.errors import BadInput
from pipeline.evaluation.identity import (
    BREAK_S,
    CropTracklet,
    crop_tracklets,
    replay,
    score_identities,
    score_tracklets,
)
from pipeline.identity import IdentityConfig

LOOKS = np.eye(16, dtype=np.float32)
CONFIG = IdentityConfig(match_similarity=0.5)


class Crops:
    """Holds crops whose picture says who is on them: pixel value = identity."""

    def __init__(self, *names: str) -> None:
        parsed = [parse_crop(name) for name in sorted(names)]
        self.crops: tuple[ReidCrop, ...] = tuple(crop for crop in parsed if crop is not None)

    def read(self, index: int) -> ImageHW3:
        return np.full((4, 2, 3), int(self.crops[index].identity), np.uint8)


def embed(crops: Sequence[ImageHW3]) -> np.ndarray:
    return LOOKS[[int(crop[0, 0, 0]) for crop in crops]]


def name(person: int, camera: int, second: float, sequence: int = 1) -> str:
    return f"{person:04d}_c{camera}s{sequence}_{round(second * 25):06d}_00.jpg"


def test_crops_close_in_time_are_one_tracklet() -> None:
    crops = Crops(name(2, 1, 0), name(2, 1, 1), name(2, 1, 9), name(2, 3, 1), name(7, 1, 1))
    found = [(t.person, t.camera, t.num_crops) for t in crop_tracklets(crops, embed)]
    assert found == [("0002", "1", 2), ("0002", "1", 1), ("0002", "3", 1), ("0007", "1", 1)]


def test_sequences_follow_one_another_on_one_clock_for_all_cameras() -> None:
    crops = Crops(name(2, 1, 100), name(2, 3, 40), name(2, 1, 5, sequence=2))
    starts = {(t.camera, t.start_s) for t in crop_tracklets(crops, embed)}
    assert starts == {("1", 100.0), ("3", 40.0), ("1", 100.0 + BREAK_S + 5)}


def test_people_who_are_easily_told_apart_score_one() -> None:
    names = [name(p, c, 40 * c + 7 * p + s) for p in (1, 2, 3) for c in (1, 2, 3) for s in (0, 1)]
    scores = score_identities(Crops(*names), embed, "colour@1", CONFIG)
    assert (scores.idf1, scores.idp, scores.idr) == (1.0, 1.0, 1.0)
    assert (scores.num_persons, scores.num_identities, scores.num_tracklets, scores.num_crops) == (
        3,
        3,
        9,
        18,
    )


def test_one_identity_for_two_people_scores_the_share_of_the_one_seen_more() -> None:
    names = [name(1, c, 40 * c) for c in (1, 2, 3)] + [name(2, 4, 400)]
    blind = score_identities(Crops(*names), lambda crops: LOOKS[[0] * len(crops)], "colour@1", CONFIG)
    assert blind.num_identities == 1
    assert blind.idf1 == pytest.approx(0.75)


def test_one_decision_is_taken_for_each_tracklet() -> None:
    names = [name(p, c, 40 * c + 7 * p) for p in (1, 2, 3) for c in (1, 2, 3)]
    records = replay(crop_tracklets(Crops(*names), embed), "colour@1", CONFIG)
    decided = [track for r in records if r.kind.value in ("new", "match") for track in r.moved or (r.track,)]
    assert len(set(decided)) == 9


def test_progress_is_told_after_each_batch_of_pictures() -> None:
    names = [name(1, 1, second) for second in range(70)]
    told: list[tuple[int, int]] = []
    score_identities(
        Crops(*names), embed, "colour@1", CONFIG, on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(64, 70), (70, 70)]


def test_distractors_are_left_out() -> None:
    crops = Crops(name(1, 1, 0), name(0, 2, 3))
    assert [t.person for t in crop_tracklets(crops, embed)] == ["0001"]


def test_times_between_cameras_tell_lookalikes_apart() -> None:
    rng = np.random.default_rng(3)
    tracklets = []
    for person in range(80):
        look = rng.normal(size=16)
        for camera, after_s in (("1", 0.0), ("2", 60.0), ("3", 100.0)):
            at_s = 15.0 * person + after_s + float(rng.normal(0, 1))
            seen = look + 0.7 * rng.normal(size=16)
            tracklets.append(
                CropTracklet(f"{camera}:{person}", f"{person:03d}", camera, at_s, at_s + 2, 3,
                             (seen / np.linalg.norm(seen)).astype(np.float32))
            )  # fmt: skip
    scores = score_tracklets(tracklets, "colour@1", CONFIG)
    assert scores.idf1 > scores.appearance_only_idf1 + 0.05


def test_names_without_times_are_refused_with_the_reason() -> None:
    with pytest.raises(BadInput, match="tells no time"):
        score_identities(Crops("0001_00.jpg", "0001_05.jpg"), embed, "colour@1", CONFIG)


def test_nothing_to_replay_is_an_error() -> None:
    with pytest.raises(BadInput, match="no crop"):
        score_identities(Crops(), embed, "colour@1", CONFIG)


def test_the_order_of_the_tracklets_given_does_not_matter() -> None:
    names = [name(p, c, 40 * c + 7 * p) for p in (1, 2) for c in (1, 2)]
    tracklets = crop_tracklets(Crops(*names), embed)
    expected = replay(tracklets, "colour@1", CONFIG)
    for order in itertools.islice(itertools.permutations(tracklets), 5):
        assert replay(order, "colour@1", CONFIG) == expected
