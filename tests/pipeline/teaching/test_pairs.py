from pathlib import Path

import pytest

from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching import make_task, read_pairs
from tests.pipeline.teaching.examples import write


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Six people seen by cameras 1 and 6, one more by camera 1 alone; Market's junk and distractors."""
    for who in range(1, 7):
        for camera in (1, 6):
            write(tmp_path / f"{who:04d}_c{camera}s1_{100 * who:06d}_01.jpg", 10 * who + camera)
    for seed, name in enumerate(
        ("0007_c1s1_000001_01.jpg", "-1_c6s1_000002_01.jpg", "0000_c6s1_000003_01.jpg")
    ):
        write(tmp_path / name, 90 + seed)
    return tmp_path


def test_people_are_held_out_whole_so_that_queries_are_pairs_too(crops: Path) -> None:
    task = make_task(TaskKind.CAMERA, "door", read_pairs(crops, "door", "6"), taught_ns=7)
    assert {(one.label, one.camera) for one in task.examples if one.query} == {
        ("0003", "door"), ("0003", "1"), ("0006", "door"), ("0006", "1"),
    }  # fmt: skip
    assert len(task.examples) == 13


def test_a_camera_may_be_called_by_its_number(crops: Path) -> None:
    assert {one.camera for one in read_pairs(crops, "6")} == {"1", "6"}


def test_what_lies_in_a_folder_query_is_held_out(crops: Path) -> None:
    for name in ("0008_c1s1_000001_01.jpg", "0008_c6s1_000002_01.jpg"):
        write(crops / "query" / name, 70 + len(list(crops.rglob("*"))))
    task = make_task(TaskKind.CAMERA, "6", read_pairs(crops, "6"), taught_ns=7)
    assert {one.label for one in task.examples if one.query} == {"0008"}


def test_cuhk_names_are_read_too(tmp_path: Path) -> None:
    for who in (1, 2):
        for view in ("00", "07"):
            write(tmp_path / f"{who:04d}_{view}.png", 10 * who + int(view))
    task = make_task(TaskKind.CAMERA, "yard", read_pairs(tmp_path, "yard", "2"), taught_ns=7)
    assert {(one.label, one.camera, one.query) for one in task.examples} == {
        ("0001", "1", False), ("0001", "yard", False), ("0002", "1", True), ("0002", "yard", True),
    }  # fmt: skip


def test_a_camera_without_crops_is_named_with_those_that_have_some(crops: Path) -> None:
    with pytest.raises(BadTask, match=r"no crops of camera 'door'; There is '1', '6'. Say by --number which"):
        read_pairs(crops, "door")
    with pytest.raises(BadTask, match="has another camera '1' beside '6'"):
        read_pairs(crops, "1", "6")


def test_a_name_that_says_nothing_is_refused(crops: Path) -> None:
    write(crops / "holiday.jpg", 1)
    with pytest.raises(BadTask, match=r"holiday.jpg in .* does not say who is on it and which camera saw it"):
        read_pairs(crops, "6")


def test_one_person_is_not_enough(tmp_path: Path) -> None:
    for camera in (1, 6):
        write(tmp_path / f"0001_c{camera}s1_000001_01.jpg", camera)
    with pytest.raises(BadTask, match="give crops of at least two people"):
        make_task(TaskKind.CAMERA, "6", read_pairs(tmp_path, "6"), taught_ns=7)


def test_more_than_are_learned_while_serving_are_sent_to_training_the_embedder(tmp_path: Path) -> None:
    for number in range(201):
        (tmp_path / f"0001_c1s1_{number:06d}_01.jpg").write_bytes(b"?")
    with pytest.raises(BadTask, match=r"201 examples .*`camweave train embedder`"):
        read_pairs(tmp_path, "1")
