"""Teaches the real detector that frozen networks stand under: people, as if it did not know them, on the sample video."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from models.detectors import DetectorConfig
from models.fewshot.detection import DetectionHead, FewShotDetector
from models.fewshot.detection_features import FeatureDetector, build_feature_detector
from pipeline.errors import BadInput
from pipeline.learning.detection_kind import DetectionKind
from pipeline.records import TaskExample, TaskKind, TaskRecord
from pipeline.teaching import task_digest

VIDEO = Path(__file__).parents[3] / ".cache" / "video" / "vtest.avi"
VAN = (652.0, 44.0, 724.0, 92.0)
"""Of the white van that stands in the upper right corner throughout, in pixels of the video."""


@pytest.fixture(scope="module")
def features() -> FeatureDetector:
    return build_feature_detector(DetectorConfig(threads=1))


def pictures() -> Iterator[np.ndarray]:
    with av.open(str(VIDEO)) as container:
        yield from (
            frame.to_ndarray(format="bgr24") for frame in islice(container.decode(video=0), 0, 400, 66)
        )


def task(box: tuple[float, float, float, float] = VAN) -> TaskRecord:
    examples = tuple(
        TaskExample(image=simplejpeg.encode_jpeg(np.ascontiguousarray(picture), 90, "BGR"), boxes=(box,), query=number % 2 == 1)
        for number, picture in enumerate(pictures())
    )  # fmt: skip
    return TaskRecord(
        kind=TaskKind.DETECTION,
        name="white van",
        digest=task_digest(examples),
        taught_ns=1,
        examples=examples,
    )


def test_a_thing_is_found_after_a_few_pictures_and_served_by_the_same_part(features: FeatureDetector) -> None:
    kind = DetectionKind(lambda: features)
    lesson = kind.study(task())
    assert (lesson.num_queries, kind.score(lesson, None)) == (3, 0.0)
    part = kind.fit(lesson, "meta", kind.first_initialization())
    assert kind.score(lesson, part) > 0.9
    without = list(kind.without_each(lesson))
    assert [one.num_queries for one in without] == [2, 2, 2]
    assert all(kind.score(one, part) > 0.9 for one in without)
    detector = FewShotDetector(features, {"white van": DetectionHead.from_arrays(part)})
    (found,) = detector.detect([next(pictures())])
    vans = found.boxes_N4[found.labels_N == len(features.class_names)] * (768, 576, 768, 576)
    assert len(vans) == 1
    assert np.abs(vans[0] - VAN).max() < 20


def test_a_scarce_lesson_has_fewer_pictures_to_learn_from_and_the_same_queries(
    features: FeatureDetector,
) -> None:
    kind = DetectionKind(lambda: features)
    lesson = kind.study(task())
    scarce = kind.scarce(lesson)
    assert len(scarce.material.support) == len(lesson.material.support) // 2
    assert scarce.material.query is lesson.material.query


def test_folding_adds_a_task_once_however_often_it_is_folded(features: FeatureDetector) -> None:
    kind = DetectionKind(lambda: features)
    lesson = kind.study(task())
    first = kind.first_initialization()
    (once,) = kind.outer_loop(first, [lesson], np.random.default_rng(0))
    (again,) = kind.outer_loop(once, [lesson], np.random.default_rng(0))
    assert first["num_tasks"] == 80
    assert once["num_tasks"] == again["num_tasks"] == 81
    assert not np.array_equal(once["moment"], first["moment"])


def test_a_box_outside_its_picture_is_refused_with_the_name(features: FeatureDetector) -> None:
    with pytest.raises(BadInput, match="white van"):
        DetectionKind(lambda: features).study(task((700.0, 500.0, 900.0, 700.0)))
