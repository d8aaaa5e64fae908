"""Runs torchvision's detection models, by name, behind the same protocol as our own."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from models.boxes import Selection
from models.detector import ImageHW3, RawDetections
from models.errors import ModelError, WeightsCorrupt, WeightsUnavailable
from models.weights import locked

MAX_BATCH: Final = 8


class TorchvisionExecution:
    """Runs a torchvision detection model in eager torch; its own thresholds are set to those of `selection`."""

    def __init__(self, model: nn.Module, selection: Selection, device: torch.device, half: bool) -> None:
        stage: Any = getattr(model, "roi_heads", model)  # two-stage models keep their thresholds there
        stage.score_thresh = selection.score_threshold
        stage.nms_thresh = selection.nms_iou
        stage.detections_per_img = max(stage.detections_per_img, selection.max_detections)
        self._model = model.eval().to(device)
        self._device = device
        self._half = half and device.type == "cuda"
        self._selection = selection
        self._labels = torch.tensor(selection.labels, device=device)

    @torch.inference_mode()
    def run(self, images: Sequence[ImageHW3]) -> list[RawDetections]:
        """Return one result an image, in order."""
        results: list[RawDetections] = []
        with torch.autocast("cuda", torch.float16, enabled=self._half):
            for start in range(0, len(images), MAX_BATCH):
                batch = images[start : start + MAX_BATCH]
                outputs = self._model([self._upload(image) for image in batch])
                results += [self._select(out, image) for out, image in zip(outputs, batch, strict=True)]
        return results

    def _upload(self, image: ImageHW3) -> Tensor:
        """Return 3 x H x W, red green blue, 0 to 1."""
        host = torch.from_numpy(np.ascontiguousarray(image))
        if self._device.type == "cuda":
            host = host.pin_memory()
        pixels_HW3 = host.to(self._device, non_blocking=True)
        return pixels_HW3.flip(-1).permute(2, 0, 1).float() / 255

    def _select(self, output: Mapping[str, Tensor], image: ImageHW3) -> RawDetections:
        """Keep the classes asked for, and make boxes relative; torchvision has sorted and suppressed them."""
        wanted = torch.isin(output["labels"], self._labels).nonzero()[: self._selection.max_detections, 0]
        height, width = image.shape[:2]
        scale = np.array([width, height, width, height], np.float32)
        boxes_N4 = output["boxes"][wanted].float().cpu().numpy() / scale
        return RawDetections(
            np.clip(boxes_N4, 0, 1),
            output["scores"][wanted].float().cpu().numpy(),
            output["labels"][wanted].cpu().numpy(),
        )


def torchvision_names() -> tuple[str, ...]:
    """Return the names of torchvision's detection models."""
    return tuple(torchvision.models.list_models(module=torchvision.models.detection))


def torchvision_categories(name: str) -> tuple[str, ...]:
    """Return the class of each label of a model's published weights."""
    return tuple(torchvision.models.get_model_weights(name).DEFAULT.meta["categories"])


def torchvision_network(
    name: str, state: Mapping[str, Tensor] | None, input_size: tuple[int, int] | None = None
) -> nn.Module:
    """Build a torchvision detection model with the weights `state`, or with random ones when that is None.

    Raises:
        ModelError: when `input_size` is given to a model whose size is fixed.
        WeightsCorrupt: when `state` belongs to another model.
    """
    sizes = {} if input_size is None else {"min_size": min(input_size), "max_size": max(input_size)}
    if sizes and name.startswith("ssd"):
        raise ModelError(f"{name} has a fixed input size, got input_size {input_size}; leave it out")
    network: nn.Module = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=len(torchvision_categories(name)), **sizes
    )
    if state is not None:
        try:
            network.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise WeightsCorrupt(f"the weights do not fit {name}: {str(error)[:500]}") from error
    return network


def torchvision_input_size(network: nn.Module) -> tuple[int, int]:
    """Return the smallest (height, width) that the model scales images to."""
    transform: Any = network.transform
    if transform.fixed_size is not None:
        width, height = transform.fixed_size
        return int(height), int(width)
    return int(transform.min_size[-1]), int(transform.min_size[-1])


def read_torchvision_weights(
    name: str, cache_dir: Path, weights_dir: Path | None
) -> tuple[dict[str, Tensor], str]:
    """Return a model's published weights and their SHA-256, from a directory, the cache, or torchvision's hub.

    The file's name carries the first digits of its SHA-256, which are checked; nothing is unpickled but tensors.

    Raises:
        WeightsUnavailable: when no source has the file.
        WeightsCorrupt: when the file is not what its name says, or holds more than tensors.
    """
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    file_name = url.rsplit("/", 1)[-1]
    expected = file_name.removesuffix(".pth").rsplit("-", 1)[-1]
    path = cache_dir / "torchvision" / file_name
    if weights_dir is not None and (weights_dir / file_name).is_file():
        path = weights_dir / file_name
    if not path.is_file():
        with locked(cache_dir / "weights.lock"):
            if not path.is_file():
                _download(url, path, expected)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if not digest.startswith(expected):
            raise WeightsCorrupt(
                f"{path} is not the published file: got SHA-256 {digest}, expected it to start with {expected}; "
                "delete it to have it fetched again"
            )
        stream.seek(0)
        return load_tensors(stream, path), digest


def load_tensors(stream: Any, path: Path) -> dict[str, Tensor]:
    """Read a state dict from an open file; nothing is unpickled but tensors. `path` is what messages call it.

    Raises:
        WeightsCorrupt: when it is something else.
    """
    try:
        state = torch.load(stream, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsCorrupt(f"{path} holds no state dict of tensors: {str(error)[:300]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsCorrupt(f"{path} holds no state dict of tensors, got {type(state).__name__}")
    return dict(state)


def _download(url: str, path: Path, expected: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=False)
    except OSError as error:
        raise WeightsUnavailable(
            f"{path.name} is neither in weights_dir nor in {path.parent}, and fetching it failed: {error}. Do one "
            f"of: (1) put {path.name} into a directory and set weights_dir to it; (2) copy it to {path}; "
            f"(3) let this machine reach {url}"
        ) from error
    except RuntimeError as error:  # what torch.hub raises when the checksum differs
        raise WeightsCorrupt(f"{url} is not the published file: {error}; try again") from error
