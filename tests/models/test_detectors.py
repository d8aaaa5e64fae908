import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from models.detectors import DetectorConfig, build_detector
from models.errors import DeviceUnavailable, ModelError, WeightsCorrupt
from models.execution import OPSET, VNNI, cpu_flags, onnx_model, upload_and_resize
from models.nanodet import GRAPH, NanoDetPredictor
from models.torchvision_detector import read_torchvision_weights, torchvision_names, torchvision_network
from tests.models.conftest import noise

int8 = pytest.param(
    "onnxruntime int8",
    marks=pytest.mark.skipif(VNNI.isdisjoint(cpu_flags()), reason="needs a CPU with VNNI"),
)
conforming = pytest.mark.parametrize("kind", ["onnxruntime", int8, "torch", "untrained torchvision"])


@conforming
def test_results_are_valid_and_in_the_order_of_the_images(kind, detector, frames):
    images = [frames[0], noise(50, 300), frames[4][:400, :333]]
    results = detector(kind).detect(images)
    assert len(results) == 3
    for boxes, scores, labels in results:
        assert boxes.shape == (len(scores), 4)
        assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
        assert ((boxes >= 0) & (boxes <= 1)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((scores >= 0) & (scores <= 1)).all()
        assert (np.diff(scores) <= 0).all()
        assert np.isin(labels, range(len(detector(kind).class_names))).all()
    alone = detector(kind).detect(images[2:])[0]
    assert len(alone.scores_N) > 0
    np.testing.assert_allclose(alone.scores_N, results[2].scores_N, rtol=1e-3, atol=1e-4)


@conforming
def test_no_images_give_no_results(kind, detector):
    assert detector(kind).detect([]) == []


@conforming
def test_an_image_of_one_pixel_and_one_that_is_not_contiguous_are_images(kind, detector, frames):
    results = detector(kind).detect([noise(1, 1), frames[0][::2, ::-2]])
    assert len(results) == 2


@conforming
@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3)),
    ],
)
def test_what_is_no_image_is_named_by_its_index(kind, detector, bad):
    with pytest.raises(ModelError, match="image 1 is"):
        detector(kind).detect([noise(8, 8), bad])


@conforming
def test_the_version_names_network_and_weights(kind, detector):
    name, _, digest = detector(kind).version.partition("@")
    assert name
    assert len(digest) == 12
    assert int(digest, 16) >= 0


@pytest.mark.parametrize("kind", ["onnxruntime", int8, "torch"])
def test_people_are_found_where_they_stand_in_the_first_frame(kind, detector, frames):
    (raw,) = detector(kind).detect(frames[:1])
    people = raw.boxes_N4[raw.scores_N > 0.5] * [768, 576, 768, 576]
    assert {detector(kind).class_names[label] for label in raw.labels_N} == {"person"}
    people = people[np.argsort(people[:, 0])]
    # Left, top, right and bottom of the three people there are, read off the picture by eye.
    np.testing.assert_allclose(
        people, [[253, 219, 283, 309], [501, 157, 529, 232], [642, 241, 684, 324]], atol=4
    )


def test_torch_and_onnx_runtime_agree(detector, frames):
    for ours, theirs in zip(
        detector("torch").detect(frames), detector("onnxruntime").detect(frames), strict=True
    ):
        strong = min((ours.scores_N > 0.06).sum(), (theirs.scores_N > 0.06).sum())
        assert strong > 5
        np.testing.assert_allclose(ours.scores_N[:strong], theirs.scores_N[:strong], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(ours.boxes_N4[:strong], theirs.boxes_N4[:strong], rtol=1e-3, atol=1e-3)


def test_in_onnx_runtime_a_result_does_not_depend_on_its_batch_to_the_bit(detector, frames):
    onnx = detector("onnxruntime")
    together = onnx.detect(frames[:8])
    for image, batched in zip(frames[:8], together, strict=True):
        (alone,) = onnx.detect([image])
        for one, other in zip(alone, batched, strict=True):
            np.testing.assert_array_equal(one, other)


def test_all_classes_are_looked_for_when_none_is_named(frames):
    everything = build_detector(DetectorConfig(classes=(), device="cpu", score_threshold=0.02))
    people = build_detector(DetectorConfig(device="cpu", score_threshold=0.02))
    (all_seen,), (people_seen,) = everything.detect(frames[:1]), people.detect(frames[:1])
    assert len(set(all_seen.labels_N.tolist())) > 1
    among_all = all_seen.scores_N[all_seen.labels_N == 0]
    np.testing.assert_array_equal(among_all, people_seen.scores_N[: len(among_all)])


def test_labels_are_indices_into_all_class_names(frames):
    detector = build_detector(
        DetectorConfig(classes=("handbag", "person"), device="cpu", score_threshold=0.02)
    )
    labels = set(detector.detect(frames[:1])[0].labels_N.tolist())
    assert labels <= {0, 26}
    assert detector.class_names[26] == "handbag"


class SmallPredictor(nn.Module):
    """Has a predictor's inputs and outputs, and is exported in no time."""

    def forward(self, images_NHW3, labels_K):
        pixels_N1A = images_NHW3.float().flatten(1)[:, None]
        return pixels_N1A.expand(-1, 4, -1), pixels_N1A * labels_K[None, :, None]


def test_an_exported_network_that_was_damaged_is_exported_anew(tmp_path):
    path = tmp_path / "net.onnx"
    content = onnx_model(SmallPredictor(), (64, 64), path)
    assert path.read_bytes() == content
    path.write_bytes(content[:-1])
    assert (
        hashlib.sha256(onnx_model(SmallPredictor(), (64, 64), path)).digest()
        == hashlib.sha256(path.read_bytes()).digest()
    )
    assert len(path.read_bytes()) == len(content)


def test_the_exported_network_is_kept_beside_the_weights(weights_dir, tmp_path):
    config = DetectorConfig(
        weights_dir=str(weights_dir), cache_dir=str(tmp_path / "c"), input_size=(64, 64), device="cpu",
        precision="float32",
    )  # fmt: skip
    detector = build_detector(config)
    assert detector.input_size == (64, 64)
    assert (tmp_path / "c" / "onnx" / f"{detector.version}-64x64-graph{GRAPH}-opset{OPSET}.onnx").is_file()


def test_a_cache_that_cannot_hold_the_export_is_named(network, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="set cache_dir"):
        onnx_model(NanoDetPredictor(network, 32, 32), (32, 32), tmp_path / "file" / "net.onnx")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("nanodett", "nanodet"), ("fasterrcnn_mobilenet", "fasterrcnn_mobilenet_v3_large_fpn")],
)
def test_an_unknown_detector_is_answered_with_the_nearest_known_one(name, nearest):
    with pytest.raises(ModelError, match=f"did you mean '{nearest}"):
        build_detector(DetectorConfig(name=name))


