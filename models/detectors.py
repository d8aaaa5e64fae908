"""Builds detectors from configuration: NanoDet by default, or one of torchvision's by name."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import onnxruntime
import torch

from models.boxes import Selection
from models.checks import check, check_images
from models.detector import Detector, ImageHW3, RawDetections
from models.errors import ModelError
from models.execution import (
    OPSET,
    Execution,
    OnnxExecution,
    TorchExecution,
    choose_precision,
    cpu_flags,
    derived,
    onnx_device,
    onnx_model,
    resolve_device,
    usable_cores,
)
from models.nanodet import (
    COCO_CLASSES,
    GRAPH,
    NANODET_RANGES,
    SIZE_MULTIPLE,
    NanoDet,
    NanoDetPredictor,
    convolutions,
    load_tfjs,
)
from models.quantization import QUANTIZER, quantize
from models.ranges import ActivationRanges, read_ranges
from models.tfjs import read_tfjs_weights
from models.torchvision_detector import (
    TorchvisionExecution,
    read_torchvision_weights,
    torchvision_categories,
    torchvision_input_size,
    torchvision_names,
    torchvision_network,
)
from models.weights import NANODET, WeightStore, default_cache_dir

_log = logging.getLogger(__name__)

NANODET_SIZE: Final = (352, 448)
"""Near the shape of most cameras' images; more accurate than the square it was trained on, at less cost."""


