import zipfile

import cv2
import numpy as np
import pytest

from models.errors import BadCrops
from models.reid import dataset
from models.reid.dataset import ReidCrop, open_crops, parse_crop
from tests.models.reid.conftest import write_crop


@pytest.mark.parametrize(
    ("name", "crop"),
    [
        ("0002_c1s1_000451_03.jpg", ("0002", "1", 1, 451)),
        ("1501_c6s4_001902_00.jpg", ("1501", "6", 4, 1902)),
        ("0001_c1s1_001051_00.jpg.jpg", ("0001", "1", 1, 1051)),
        ("1000_04.jpg", ("1000", "1", None, None)),
        ("1000_05.png", ("1000", "2", None, None)),
        ("set/bounding_box_test/0007_c3s2_000001_01.jpg", ("0007", "3", 2, 1)),
    ],
)
def test_a_name_tells_who_is_seen_by_which_camera_and_when(name, crop):
    assert parse_crop(name) == ReidCrop(name, *crop)


@pytest.mark.parametrize(
    "name", ["person.jpg", "0002_c1s1.jpg", "1000_10.jpg", "1000_5.jpg", "x_c1s1_000451_03.jpg"]
)
def test_a_name_in_neither_format_tells_nothing(name):
    assert parse_crop(name) is None


def test_a_folder_and_a_zip_of_it_hold_the_same_crops_sorted_by_name(tmp_path):
    folder = tmp_path / "crops"
    for seed, name in enumerate(
        ["0007_c2s1_000002_01.jpg", "0002_c1s1_000451_03.jpg", "sub/0002_c2s1_000001_01.jpg"]
    ):
        write_crop((folder / name).parent, (folder / name).name, seed=seed)
    with zipfile.ZipFile(tmp_path / "crops.zip", "w") as archive:
        for path in sorted(folder.rglob("*.jpg"), reverse=True):
            archive.write(path, path.relative_to(folder))
    with open_crops(folder) as there, open_crops(tmp_path / "crops.zip") as zipped:
        assert [crop.name for crop in there.crops] == sorted(crop.name for crop in there.crops)
        assert there.crops == zipped.crops
        assert len(there) == 3
        for index in range(3):
            np.testing.assert_array_equal(there.read(index), zipped.read(index))
            assert there.read(index).shape == (64, 32, 3)


def test_junk_and_files_that_are_no_images_are_left_out_and_distractors_are_told(tmp_path):
    for name in ("0000_c1s1_000001_01.jpg", "-1_c1s1_000001_01.jpg", "0002_c1s1_000001_01.jpg"):
        write_crop(tmp_path, name)
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "README.txt").write_text("terms")
    with open_crops(tmp_path) as crops:
        assert [(crop.identity, crop.is_distractor) for crop in crops.crops] == [
            ("0000", True),
            ("0002", False),
        ]


def test_the_first_person_of_cuhk_is_no_distractor():
    assert not parse_crop("0000_00.jpg").is_distractor


def test_bad_names_are_refused_with_three_of_them(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "0002_c1s1_000001_01.jpg"):
        write_crop(tmp_path, name)
    with pytest.raises(BadCrops, match=r"a\.jpg, b\.jpg, c\.jpg and 1 more, expected names ID_cCsS_FRAME_BB"):
        open_crops(tmp_path)


def test_an_empty_crop_is_refused_by_name(tmp_path):
    (tmp_path / "0002_c1s1_000001_01.jpg").touch()
    with pytest.raises(BadCrops, match=r"0002_c1s1_000001_01.jpg \(0 bytes\), expected crops of 1 to"):
        open_crops(tmp_path)


def test_a_crop_that_claims_too_many_bytes_is_refused_unread(tmp_path, monkeypatch):
    write_crop(tmp_path, "0002_c1s1_000001_01.jpg")
    monkeypatch.setattr(dataset, "MAX_BYTES", 100)
    with pytest.raises(BadCrops, match="expected crops of 1 to 100 bytes"):
        open_crops(tmp_path)


def test_a_place_without_crops_is_refused(tmp_path):
    (tmp_path / "README").write_text("nothing here")
    with pytest.raises(BadCrops, match="holds 1 files but no crop"):
        open_crops(tmp_path)


@pytest.mark.parametrize("name", ["missing.zip", "broken.zip"])
def test_what_is_neither_folder_nor_zip_is_refused(tmp_path, name):
    (tmp_path / "broken.zip").write_bytes(b"PK but no zip")
    with pytest.raises(BadCrops, match="neither a folder nor a zip"):
        open_crops(tmp_path / name)


def test_an_image_that_cannot_be_decoded_is_named_when_read(tmp_path):
    (tmp_path / "0002_c1s1_000001_01.jpg").write_bytes(b"\xff\xd8 no JPEG")
    with (
        open_crops(tmp_path) as crops,
        pytest.raises(BadCrops, match=r"0002_c1s1_000001_01.jpg in .* is no image"),
    ):
        crops.read(0)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    write_crop(tmp_path, "0002_c1s1_000001_01.jpg")
    monkeypatch.setattr(dataset, "MAX_PIXELS", 1000)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with (
        open_crops(tmp_path) as crops,
        pytest.raises(BadCrops, match="32 x 64 pixels, expected at most 1000"),
    ):
        crops.read(0)


def test_a_damaged_zip_member_is_named_when_read(tmp_path):
    write_crop(tmp_path, "0002_c1s1_000001_01.jpg")
    path = tmp_path / "crops.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "0002_c1s1_000001_01.jpg", "0002_c1s1_000001_01.jpg")
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with (
        open_crops(path) as crops,
        pytest.raises(BadCrops, match=r"0002_c1s1_000001_01.jpg in .* cannot be read"),
    ):
        crops.read(0)


@pytest.mark.data
def test_the_research_sets_are_read_in_place(data):
    with open_crops(data / "market1501-train-ids-0002-0954.zip") as market:
        assert len(market) == 9173
        assert len({crop.identity for crop in market.crops}) == 500
        assert {crop.camera for crop in market.crops} == set("123456")
    with open_crops(data / "cuhk03-pair1-val-100ids.zip") as cuhk:
        assert len({crop.identity for crop in cuhk.crops}) == 100
        assert {crop.camera for crop in cuhk.crops} == {"1", "2"}
