import dataclasses
import json
import logging
from itertools import islice

import av
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torchvision.ops import box_iou

from models import detectors
from models.detectors import DetectorConfig, build_detector, load_nanodet
from models.errors import DeviceUnavailable, ModelError
from models.execution import VNNI, choose_precision, cpu_flags, export_onnx
from models.nanodet import NANODET_RANGES, NanoDetPredictor, convolutions
from models.quantization import quantize
from models.ranges import ActivationRanges, Range, measure_ranges, read_ranges
from models.weights import WeightStore
from tests.models.conftest import VIDEO

CPU = torch.device("cpu")
needs_vnni = pytest.mark.skipif(VNNI.isdisjoint(cpu_flags()), reason="needs a CPU with VNNI")


@pytest.fixture(scope="module")
def both():
    return [build_detector(DetectorConfig(precision=name, device="cpu")) for name in ("float32", "int8")]


@pytest.fixture
def predictor(network):
    return NanoDetPredictor(network, 64, 64)


@pytest.fixture(scope="module")
def exported(weight_files):
    """NanoDet for small images, as ONNX."""
    return export_onnx(NanoDetPredictor(load_nanodet(WeightStore()), 64, 64), (64, 64))


@needs_vnni
def test_in_8_bits_the_same_people_are_seen(both):
    with av.open(str(VIDEO)) as container:
        images = [frame.to_ndarray(format="bgr24") for frame in islice(container.decode(video=0), 7, 795, 40)]
    float32, int8 = (detector.detect(images) for detector in both)
    for ours, theirs in ((float32, int8), (int8, float32)):
        differences = score_differences(ours, theirs)
        assert len(differences) > 100
        assert np.mean(np.isfinite(differences)) >= 0.98
        assert np.nanmean(np.abs(differences)) < 0.02


@needs_vnni
def test_in_8_bits_a_result_does_not_depend_on_its_batch_to_the_bit(both, frames):
    together = both[1].detect(frames)
    for image, batched in zip(frames, together, strict=True):
        (alone,) = both[1].detect([image])
        for one, other in zip(alone, batched, strict=True):
            np.testing.assert_array_equal(one, other)


@needs_vnni
def test_the_version_tells_the_precision(both):
    float32, int8 = (detector.version for detector in both)
    assert float32.startswith("nanodet@")
    assert int8.startswith("nanodet-int8@")
    assert build_detector(DetectorConfig(device="cpu")).version == int8
    assert build_detector(DetectorConfig(device="cpu"), cpu=()).version == float32


@pytest.mark.parametrize(
    ("wanted", "execution", "device", "flags", "expected"),
    [
        ("auto", "onnxruntime", "cpu", {"sse2", "avx512_vnni"}, "int8"),
        ("auto", "onnxruntime", "cpu", {"sse2", "avx_vnni"}, "int8"),
        ("auto", "onnxruntime", "cpu", {"avx2", "avx512f"}, "float32"),
        ("auto", "onnxruntime", "cpu", set(), "float32"),
        ("auto", "onnxruntime", "cuda", VNNI, "float32"),
        ("auto", "torch", "cpu", VNNI, "float32"),
        ("float32", "onnxruntime", "cpu", VNNI, "float32"),
        ("int8", "onnxruntime", "cpu", VNNI, "int8"),
    ],
)
def test_the_precision_follows_from_execution_device_and_cpu(wanted, execution, device, flags, expected):
    assert choose_precision(wanted, execution, torch.device(device), flags) == expected


@pytest.mark.parametrize(
    ("execution", "device", "flags", "error", "message"),
    [
        ("torch", "cpu", VNNI, ModelError, "set execution to onnxruntime"),
        ("onnxruntime", "cuda", VNNI, DeviceUnavailable, "set device to cpu"),
        ("onnxruntime", "cpu", {"avx2"}, DeviceUnavailable, "neither avx512_vnni nor avx_vnni"),
    ],
)
def test_8_bits_where_they_are_not_to_be_had_are_refused(execution, device, flags, error, message):
    with pytest.raises(error, match=message):
        choose_precision("int8", execution, torch.device(device), flags)


def test_torchvision_s_models_have_no_8_bit_form():
    with pytest.raises(ModelError, match="which ssdlite320_mobilenet_v3_large does not have"):
        build_detector(DetectorConfig(name="ssdlite320_mobilenet_v3_large", precision="int8"))


def test_an_unknown_precision_is_refused():
    with pytest.raises(ModelError, match="precision is 'fp16', expected auto, float32 or int8"):
        DetectorConfig(precision="fp16")


def test_a_table_for_another_network_is_named(predictor):
    table, weights = read_ranges(NANODET_RANGES), weights_of(predictor.network)
    with pytest.raises(ModelError, match="has 33 convolutions, the network 34"):
        quantize(b"", weights, ActivationRanges(table.convolutions[1:]))
    swapped = (*table.convolutions[1::-1], *table.convolutions[2:])
    with pytest.raises(ModelError, match=r"gives convolution 0 weights of shape \(32, 32, 3, 3\)"):
        quantize(b"", weights, ActivationRanges(swapped))


def test_a_graph_with_other_weights_is_named(predictor, exported):
    weights = weights_of(predictor.network)
    weights[5] = weights[5] + 1
    with pytest.raises(
        ModelError, match="has 33 convolutions with this network's weights, expected each of 34"
    ):
        quantize(exported, weights, read_ranges(NANODET_RANGES))