NANODET_VERSION: Final = f"nanodet@{NANODET.digest[:12]}"
"""The version of what runs in float32 (or half) precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """Says which detector to run, how, and what it should report."""

    name: str = "nanodet"
    """`nanodet`, or the name of a torchvision detection model such as `fasterrcnn_mobilenet_v3_large_320_fpn`."""
    execution: Literal["onnxruntime", "torch"] = "onnxruntime"
    """What runs the network. torchvision's own models always run in torch."""
    precision: Literal["auto", "float32", "int8"] = "auto"
    """What NanoDet computes in under ONNX Runtime; `auto` is int8 on a CPU that has VNNI, else float32.

    int8 sees nearly the same in about half the time. It is refused without VNNI, where its sums would saturate; torch,
    torchvision's models and CUDA do not have it (there, see `half`)."""
    device: str = "auto"
    """`auto` (CUDA when there), `cpu`, `cuda` or `cuda:N`."""
    input_size: tuple[int, int] | None = None
    """(height, width) that images are stretched to, multiples of 32; None is the detector's own."""
    score_threshold: float = 0.1
    """Detections that score less are dropped; low, because a tracker makes use of weak ones."""
    nms_iou: float = 0.65
    """Of two boxes of one class that overlap by more than this IoU, the weaker is dropped."""
    max_detections: int = 300
    """At most so many a frame."""
    classes: tuple[str, ...] = ("person",)
    """What to look for; empty means all classes that the network knows."""
    threads: int = 0
    """CPU threads; 0 is one a usable core. With torch they are the process's, as torch has them."""
    half: bool = True
    """Whether convolutions run in half precision on CUDA."""
    weights_dir: str = ""
    """A directory that holds the weight files already, for sites without a network."""
    cache_dir: str = ""
    """Where fetched weights and exported networks are kept; empty is `~/.cache/camweave`."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        check(self.execution in ("onnxruntime", "torch"), "execution", self.execution, "onnxruntime or torch")
        precisions = ("auto", "float32", "int8")
        check(self.precision in precisions, "precision", self.precision, "auto, float32 or int8")
        check(
            0 <= self.score_threshold < 1, "score_threshold", self.score_threshold, "at least 0 and below 1"
        )
        check(0 < self.nms_iou <= 1, "nms_iou", self.nms_iou, "above 0 and at most 1")
        check(self.max_detections > 0, "max_detections", self.max_detections, "at least 1")
        check(self.threads >= 0, "threads", self.threads, "0 (all cores) or more")
        if self.input_size is not None:
            sized = all(side > 0 and side % SIZE_MULTIPLE == 0 for side in self.input_size)
            check(sized and len(self.input_size) == 2, "input_size", self.input_size, "two multiples of 32")


class NetworkDetector:
    """Detects with one network, executed in whatever way it was built with."""

    def __init__(
        self, execution: Execution, *, version: str, class_names: tuple[str, ...], input_size: tuple[int, int]
    ) -> None:
        self._execution = execution
        self._version = version
        self._class_names = class_names
        self._input_size = input_size

    @property
    def version(self) -> str:
        """Name and weights digest."""
        return self._version

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class of each label index."""
        return self._class_names

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that images are stretched to."""
        return self._input_size

    def detect(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        """Detect in images of any size, uint8 BGR, each H x W x 3; one result an image, in order.

        Raises:
            ModelError: when an image has another shape or type; names its index.
        """
        check_images(images)
        return self._execution.run(images) if images else []


def build_detector(config: DetectorConfig, cpu: Collection[str] | None = None) -> Detector:
    """Build the configured detector with its published weights; `cpu` is its flags, by default those of this machine.

    Raises:
        ModelError: when the name or a class is unknown (names the nearest known one), or the detector, as it is to be
            executed, has no 8-bit form.
        WeightsUnavailable: when its weights are not to be had.
        WeightsCorrupt: when a weight file is not what it must be.
        DeviceUnavailable: when this machine lacks the device, or 8-bit arithmetic.
    """
    if config.name == "nanodet":
        return _build_nanodet(config, cpu)
    known = ("nanodet", *torchvision_names())
    if config.name not in known:
        raise ModelError(f"detector {config.name!r} is unknown; {_nearest(config.name, known)}")
    if config.precision == "int8":
        raise ModelError(f"precision is int8, which {config.name} does not have; set it to auto or float32")
    return _build_torchvision(config)


def _folders(config: DetectorConfig) -> tuple[Path, Path | None]:
    """Return where weights are kept, and where a site has them already."""
    cache_dir = Path(config.cache_dir).expanduser() if config.cache_dir else default_cache_dir()
    return cache_dir, Path(config.weights_dir).expanduser() if config.weights_dir else None


def load_nanodet(store: WeightStore) -> NanoDet:
    """Build NanoDet with its published weights, ready to be run or trained.

    Raises:
        WeightsUnavailable: when the weights are not to be had.
        WeightsCorrupt: when a weight file is not what it must be.
    """
    files = store.read(NANODET)
    network = NanoDet()
    load_tfjs(network, read_tfjs_weights(files["nanodet.json"], files["nanodet.bin"]))
    return network


class PreparedNanoDet(NamedTuple):
    """Is NanoDet as a configuration wants it, short of what runs it."""

    predictor: NanoDetPredictor
    model: bytes | None
    """The exported predictor; None where torch runs it."""
    version: str
    size: tuple[int, int]
    selection: Selection
    device: torch.device


def prepare_nanodet(
    config: DetectorConfig,
    kind: type[NanoDetPredictor] = NanoDetPredictor,
    cpu: Collection[str] | None = None,
) -> PreparedNanoDet:
    """Load, and export where ONNX Runtime runs it, a predictor of this kind; raises what `build_detector` does."""
    cache_dir, weights_dir = _folders(config)
    size = config.input_size or NANODET_SIZE
    selection = _selection(config, COCO_CLASSES)
    device = resolve_device(config.device) if config.execution == "torch" else onnx_device(config.device)
    flags = cpu_flags() if cpu is None else cpu
    precision = choose_precision(config.precision, config.execution, device, flags)
    predictor = kind(load_nanodet(WeightStore(cache_dir, weights_dir)), *size)
    version, model = NANODET_VERSION, None
    if config.execution == "torch":
        _limit_torch_threads(config)
    else:
        version, model = _nanodet_onnx(predictor, size, cache_dir / "onnx", precision, config.precision)
    return PreparedNanoDet(predictor, model, version, size, selection, device)


def _build_nanodet(config: DetectorConfig, cpu: Collection[str] | None) -> NetworkDetector:
    made = prepare_nanodet(config, cpu=cpu)
    execution: Execution
    if made.model is None:
        execution = TorchExecution(made.predictor, made.size, made.selection, made.device, config.half)
    else:
        threads = config.threads or usable_cores()
        execution = OnnxExecution(made.model, made.size, made.selection, made.device, threads)
    return NetworkDetector(execution, version=made.version, class_names=COCO_CLASSES, input_size=made.size)


def _nanodet_onnx(
    predictor: NanoDetPredictor, size: tuple[int, int], folder: Path, precision: str, wanted: str
) -> tuple[str, bytes]:
    """Return version and model; in float32 after all where int8 was our choice and the graph does not allow it."""
    if precision == "int8":
        try:
            return _nanodet_int8(predictor, size, folder, read_ranges(NANODET_RANGES))
        except ModelError as error:
            if wanted == "int8":
                raise
            _log.warning(
                "nanodet runs in float32, its 8-bit form cannot be made", extra={"cause": str(error)}
            )
    return NANODET_VERSION, _nanodet_float32(predictor, size, folder)


def _nanodet_float32(predictor: NanoDetPredictor, size: tuple[int, int], folder: Path) -> bytes:
    path = _export_path(folder, NANODET_VERSION, size, predictor.suffix)
    return onnx_model(predictor, size, path, predictor.outputs)


def _nanodet_int8(
    predictor: NanoDetPredictor, size: tuple[int, int], folder: Path, ranges: ActivationRanges
) -> tuple[str, bytes]:
    """Return version and model; the version's digest is of all that changes the results: weights, ranges, quantizer."""
    ordered = list(convolutions(predictor.network))
    keep = {ordered.index(conv) for conv in predictor.network.output_convolutions}

    def build() -> bytes:
        exported = _nanodet_float32(predictor, size, folder)
        return quantize(exported, [conv.weight.detach().numpy() for conv in ordered], ranges, keep=keep)

    digest = hashlib.sha256(f"{NANODET.digest} {ranges.digest} {QUANTIZER}".encode()).hexdigest()
    version = f"nanodet-int8@{digest[:12]}"
    suffix = f"{predictor.suffix}-ort{onnxruntime.__version__}"
    return version, derived(_export_path(folder, version, size, suffix), build)


