import numpy as np
import pytest

from models.errors import ModelError
from models.reid.dataset import parse_crop
from models.reid.scoring import single_shot_rank1
from pipeline.errors import BadInput
from pipeline.evaluation.reid import IdSelection, score_reid


class Crops:
    """Crops in memory: each picture is one pixel whose blue channel is its place among them."""

    def __init__(self, *names):
        self.crops = tuple(parse_crop(name) for name in sorted(names))
        self.num_read = 0

    def read(self, index):
        self.num_read += 1
        return np.array([[[index % 256, index // 256, 0]]], np.uint8)


def by_identity(source, noise=0.0):
    """An embedder that knows everybody, and errs as much as it is told to."""
    people = sorted({crop.identity for crop in source.crops})
    random = np.random.default_rng(3)
    centres = random.normal(size=(len(people), 16))

    def embed(images):
        places = [int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]) for image in images]
        rows = np.array([centres[people.index(source.crops[place].identity)] for place in places])
        rows = rows + noise * random.normal(size=rows.shape)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return embed


def market(identity, camera, frame=1):
    return f"{identity:04d}_c{camera}s1_{frame:06d}_01.jpg"


def test_an_embedder_that_knows_everybody_scores_one():
    source = Crops(
        *(market(one, camera, frame) for one in range(1, 6) for camera in (1, 2) for frame in (1, 2, 3))
    )
    report = score_reid(source, by_identity(source))
    assert (report.rank1, report.rank5, report.rank10, report.map) == (1.0, 1.0, 1.0, 1.0)
    assert (report.num_queries, report.num_gallery, report.num_identities) == (10, 20, 5)


def test_one_middle_crop_of_each_identity_and_camera_is_asked_for():
    source = Crops(*(market(1, 1, frame) for frame in (1, 2, 3)), market(1, 2), market(1, 2, 9))
    report = score_reid(source, by_identity(source))
    assert (report.num_queries, report.num_gallery) == (2, 3)


def test_the_folders_of_the_original_layout_say_what_is_asked_for():
    names = [f"Market/query/{market(one, 1)}" for one in (1, 2, 3)]
    names += [f"Market/bounding_box_test/{market(one, camera)}" for one in (0, 1, 2, 3) for camera in (1, 2)]
    names += [f"Market/bounding_box_train/{market(7, camera)}" for camera in (1, 2)]
    source = Crops(*names)
    report = score_reid(source, by_identity(source))
    assert (report.num_queries, report.num_gallery, report.num_identities) == (3, 8, 3)
    assert "folders query and bounding_box_test" in report.protocol
    assert source.num_read == 11


def test_a_query_nobody_else_saw_is_counted_not_scored():
    source = Crops(
        market(1, 1), market(1, 1, 2), market(1, 2), market(1, 2, 2), market(2, 1), market(2, 1, 2)
    )
    report = score_reid(source, by_identity(source))
    assert (report.num_queries, report.num_skipped) == (2, 1)


def test_people_seen_by_one_camera_alone_cannot_be_scored():
    source = Crops(market(1, 1), market(1, 1, 2), market(2, 1))
    with pytest.raises(ModelError, match="seen by two cameras"):
        score_reid(source, by_identity(source))


def test_cuhk_names_are_matched_by_single_shots_as_the_protocol_draws_them():
    names = [f"{one:04d}_{view:02d}.jpg" for one in range(30) for view in range(10)]
    source = Crops(*names)
    report = score_reid(source, by_identity(source, noise=0.9))
    again = by_identity(source, noise=0.9)
    rows_ND = np.concatenate(
        [again([source.read(i) for i in range(start, min(start + 64, 300))]) for start in range(0, 300, 64)]
    )
    ids, cameras = zip(*[(crop.identity, crop.camera) for crop in source.crops], strict=True)
    assert report.rank1 == pytest.approx(single_shot_rank1(rows_ND, ids, cameras))
    assert 0.2 < report.rank1 < report.rank5 < report.rank10 <= 1.0
    assert report.rank1 < report.map < 1.0
    assert (report.num_queries, report.num_gallery) == (30, 30)
    assert "30-way" in report.protocol


def test_of_many_people_a_hundred_are_drawn_each_time():
    source = Crops(*(f"{one:04d}_{view:02d}.jpg" for one in range(120) for view in (0, 5)))
    report = score_reid(source, by_identity(source))
    assert (report.num_queries, report.num_gallery, report.num_identities) == (100, 100, 120)
    assert report.rank1 == 1.0


def test_cuhk_people_in_one_view_alone_are_an_error():
    source = Crops("0001_00.jpg", "0001_01.jpg")
    with pytest.raises(BadInput, match="expected two cameras"):
        score_reid(source, by_identity(source))


def test_names_of_both_sets_together_are_an_error_that_shows_one_of_each():
    source = Crops("0001_00.jpg", market(1, 1))
    with pytest.raises(BadInput, match=r"0001_c1s1_000001_01\.jpg.*0001_00\.jpg.*mixed"):
        score_reid(source, by_identity(source))


def test_pictures_are_embedded_a_batch_at_a_time_and_progress_is_told():
    source = Crops(*(market(one, camera) for one in range(1, 51) for camera in (1, 2)))
    told, sizes = [], []
    embed = by_identity(source)

    def watched(images):
        sizes.append(len(images))
        return embed(images)

    with pytest.raises(ModelError):  # every crop is a query: nothing is left for the gallery
        score_reid(source, watched, on_progress=lambda done, total: told.append((done, total)))
    assert sizes == [64, 36]
    assert told == [(64, 100), (100, 100)]


@pytest.mark.parametrize(
    ("words", "kept"), [("all", "0 1 2 10"), ("last:1", "0 10"), ("first:2", "0 1 2"), ("last:9", "0 1 2 10")]
)
def test_identities_are_chosen_by_number_and_distractors_stay(words, kept):
    crops = [parse_crop(f"{one}_c1s1_000001_01.jpg") for one in ("10", "2", "0000", "1")]
    chosen = {int(crops[index].identity) for index in IdSelection.parse(words).kept(crops)}
    assert chosen == {int(one) for one in kept.split()}


@pytest.mark.parametrize("words", ["", "last", "last:0", "last:-3", "middle:3", "first:1e9"])
def test_a_selection_of_another_form_is_an_error(words):
    with pytest.raises(BadInput, match="expected all, first:N or last:N"):
        IdSelection.parse(words)
