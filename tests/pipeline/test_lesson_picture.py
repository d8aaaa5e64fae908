from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.pictures.colours import Legend
from pipeline.pictures.lesson import Correction, Shown, draw_lesson
from pipeline.pictures.views import TAUGHT, draw_view
from pipeline.records import Observation

REPORT: dict[str, Any] = {
    "seconds_to_served": 3.2,
    "class": {
        "name": "team $jacket$", "before": {"wearers": 9, "wearers_named": 0, "others": 0, "others_named": 0},
        "after": {"wearers": 9, "wearers_named": 8, "others": 0, "others_named": 0},
    },
    "camera": {"name": "dusk", "questions": 10, "rank1_before": 0.5, "rank1_after": 0.7},
}  # fmt: skip


def person(**taught: float) -> Observation:
    return Observation(box=(40.0, 40.0, 70.0, 120.0), score=0.2, label="person", track="t", taught=taught)


def test_a_lesson_is_drawn_with_and_without_people_found_again(tmp_path: Path) -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    crop = np.full((60, 30, 3), 200, np.uint8)
    for corrections in ([], [Correction(crop, crop, crop)] * 9):
        path = tmp_path / f"{len(corrections)}.png"
        draw_lesson(Shown(image, []), Shown(image, [person(jacket=0.9)]), corrections, REPORT, path)
        drawn = cv2.imread(str(path))
        assert drawn is not None
        assert drawn.shape[1] > drawn.shape[0] > 500


def test_an_object_of_a_taught_class_is_drawn_and_named_although_nobody_knows_who_it_is() -> None:
    plain, taught = (np.zeros((200, 300, 3), np.uint8) for _ in range(2))
    draw_view(plain, [person()], {}, Legend({}, {}))
    draw_view(taught, [person(jacket=0.9)], {}, Legend({}, {}))
    assert not plain.any()
    assert (taught == TAUGHT).all(axis=2).sum() > 200