def test_names_in_the_graph_do_not_matter(predictor, exported):
    weights, table = weights_of(predictor.network), read_ranges(NANODET_RANGES)
    proto = onnx.load_from_string(exported)
    renamed = onnx.load_from_string(proto.SerializeToString())
    kept = {"images", "labels", "boxes", "scores", ""}
    for node in renamed.graph.node:
        node.input[:] = [name if name in kept else f"t.{name}" for name in node.input]
        node.output[:] = [name if name in kept else f"t.{name}" for name in node.output]
    for tensor in renamed.graph.initializer:
        tensor.name = f"t.{tensor.name}"
    del renamed.graph.value_info[:]
    inputs = {"images": np.full((1, 64, 64, 3), 99, np.uint8), "labels": np.arange(3)}
    ours, theirs = (
        run(quantize(graph.SerializeToString(), weights, table), inputs) for graph in (proto, renamed)
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pixels_reach_the_first_convolution_as_they_are(predictor, exported):
    model = quantize(exported, weights_of(predictor.network), read_ranges(NANODET_RANGES))
    graph = onnx.load_from_string(model).graph
    made_by = {name: node for node in graph.node for name in node.output}
    first = next(node for node in graph.node if node.op_type == "Conv")
    coarse = made_by[first.input[0]]
    transposed = made_by[coarse.input[0]]
    assert (coarse.op_type, transposed.op_type) == ("DequantizeLinear", "Transpose")
    assert list(transposed.input) == ["images"]


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"convolutions": [{"shape": [1], "input": [0], "output": [0, 1]}]}'],
)
def test_a_table_that_cannot_be_read_is_named(content, tmp_path):
    (tmp_path / "ranges.json").write_text(content)
    with pytest.raises(ModelError, match=r"ranges\.json is no table of activation ranges"):
        read_ranges(tmp_path / "ranges.json")


@pytest.mark.parametrize("bounds", [[0, 0], [1, 2], [-1, float("nan")], [2, -2]])
def test_a_range_that_is_none_is_named(bounds, tmp_path):
    row = {"shape": [1, 1, 1, 1], "input": [-1, 1], "output": bounds}
    (tmp_path / "ranges.json").write_text(json.dumps({"convolutions": [row]}))
    with pytest.raises(ModelError, match="gives convolution 0 the range"):
        read_ranges(tmp_path / "ranges.json")


def test_a_table_reads_back_as_it_was_written(tmp_path):
    table = read_ranges(NANODET_RANGES)
    table.write(tmp_path / "ranges.json")
    assert (tmp_path / "ranges.json").read_bytes() == NANODET_RANGES.read_bytes()
    assert read_ranges(tmp_path / "ranges.json").digest == table.digest
    wider = dataclasses.replace(table.convolutions[3], output=Range(-100, 100))
    assert ActivationRanges((*table.convolutions[:3], wider, *table.convolutions[4:])).digest != table.digest


def test_measured_ranges_are_the_extremes_before_the_activation_function():
    conv = nn.Conv2d(1, 1, 1)
    nn.init.constant_(conv.weight, -2.0)
    nn.init.constant_(conv.bias, 1.0)
    network = nn.Sequential(conv, nn.LeakyReLU(0.1, inplace=True))
    batches = [torch.full((1, 1, 2, 2), value) for value in (3.0, 1.0)]
    (row,) = measure_ranges(network, [conv], batches).convolutions
    assert row.input == (0.0, 3.0)
    assert row.output == (-5.0, 0.0)


@needs_vnni
def test_the_8_bit_model_is_kept_and_read_again(weights_dir, tmp_path, monkeypatch):
    config = DetectorConfig(
        weights_dir=str(weights_dir), cache_dir=str(tmp_path / "c"), input_size=(64, 64), device="cpu",
        precision="int8",
    )  # fmt: skip
    version = build_detector(config).version
    (path,) = (tmp_path / "c" / "onnx").glob(f"{version}-64x64-*-ort{onnxruntime.__version__}.onnx")
    weights = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert numpy_helper.from_array(np.int8([1])).data_type in weights
    monkeypatch.setattr(detectors, "quantize", None)
    monkeypatch.setattr(detectors, "onnx_model", None)
    assert build_detector(config).version == version


def test_auto_runs_in_float32_and_says_so_when_the_table_does_not_fit(tmp_path, monkeypatch, caplog):
    table = read_ranges(NANODET_RANGES)
    ActivationRanges(table.convolutions[:-1]).write(tmp_path / "ranges.json")
    monkeypatch.setattr(detectors, "NANODET_RANGES", tmp_path / "ranges.json")
    with caplog.at_level(logging.WARNING):
        detector = build_detector(DetectorConfig(device="cpu"), cpu=VNNI)
    assert detector.version.startswith("nanodet@")
    assert "33 convolutions, the network 34" in caplog.records[0].cause
    with pytest.raises(ModelError, match="33 convolutions, the network 34"):
        build_detector(DetectorConfig(device="cpu", precision="int8"), cpu=VNNI)


def score_differences(ours, theirs, score=0.4, iou=0.7):
    """Of each of our boxes that scores enough: how much less their best box there scores; NaN if there is none."""
    differences = []
    for one, other in zip(ours, theirs, strict=True):
        strong = one.scores_N >= score
        overlaps = box_iou(*(torch.from_numpy(boxes) for boxes in (one.boxes_N4[strong], other.boxes_N4)))
        best = torch.cat([overlaps, torch.zeros(len(overlaps), 1)], dim=1).max(dim=1)
        found = np.append(other.scores_N, np.nan)[best.indices.numpy()]
        differences += np.where(best.values >= iou, one.scores_N[strong] - found, np.nan).tolist()
    return differences


def weights_of(network):
    return [conv.weight.detach().numpy() for conv in convolutions(network)]


def run(model, inputs):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, inputs)
