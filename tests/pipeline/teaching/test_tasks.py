import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.log.protocol import MAX_RECORD_BYTES
from pipeline.errors import BadTask
from pipeline.records import TaskKind, TaskRecord, decode, encode
from pipeline.teaching import (
    MAX_TASK_BYTES,
    Picture,
    check_task,
    forget,
    make_task,
    read_pairs,
    read_voc,
    task_id,
    tasks,
)
from tests.pipeline.teaching.examples import encoded


def crops(name: str = "courier", num: int = 3) -> list[Picture]:
    return [
        Picture(place=f"{label or 'other'}/{number}", jpeg=encoded(100 * side + number), label=label)
        for side, label in enumerate((name, ""))
        for number in range(num)
    ]


def test_a_task_is_the_same_in_whatever_order_its_pictures_come_and_survives_the_log() -> None:
    task = make_task(TaskKind.CLASS, "courier", crops(), taught_ns=5)
    assert make_task(TaskKind.CLASS, "courier", crops()[::-1], taught_ns=5) == task
    received = decode(encode(task), TaskRecord)
    check_task(received)
    assert task_id(received) == task_id(task)


def test_other_examples_make_another_task() -> None:
    ids = {task_id(make_task(TaskKind.CLASS, "courier", crops(num=num), taught_ns=5)) for num in (2, 3, 4)}
    assert len(ids) == 3


def test_a_picture_that_lies_there_twice_counts_once_and_is_not_on_both_sides() -> None:
    twice = [*crops(), *(replace(one, place=f"copy of {one.place}") for one in crops())]
    task = make_task(TaskKind.CLASS, "courier", twice, taught_ns=5)
    assert Counter(one.label for one in task.examples) == {"courier": 3, "": 3}


def test_one_crop_of_a_class_is_not_enough_to_judge_by() -> None:
    with pytest.raises(BadTask, match="none of 'courier'; give at least two crops of 'courier'"):
        make_task(TaskKind.CLASS, "courier", crops()[2:], taught_ns=5)


def test_a_task_that_does_not_fit_into_the_log_is_refused_with_how_many_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = len(encode(make_task(TaskKind.CLASS, "courier", crops(), taught_ns=5)))
    monkeypatch.setattr(tasks, "MAX_TASK_BYTES", size // 2)
    with pytest.raises(
        BadTask, match=rf"the 6 examples of 'courier' make a record of {size} bytes.*about [23] of"
    ):
        make_task(TaskKind.CLASS, "courier", crops(), taught_ns=5)


def test_the_largest_task_fits_into_a_record_with_the_longest_key() -> None:
    longest = f"{TaskKind.DETECTION.value}/{'x' * 128}"
    assert MAX_TASK_BYTES + len(longest) <= MAX_RECORD_BYTES


def test_pictures_with_and_without_boxes_are_held_out_alike() -> None:
    pictures = [
        Picture(place=f"{number}", jpeg=encoded(number), boxes=((1.0, 1.0, 9.0, 9.0),) if number % 2 else ())
        for number in range(12)
    ]
    task = make_task(TaskKind.DETECTION, "raccoon", pictures, taught_ns=5)
    assert Counter(bool(one.boxes) for one in task.examples if one.query) == {True: 2, False: 2}


def test_to_forget_is_a_record_without_examples() -> None:
    record = forget(TaskKind.CAMERA, "door", taught_ns=5)
    assert (record.kind, record.name, record.examples) == (TaskKind.CAMERA, "door", ())
    assert forget(TaskKind.CLASS, "door", taught_ns=6).digest == record.digest


def data_set(name: str) -> Path:
    path = Path(os.environ.get("CAMWEAVE_DATA", "")) / name
    if not os.environ.get("CAMWEAVE_DATA") or not path.is_file():
        pytest.skip(f"needs {name} in the folder that CAMWEAVE_DATA names")
    return path


@pytest.mark.data
def test_a_public_detection_set_is_read_whole() -> None:
    pictures = read_voc(data_set("raccoon-200.zip"), "raccoon")
    assert (len(pictures), sum(len(one.boxes) for one in pictures)) == (200, 217)
    task = make_task(TaskKind.DETECTION, "raccoon", pictures[:60], taught_ns=5)
    assert np.median([len(one.image) for one in task.examples]) < 100_000


@pytest.mark.data
def test_a_public_set_of_people_is_too_many_for_a_task_and_says_so() -> None:
    with pytest.raises(BadTask, match=r"\d+ examples .*`camweave train embedder`"):
        read_pairs(data_set("market1501-train-ids-0002-0954.zip"), "door", "6")
