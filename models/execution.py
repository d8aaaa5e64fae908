"""Executes one network in two ways, with torch on any device or with ONNX Runtime, from pixels to detections."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import cv2
import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.boxes import Selection, select
from models.detector import ImageHW3, RawDetections
from models.errors import DeviceUnavailable, ModelError
from models.files import write_atomically
from models.weights import locked

OPSET: Final = 20
OUTPUTS: Final = ("boxes", "scores")
"""Of a predictor that only detects."""
MAX_BATCH: Final = 64
MAX_LENGTH: Final = 4096
"""Of an exported network's free axes."""
VNNI: Final = frozenset({"avx512_vnni", "avx_vnni"})
"""The CPU flags of dot products of 8-bit numbers. Without them sums saturate at 16 bits, and little time is won."""


class Execution(Protocol):
    """Runs a network on images of any size."""

    def run(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        """Return one result an image, in order."""


class GraphInput(NamedTuple):
    """Is an input of a network that is to be exported."""

    name: str
    example: Tensor
    free_axis: str
    """Name of its first axis, which may have any length up to `MAX_LENGTH`."""


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device; `auto` is CUDA when there.

    Raises:
        DeviceUnavailable: when the name is unknown or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceUnavailable(f"device is {name!r}, expected auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceUnavailable(f"device is {name!r}, expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceUnavailable(
            f"device is {name!r}, but torch sees {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device


class TorchExecution:
    """Runs a predictor (see `NanoDetPredictor`) in eager torch, channels-last, one batch a call.

    On CUDA, frames travel as 8-bit pixels through pinned memory and are resized there; the convolutions run in half
    precision when `half` is set, and suppression happens on the device.
    """

    def __init__(
        self,
        predictor: nn.Module,
        size: tuple[int, int],
        selection: Selection,
        device: torch.device,
        half: bool,
    ) -> None:
        self._predictor = predictor.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # nn.Module.to has no stub for both
        if half and device.type == "cuda":
            self._predictor.network.half()
        self._size = size
        self._selection = selection
        self._device = device
        self._labels_K = torch.tensor(selection.labels, device=device)

    @torch.inference_mode()
    def run(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        """Return one result an image, in order."""
        results: list[RawDetections] = []
        for start in range(0, len(images), MAX_BATCH):
            pixels_NHW3 = self._upload(images[start : start + MAX_BATCH])
            boxes_N4A, scores_NKA = self._predictor(pixels_NHW3, self._labels_K)
            results += select(boxes_N4A, scores_NKA, self._selection)
        return results

    def _upload(self, images: Sequence[ImageHW3]) -> Tensor:
        if self._device.type == "cuda":
            return upload_and_resize(images, self._size, self._device)
        return torch.from_numpy(np.stack([resize(image, self._size) for image in images]))


class OnnxExecution:
    """Runs an exported predictor (see `export_onnx`) in ONNX Runtime.

    On the CPU each image is a run of its own, and `threads` of them run side by side: that uses all cores without
    the cost of splitting each layer, and a result never depends on the other images of its batch, to the bit.
    On CUDA a batch is one run.
    """

    def __init__(
        self, model: bytes, size: tuple[int, int], selection: Selection, device: torch.device, threads: int
    ) -> None:
        self._session = onnx_session(model, device)
        self._size = size
        self._selection = selection
        self._labels_K = np.asarray(selection.labels, np.int64)
        self._batch = MAX_BATCH if device.type == "cuda" else 1
        self._pool = ThreadPoolExecutor(threads, "onnx") if self._batch == 1 and threads > 1 else None

    def run(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        """Return one result an image, in order."""
        batches = [images[start : start + self._batch] for start in range(0, len(images), self._batch)]
        parts: Iterable[list[RawDetections]] = map(self._run_batch, batches)
        if self._pool is not None and len(batches) > 1:
            parts = self._pool.map(self._run_batch, batches)
        return [result for part in parts for result in part]

    def _run_batch(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        pixels_NHW3 = np.stack([resize(image, self._size) for image in images])
        outputs = self._session.run(None, {"images": pixels_NHW3, "labels": self._labels_K})
        boxes_N4A, scores_NKA = map(torch.from_numpy, outputs)
        return select(boxes_N4A, scores_NKA, self._selection)


def onnx_device(name: str) -> torch.device:
    """Turn a device name into one that ONNX Runtime has a provider for; `auto` is CUDA when there.

    Raises:
        DeviceUnavailable: when CUDA is asked for by name and this ONNX Runtime was built without it.
    """
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if name == "auto" and not has_cuda:
        return torch.device("cpu")
    device = resolve_device(name)
    if device.type == "cuda" and not has_cuda:
        raise DeviceUnavailable(
            f"device is {name!r}, but this ONNX Runtime has only {onnxruntime.get_available_providers()}; "
            "install onnxruntime-gpu, or set execution to torch"
        )
    return device


def onnx_session(model: bytes, device: torch.device) -> onnxruntime.InferenceSession:
    """Load a model onto a device; a run takes one CPU thread, so that several go side by side."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    provider: str | tuple[str, dict[str, int]] = "CPUExecutionProvider"
    if device.type == "cuda":
        provider = ("CUDAExecutionProvider", {"device_id": device.index or 0})
    return onnxruntime.InferenceSession(model, options, providers=[provider])


def onnx_model(
    predictor: nn.Module, size: tuple[int, int], path: Path, outputs: Sequence[str] = OUTPUTS
) -> bytes:
    """Return the predictor as ONNX, from the file `path` or exported to it; a damaged file is exported anew.

    Raises:
        ModelError: when the file has to be exported and cannot be written.
    """
    return derived(path, lambda: export_onnx(predictor, size, outputs))


def derived(path: Path, build: Callable[[], bytes]) -> bytes:
    """Return what `build` makes of verified weights, from the file `path` or built to it.

    The file's own SHA-256 stands beside it only to notice damage; a damaged file is built anew.

    Raises:
        ModelError: when the file has to be built and cannot be written, and whatever `build` raises.
    """
    if (content := _read_checked(path)) is not None:
        return content
    try:
        with locked(path.with_suffix(".lock")):
            if (content := _read_checked(path)) is None:  # another process may have built it meanwhile
                content = build()
                write_atomically(path, content)
                write_atomically(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())
    except OSError as error:
        raise ModelError(
            f"{path} cannot be written: {error}; set cache_dir to a directory that can"
        ) from error
    return content


def export_onnx(predictor: nn.Module, size: tuple[int, int], outputs: Sequence[str] = OUTPUTS) -> bytes:
    """Export a predictor with a free batch size and a free number of classes.

    Inputs: `images` N x H x W x 3 uint8, `labels` K int64. Outputs: `boxes` N x 4 x A, `scores` N x K x A, float32,
    and whatever more `outputs` names.
    """
    images = GraphInput("images", torch.zeros(2, *size, 3, dtype=torch.uint8), free_axis="n")
    labels = GraphInput("labels", torch.arange(2), free_axis="k")
    return exported(predictor, [images, labels], outputs)


def exported(network: nn.Module, inputs: Sequence[GraphInput], outputs: Sequence[str]) -> bytes:
    """Return a network as ONNX; `outputs` are the names of what it returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about torch's own internals
        program = torch.onnx.export(
            network.eval(),
            tuple(one.example for one in inputs),
            dynamo=True,
            dynamic_shapes=tuple({0: torch.export.Dim(one.free_axis, max=MAX_LENGTH)} for one in inputs),
            input_names=[one.name for one in inputs],
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def resize(image: ImageHW3, size: tuple[int, int]) -> ImageHW3:
    """Stretch an image to (height, width), bilinearly."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]  # cv2's stub says any dtype


def upload_and_resize(images: Sequence[ImageHW3], size: tuple[int, int], device: torch.device) -> Tensor:
    """Copy images to a device as 8-bit pixels, those of one shape at once, and stretch them there; N x H x W x 3."""
    pixels_NHW3 = torch.empty((len(images), *size, 3), dtype=torch.uint8, device=device)
    for shape in {image.shape for image in images}:
        members = [index for index, image in enumerate(images) if image.shape == shape]
        host = torch.empty((len(members), *shape), dtype=torch.uint8, pin_memory=device.type == "cuda")
        np.stack([images[index] for index in members], out=host.numpy())
        batch = host.to(device, non_blocking=True)
        if shape[:2] != size:
            stretched = F.interpolate(batch.permute(0, 3, 1, 2).float(), size, mode="bilinear")
            batch = stretched.round_().to(torch.uint8).permute(0, 2, 3, 1)
        pixels_NHW3[torch.tensor(members, device=device)] = batch
    return pixels_NHW3


def usable_cores() -> int:
    """Count the CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def cpu_flags() -> frozenset[str]:
    """Read what the CPU's instruction sets are, as Linux names them; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def choose_precision(
    wanted: str, execution: str, device: torch.device, flags: Collection[str]
) -> Literal["float32", "int8"]:
    """Settle what a network that has an 8-bit form computes in, on a device whose CPU has these flags.

    Raises:
        ModelError: when int8 is asked for with torch.
        DeviceUnavailable: when int8 is asked for on CUDA, or without VNNI.
    """
    able = execution == "onnxruntime" and device.type == "cpu" and not VNNI.isdisjoint(flags)
    if wanted == "float32" or (wanted == "auto" and not able):
        return "float32"
    if execution != "onnxruntime":
        raise ModelError(
            f"precision is int8 and execution {execution}; set execution to onnxruntime, or precision to auto"
        )
    if device.type != "cpu":
        raise DeviceUnavailable(
            f"precision is int8 and device {device}; set device to cpu, or precision to auto"
        )
    if not able:
        raise DeviceUnavailable(
            "precision is int8, but this CPU has neither avx512_vnni nor avx_vnni; "
            "set precision to auto or float32"
        )
    return "int8"


def _read_checked(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
        expected = path.with_suffix(".sha256").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return content if hashlib.sha256(content).hexdigest() == expected else None
