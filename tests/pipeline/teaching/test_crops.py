import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.errors import BadCrops
from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching import Picture, make_task, read_crops
from tests.pipeline.teaching.examples import size_of, write


def lay_out(root: Path, names: Sequence[str]) -> Path:
    for seed, name in enumerate(names):
        write(root / name, seed)
    return root


def zipped(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder.parent))  # with the folder itself, as people do
    return target


def labels(pictures: Sequence[Picture]) -> Counter[str]:
    return Counter(one.label for one in pictures)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    names = [f"{folder}/{number}.jpg" for folder in ("courier", "guard", "_other") for number in range(4)]
    return lay_out(tmp_path / "crops", names)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_folder_a_class_gives_each_crop_its_label(crops: Path, form: str) -> None:
    pictures = read_crops(crops if form == "folder" else zipped(crops), "courier")
    assert labels(pictures) == {"courier": 4, "guard": 4, "": 4}
    task = make_task(TaskKind.CLASS, "courier", pictures, taught_ns=7)
    assert Counter(one.label for one in task.examples if one.query) == {"courier": 1, "guard": 1, "": 1}
    assert {size_of(one.image) for one in task.examples} == {(24, 32)}


def test_crops_of_the_class_alone_are_told_from_a_folder_of_others(tmp_path: Path) -> None:
    own = lay_out(tmp_path / "couriers", ["a.jpg", "b.png"])
    others = lay_out(tmp_path / "visitors", ["monday/c.jpg", "d.jpg"])
    assert labels(read_crops(own, "courier", others)) == {"courier": 2, "": 2}
    write(own / "_other" / "e.jpg", 9)
    assert labels(read_crops(own, "courier", others)) == {"courier": 2, "": 3}


@pytest.mark.parametrize("layout", ["val/courier/x.jpg", "courier/query/x.jpg", "courier/Test/x.jpg"])
def test_what_lies_in_a_folder_of_that_name_is_held_out_and_nothing_else(crops: Path, layout: str) -> None:
    write(crops / layout, 99)
    write(crops / "train" / "courier" / "y.jpg", 98)
    pictures = read_crops(crops, "courier")
    assert [(one.label, one.place) for one in pictures if one.query] == [("courier", f"{layout} in {crops}")]
    assert labels(pictures)["courier"] == 6


def test_crops_that_lie_there_twice_are_taken_once(crops: Path) -> None:
    (crops / "courier" / "copy.jpg").write_bytes((crops / "courier" / "0.jpg").read_bytes())
    task = make_task(TaskKind.CLASS, "courier", read_crops(crops, "courier"), taught_ns=7)
    assert len(task.examples) == 12


def test_the_same_crop_in_two_folders_is_a_contradiction_that_names_both(crops: Path) -> None:
    (crops / "guard" / "9.jpg").write_bytes((crops / "courier" / "0.jpg").read_bytes())
    with pytest.raises(BadTask, match=r"courier/0.jpg in .* and guard/9.jpg in .* are the same picture"):
        make_task(TaskKind.CLASS, "courier", read_crops(crops, "courier"), taught_ns=7)


def test_a_class_that_is_not_there_is_named_with_the_nearest(crops: Path) -> None:
    with pytest.raises(BadTask, match=r"no crops of 'couriers', expected .*did you mean 'courier'\?"):
        read_crops(crops, "couriers")
    (crops / "empty").mkdir()
    with pytest.raises(BadTask, match="There is nothing"):
        read_crops(crops / "empty", "courier")


def test_crops_beside_the_folders_of_classes_are_refused(crops: Path) -> None:
    write(crops / "stray.jpg", 50)
    with pytest.raises(BadTask, match=r"holds stray\.jpg beside the folder 'courier'"):
        read_crops(crops, "courier")


def test_a_crop_that_does_not_decode_is_named(crops: Path) -> None:
    (crops / "courier" / "2.jpg").write_bytes(b"no picture at all")
    with pytest.raises(BadTask, match=r"courier/2.jpg in .* is no picture that can be decoded"):
        read_crops(crops, "courier")
    (crops / "courier" / "2.jpg").write_bytes(b"")
    with pytest.raises(BadTask, match=r"courier/2.jpg in .* has 0 bytes, expected 1 to"):
        read_crops(crops, "courier")


def test_too_many_crops_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    for number in range(201):
        (tmp_path / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(BadTask, match=r"201 examples are more than the 200 .*camweave train transfer"):
        read_crops(tmp_path, "courier")


def test_what_is_no_picture_by_its_name_is_passed_over(crops: Path) -> None:
    for name in ("notes.txt", "courier/.hidden.jpg", "__MACOSX/courier/0.jpg"):
        (crops / name).parent.mkdir(parents=True, exist_ok=True)
        (crops / name).write_bytes(b"?")
    assert labels(read_crops(crops, "courier")) == {"courier": 4, "guard": 4, "": 4}


def test_a_path_that_is_neither_folder_nor_zip_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadCrops, match="nowhere is neither a folder nor a zip"):
        read_crops(tmp_path / "nowhere", "courier")