def test_an_unknown_class_is_answered_with_the_nearest_known_one():
    with pytest.raises(ModelError, match="did you mean 'person'"):
        build_detector(DetectorConfig(classes=("persons",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"execution": "tensorflow"}, "execution is 'tensorflow', expected onnxruntime or torch"),
        ({"score_threshold": 1.0}, "score_threshold"),
        ({"nms_iou": 0.0}, "nms_iou"),
        ({"max_detections": 0}, "max_detections"),
        ({"threads": -1}, "threads"),
        ({"input_size": (416, 400)}, "two multiples of 32"),
        ({"input_size": (0, 416)}, "two multiples of 32"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        DetectorConfig(**changes)


@pytest.mark.parametrize("execution", ["torch", "onnxruntime"])
@pytest.mark.parametrize(("device", "message"), [("tpu", "'tpu', expected auto"), ("cuda:99", "cuda:99")])
def test_a_device_that_is_not_there_is_named(execution, device, message):
    with pytest.raises(DeviceUnavailable, match=message):
        build_detector(DetectorConfig(execution=execution, device=device))


def test_resizing_on_the_device_keeps_order_and_matches_the_host(frames, detector):
    images = [frames[0], noise(352, 448), frames[3], noise(40, 40)]
    pixels = upload_and_resize(images, (352, 448), torch.device("cpu"))
    assert pixels.shape == (4, 352, 448, 3)
    np.testing.assert_array_equal(pixels[1], images[1])
    results = detector("onnxruntime").detect([image.numpy() for image in pixels])
    for resized, direct in zip(results, detector("onnxruntime").detect(images), strict=True):
        strong = direct.scores_N > 0.5
        np.testing.assert_allclose(resized.scores_N[: strong.sum()], direct.scores_N[strong], atol=0.02)


def test_a_torchvision_file_that_is_not_the_published_one_is_refused(tmp_path):
    path = tmp_path / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    path.write_bytes(b"not the file")
    with pytest.raises(WeightsCorrupt, match="expected it to start with a79551df") as caught:
        read_torchvision_weights("ssdlite320_mobilenet_v3_large", tmp_path / "cache", tmp_path)
    assert str(path) in str(caught.value)


def test_torchvision_s_weights_must_fit_the_model():
    with pytest.raises(WeightsCorrupt, match="do not fit ssdlite320"):
        torchvision_network("ssdlite320_mobilenet_v3_large", {"a": torch.zeros(1)})


def test_torchvision_models_are_known_by_name():
    assert {"fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"} <= set(
        torchvision_names()
    )
    with pytest.raises(ModelError, match="fixed input size"):
        torchvision_network("ssdlite320_mobilenet_v3_large", None, (320, 320))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_cuda_sees_what_the_cpu_sees(detector, frames):
    on_cuda = build_detector(DetectorConfig(execution="torch", device="cuda"))
    images = [*frames, frames[0][:300, :500]]
    for ours, theirs in zip(on_cuda.detect(images), detector("torch").detect(images), strict=True):
        strong = theirs.scores_N > 0.5
        assert abs(int((ours.scores_N > 0.5).sum()) - int(strong.sum())) <= 1
        np.testing.assert_allclose(ours.scores_N[: strong.sum()], theirs.scores_N[strong], atol=0.03)
