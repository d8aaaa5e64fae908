import shutil
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadCrops
from models.transfer import pictures
from models.transfer.pictures import load_class_data
from tests.models.transfer.conftest import COLOURS, write_classes, write_picture


def load(path, *, size=16, held_out=0.34, seed=0):
    return load_class_data(path, size, held_out=held_out, seed=seed)


def test_a_share_of_each_class_is_held_out_and_labels_follow_the_sorted_classes(tmp_path):
    write_classes(tmp_path, each=10, names=("fox", "cat"))
    data = load(tmp_path, held_out=0.2)
    assert data.classes == ("cat", "fox")
    assert np.bincount(data.train.labels_N).tolist() == [8, 8]
    assert np.bincount(data.held_out.labels_N).tolist() == [2, 2]
    assert data.train.pixels_NHW3.shape == (16, 16, 16, 3)
    for part in (data.train, data.held_out):
        means_N3 = part.pixels_NHW3.mean((1, 2))
        nearest = [
            min((0, 1), key=lambda c, m=mean: np.abs(m - COLOURS[data.classes[c]]).sum()) for mean in means_N3
        ]
        assert nearest == part.labels_N.tolist()


@settings(max_examples=15, deadline=None)
@given(share=st.floats(0.01, 0.6), each=st.integers(5, 20), seed=st.integers(0, 99))
def test_a_split_takes_every_picture_once_the_same_again_and_leaves_some_of_each_class(share, each, seed):
    listed = [
        pictures._Picture(f"{label}/{number}.png", label, False) for label in "ab" for number in range(each)
    ]
    split = pictures._split(listed, share, seed)
    assert split == pictures._split(listed, share, seed)
    assert [picture.name for picture in split] == [picture.name for picture in listed]
    counts = [sum(p.is_held_out for p in split if p.label == label) for label in "ab"]
    assert counts == [max(1, round(share * each))] * 2


def test_a_folder_val_says_what_is_held_out(tmp_path):
    write_classes(tmp_path, each=4)
    write_classes(tmp_path / "val", each=2, first=50)
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert (len(data.train.labels_N), len(data.held_out.labels_N)) == (8, 4)


def test_train_beside_val_is_what_is_learned_from_and_all_else_is_left_aside(tmp_path):
    write_classes(tmp_path / "train", each=4)
    write_classes(tmp_path / "val", each=2, first=50)
    write_classes(tmp_path / "test", each=3, first=80, names=("fox",))
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert (len(data.train.labels_N), len(data.held_out.labels_N)) == (8, 4)


def test_a_class_may_be_called_val(tmp_path):
    write_classes(tmp_path, each=4)
    (tmp_path / "dog").rename(tmp_path / "val")
    assert load(tmp_path).classes == ("cat", "val")


def test_a_zip_with_a_folder_around_all_and_folders_in_classes_holds_the_same_as_the_folder(tmp_path):
    folder = write_classes(tmp_path / "set", each=4)
    (folder / "cat" / "tabby").mkdir()
    shutil.move(folder / "cat" / "0.png", folder / "cat" / "tabby" / "0.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(tmp_path))
    there, zipped = load(folder), load(tmp_path / "set.zip")
    assert there.classes == zipped.classes == ("cat", "dog")
    np.testing.assert_array_equal(there.train.pixels_NHW3, zipped.train.pixels_NHW3)
    assert there.digest == zipped.digest


def test_the_digest_changes_with_a_picture_and_with_the_split(tmp_path):
    folder = write_classes(tmp_path, each=6)
    before = load(folder).digest
    assert load(folder).digest == before
    assert load(folder, seed=1).digest != before
    write_picture(folder / "cat" / "0.png", seed=77)
    assert load(folder).digest != before


def test_a_picture_that_is_there_twice_counts_once(tmp_path):
    write_classes(tmp_path, each=4)
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "cat" / "copy.png")
    data = load(tmp_path)
    assert len(data.train.labels_N) + len(data.held_out.labels_N) == 8


@pytest.mark.parametrize("place", ["dog", "val/cat"])
def test_the_same_picture_in_two_classes_or_on_both_sides_is_refused_by_name(tmp_path, place):
    write_classes(tmp_path, each=4)
    write_classes(tmp_path / "val", each=2, first=50)
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / place / "again.png")
    with pytest.raises(BadCrops, match=rf"cat/0.png and {place}/again.png .* are the same picture"):
        load(tmp_path)


def test_one_class_is_refused(tmp_path):
    write_classes(tmp_path, names=("cat",))
    with pytest.raises(BadCrops, match=r"holds 1 class \(cat\), expected 2 to 1000"):
        load(tmp_path)


def test_an_empty_class_is_named(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "fox").mkdir()
    with pytest.raises(BadCrops, match=r"fox in .* holds no pictures"):
        load(tmp_path)


def test_a_class_with_too_few_pictures_is_named(tmp_path):
    write_classes(tmp_path)
    write_classes(tmp_path, names=("fox",), each=2)
    with pytest.raises(
        BadCrops, match=r"class 'fox' in .* has 1 pictures to learn from and 1 held out, expected"
    ):
        load(tmp_path)


def test_a_class_that_is_held_out_under_another_name_is_refused_with_the_nearest(tmp_path):
    write_classes(tmp_path)
    write_classes(tmp_path / "val", each=2, first=50)
    (tmp_path / "val" / "dog").rename(tmp_path / "val" / "dogs")
    with pytest.raises(BadCrops, match=r"class 'dog' .* 0 held out, .* did you mean 'dogs'"):
        load(tmp_path)


def test_a_picture_that_does_not_decode_is_named(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "dog" / "torn.jpg").write_bytes(b"\xff\xd8 no JPEG")
    with pytest.raises(BadCrops, match=r"dog/torn.jpg in .* is no image"):
        load(tmp_path)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    write_classes(tmp_path)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(BadCrops, match="30 x 40 pixels, expected at most 1000"):
        load(tmp_path)


def test_more_than_fits_into_memory_is_refused(tmp_path, monkeypatch):
    write_classes(tmp_path)
    monkeypatch.setattr(pictures, "MAX_HELD_BYTES", 1000)
    with pytest.raises(BadCrops, match="lower the size or give fewer"):
        load(tmp_path)


def test_a_picture_outside_of_all_classes_is_named(tmp_path):
    write_classes(tmp_path)
    write_picture(tmp_path / "stray.png", seed=5)
    with pytest.raises(BadCrops, match=r"stray.png in .* is in no class"):
        load(tmp_path)


def test_a_place_without_pictures_is_refused(tmp_path):
    (tmp_path / "README").write_text("nothing")
    with pytest.raises(BadCrops, match="holds no pictures"):
        load(tmp_path)
    with pytest.raises(BadCrops, match="neither a folder nor a zip"):
        load(tmp_path / "absent")