def _export_path(folder: Path, version: str, size: tuple[int, int], suffix: str = "") -> Path:
    return folder / f"{version}-{size[0]}x{size[1]}-graph{GRAPH}-opset{OPSET}{suffix}.onnx"


def _build_torchvision(config: DetectorConfig) -> NetworkDetector:
    cache_dir, weights_dir = _folders(config)
    names = torchvision_categories(config.name)
    selection = _selection(config, names)
    device = resolve_device(config.device)
    _limit_torch_threads(config)
    state, digest = read_torchvision_weights(config.name, cache_dir, weights_dir)
    network = torchvision_network(config.name, state, config.input_size)
    return NetworkDetector(
        TorchvisionExecution(network, selection, device, config.half),
        version=f"{config.name}@{digest[:12]}",
        class_names=names,
        input_size=torchvision_input_size(network),
    )


def _limit_torch_threads(config: DetectorConfig) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)


def _selection(config: DetectorConfig, names: tuple[str, ...]) -> Selection:
    for name in config.classes:
        if name not in names:
            raise ModelError(f"{config.name} knows no class {name!r}; {_nearest(name, names)}")
    return Selection(
        score_threshold=config.score_threshold,
        nms_iou=config.nms_iou,
        max_detections=config.max_detections,
        labels=tuple(sorted({names.index(name) for name in config.classes})) or tuple(range(len(names))),
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"did you mean {close[0]!r}? Known: {', '.join(known)}"
