from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from models.detectors import DetectorConfig, build_detector
from models.errors import ModelError
from models.execution import VNNI, cpu_flags
from models.fewshot.detection import TAUGHT_NMS_IOU, DetectionHead, FewShotDetector, sigmoid
from models.fewshot.detection_examples import LabelledProposals
from models.fewshot.detection_features import build_feature_detector
from models.nanodet import COCO_CLASSES, HIDDEN_CHANNELS

PRECISIONS = (
    "float32",
    pytest.param(
        "int8", marks=pytest.mark.skipif(VNNI.isdisjoint(cpu_flags()), reason="this CPU has no VNNI")
    ),
)
TAUGHT = len(COCO_CLASSES)


@cache
def features(precision="float32", execution="onnxruntime"):
    return build_feature_detector(config(precision, execution))


def config(precision="float32", execution="onnxruntime"):
    return DetectorConfig(precision=precision, execution=execution, device="cpu", threads=2)


def person(threshold=0.1):
    """A head with the very weights by which the detector knows people."""
    row_LD = features().class_rows_CLD[COCO_CLASSES.index("person")]
    return DetectionHead(
        row_LD[:, :HIDDEN_CHANNELS], row_LD[:, HIDDEN_CHANNELS], objectness=0.0, threshold=threshold
    )


def empty():
    return DetectionHead(np.zeros((3, HIDDEN_CHANNELS), np.float32), np.zeros(3, np.float32), 0.0, 0.5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_the_detector_knows_is_seen_to_the_bit_as_without_taught_classes(precision, frames):
    plain = build_detector(config(precision))
    for heads in ({}, {"courier": person()}):
        taught = FewShotDetector(features(precision), heads)
        assert taught.version == plain.version
        for ours, theirs in zip(taught.detect(frames[:3]), plain.detect(frames[:3]), strict=True):
            known = ours.labels_N < TAUGHT
            np.testing.assert_array_equal(ours.boxes_N4[known], theirs.boxes_N4)
            np.testing.assert_array_equal(ours.scores_N[known], theirs.scores_N)
            assert len(theirs.labels_N)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_head_with_the_weights_of_people_finds_people(precision, frames):
    taught = FewShotDetector(features(precision), {"courier": person()})
    for found in taught.detect(frames[:3]):
        own = found.labels_N == TAUGHT
        known_N4 = torch.from_numpy(found.boxes_N4[~own])
        iou, nearest = box_iou(torch.from_numpy(found.boxes_N4[own]), known_N4).max(dim=1)
        strong = found.scores_N[own] > 0.3
        assert strong.sum() >= 2
        assert (iou.numpy()[strong] > 0.99).all()
        np.testing.assert_allclose(
            found.scores_N[own][strong], found.scores_N[~own][nearest.numpy()][strong], atol=1e-3
        )


def test_a_taught_class_has_the_label_after_the_known_ones(frames):
    taught = FewShotDetector(features(), {"nothing": empty(), "courier": person()})
    assert taught.class_names == (*COCO_CLASSES, "nothing", "courier")
    labels = {int(label) for found in taught.detect(frames[:2]) for label in found.labels_N}
    assert {COCO_CLASSES.index("person"), TAUGHT + 1} <= labels


def test_boxes_below_a_head_s_threshold_are_not_reported(frames):
    low, high = (FewShotDetector(features(), {"courier": person(at)}) for at in (0.1, 0.6))
    for every, strong in zip(low.detect(frames[:3]), high.detect(frames[:3]), strict=True):
        expected = every.scores_N[(every.labels_N == TAUGHT) & (every.scores_N >= 0.6)]
        np.testing.assert_array_equal(strong.scores_N[strong.labels_N == TAUGHT], expected)


def test_boxes_of_a_taught_class_overlap_little(frames):
    for found in FewShotDetector(features(), {"courier": person()}).detect(frames[:3]):
        boxes = torch.from_numpy(found.boxes_N4[found.labels_N == TAUGHT])
        assert (box_iou(boxes, boxes) - torch.eye(len(boxes))).max() <= TAUGHT_NMS_IOU


def test_a_result_does_not_depend_on_the_other_images_of_its_batch(frames):
    taught = FewShotDetector(features(), {"courier": person()})
    alone = [taught.detect([frame])[0] for frame in frames[:3]]
    for ours, theirs in zip(taught.detect(frames[:3]), alone, strict=True):
        np.testing.assert_array_equal(ours.scores_N, theirs.scores_N)
    assert taught.detect([]) == []


def test_torch_and_onnx_runtime_see_the_same_features(frames):
    (ours,), (theirs,) = (
        features(execution=execution).views(frames[:1]) for execution in ("onnxruntime", "torch")
    )
    np.testing.assert_allclose(ours.hidden_DA, theirs.hidden_DA, atol=2e-3)
    np.testing.assert_allclose(ours.objectness_A, theirs.objectness_A, atol=1e-3)


def test_what_is_served_scores_as_what_is_judged(frames):
    head = replace(person(), objectness=0.4)
    (view,) = features().views(frames[:1])
    (served_A,) = FewShotDetector(features(), {"courier": head}).taught_scores(view)
    judged = LabelledProposals.of(view, features().level_starts, np.zeros((0, 4)))
    strongest = np.sort(served_A)[::-1][:50]
    np.testing.assert_allclose(np.sort(sigmoid(judged.logits(head)))[::-1][:50], strongest, atol=1e-4)


def test_a_class_that_the_detector_knows_is_not_taught_again():
    with pytest.raises(ModelError, match="knows 'cat' itself; teach the class by another name"):
        FewShotDetector(features(), {"cat": person()})


def test_a_detector_whose_features_are_unknown_is_refused():
    with pytest.raises(ModelError, match="gives no features to teach classes on"):
        build_feature_detector(DetectorConfig(name="ssdlite320_mobilenet_v3_large"))


def test_a_head_survives_its_arrays():
    head = replace(person(0.3), objectness=0.25)
    again = DetectionHead.from_arrays(head.arrays())
    np.testing.assert_array_equal(again.weight_LD, head.weight_LD)
    np.testing.assert_array_equal(again.bias_L, head.bias_L)
    assert (again.objectness, again.threshold) == pytest.approx((0.25, 0.3))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("weight", np.zeros((3, 5), np.float32), r"shapes \(\(3, 5\), \(3,\)\), expected \(3, 128\)"),
        ("bias", np.full(3, np.nan, np.float32), "not finite"),
        ("objectness", np.array([np.inf], np.float32), "not finite"),
        ("threshold", np.array([1.5], np.float32), "threshold is 1.5, expected at least 0"),
        ("threshold", np.zeros(2, np.float32), "cannot be read"),
    ],
)
def test_arrays_that_are_no_head_are_refused(name, array, message):
    with pytest.raises(ModelError, match=message):
        DetectionHead.from_arrays({**empty().arrays(), name: array})


def test_a_missing_array_is_named():
    arrays = empty().arrays()
    del arrays["bias"]
    with pytest.raises(ModelError, match="bias"):
        DetectionHead.from_arrays(arrays)
