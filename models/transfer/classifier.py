"""Classifies crops with what transfer learning made, and keeps it in a file.

The file is safetensors; its metadata names the classes, the backbone, the size of the pictures, and the SHA-256 of the
weights that it started from and of the pictures that it learned from.

Legend of shape suffixes: N crops, H height, W width, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from models.checks import check, check_images
from models.detector import ImageHW3
from models.errors import ModelError, WeightsCorrupt
from models.execution import resolve_device
from models.files import read_weights
from models.reid.pixels import fit, to_input
from models.transfer.backbones import MAX_SIZE, MIN_SIZE, Backbone, build_backbone

METADATA: Final = "camweave"
"""Key of the metadata, which is one JSON object."""
FORMAT: Final = "camweave-transfer-1"
BATCH: Final = 64
MAX_BYTES: Final = 1 << 30
"""Above any backbone that is trained on one machine; a larger file is not read into memory."""
INITIAL_WEIGHT_DEVIATION: Final = 0.001
"""Small, so that no class is favoured at first."""


class TransferNetwork(nn.Module):
    """Puts a last layer of one's own classes on a backbone."""

    def __init__(self, backbone: Backbone, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(backbone.dimension, num_classes)
        nn.init.normal_(self.last.weight, std=INITIAL_WEIGHT_DEVIATION)
        nn.init.zeros_(self.last.bias)

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Return N x C logits of red, green, blue pixels of 0 to 255."""
        logits_NC: Tensor = self.last(self.dropout(self.backbone(images_N3HW)))
        return logits_NC


@dataclass(frozen=True, slots=True)
class TrainedClasses:
    """Says what a trained file holds beside its weights."""

    classes: tuple[str, ...]
    size: int
    """Side of the pictures that it was trained on, in pixels."""
    start: str
    """SHA-256 of the weights that it started from; empty for random ones."""
    data: str
    """SHA-256 of the pictures that it learned from."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Holds what `read_trained` read."""

    network: TransferNetwork
    about: TrainedClasses
    sha256: str
    """Of the file."""

    @property
    def backbone(self) -> Backbone:
        """The network without its last layer."""
        return self.network.backbone


class TransferClassifier:
    """Says which of its classes is on a crop."""

    def __init__(self, trained: Trained, device: torch.device) -> None:
        self._network = trained.network.eval().requires_grad_(False).to(device)
        self._about = trained.about
        self._digest = trained.sha256
        self._device = device

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of `classify`'s columns."""
        return self._about.classes

    @property
    def version(self) -> str:
        """Name, and digest of weights and size."""
        return version_of(self._network.backbone.name, self._digest, self._about.size)

    def classify(self, images: Sequence[ImageHW3]) -> NDArray[np.float32]:
        """Return N x C probabilities of images, uint8 BGR, each H x W x 3 of any size >= 1; rows sum to 1.

        Raises:
            ModelError: when an image is empty or of another type; names its index.
        """
        check_images(images)
        size = self._about.size
        rows = list(_run(self._network, [fit(image, (size, size)) for image in images], self._device))
        if not rows:
            return np.zeros((0, len(self.classes)), np.float32)
        return probabilities(np.concatenate(rows))


def load_classifier(path: Path, device: str = "cpu") -> TransferClassifier:
    """Read a classifier that `camweave train transfer` wrote.

    Raises:
        WeightsUnavailable, WeightsCorrupt: as `read_trained`.
        DeviceUnavailable: when this machine lacks the device.
    """
    return TransferClassifier(read_trained(path), resolve_device(device))


def pack(network: TransferNetwork, about: TrainedClasses) -> bytes:
    """Return a network, and what is to be known of it, as the content of a safetensors file."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    said = {"format": FORMAT, "backbone": network.backbone.name} | asdict(about)
    # One entry: safetensors writes several in any order, and the same weights are to make the same file.
    return safetensors.torch.save(state, {METADATA: json.dumps(said, sort_keys=True)})


def read_trained(path: Path) -> Trained:
    """Read a file that `pack` made, ready to run.

    Raises:
        WeightsUnavailable: when it cannot be read.
        WeightsCorrupt: when it is something else, is damaged, or holds a number that is not finite.
    """
    content = read_weights(
        path, MAX_BYTES, expected="one image classifier", remedy="check the path of the weights"
    )
    remedy = "give a file that `camweave train transfer` of this version wrote"
    try:
        state = safetensors.torch.load(content)
        network, about = _from_metadata(_metadata(content), len(state["last.bias"]))
        network.load_state_dict(state)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, ModelError) as error:
        raise WeightsCorrupt(f"{path} holds no trained classifier: {_one_line(error)}; {remedy}") from error
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsCorrupt(f"{name} in {path} holds a number that is not finite; {remedy}")
    return Trained(network.eval(), about, hashlib.sha256(content).hexdigest())


def predict(
    network: TransferNetwork, pixels_NHW3: NDArray[np.uint8], device: torch.device
) -> NDArray[np.float32]:
    """Return N x C logits of pictures of the network's size; leaves it in evaluation mode."""
    network.eval()
    return np.concatenate(list(_run(network, pixels_NHW3, device)))


def probabilities(logits_NC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return N x C rows that sum to 1."""
    return torch.from_numpy(logits_NC).softmax(1).numpy()


@torch.inference_mode()
def _run(
    network: nn.Module, pixels: Sequence[ImageHW3] | NDArray[np.uint8], device: torch.device
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(pixels), BATCH):
        yield network(to_input(np.asarray(pixels[start : start + BATCH]), device)).float().cpu().numpy()


def _from_metadata(said: dict[str, Any], num_classes: int) -> tuple[TransferNetwork, TrainedClasses]:
    if said["format"] != FORMAT:
        raise ValueError(f"its format is {said['format']!r}, expected {FORMAT!r}")
    classes = tuple(str(name) for name in said["classes"])
    if len(classes) != num_classes:  # checked before so large a layer is made
        raise ValueError(f"it names {len(classes)} classes and holds weights of {num_classes}")
    about = TrainedClasses(classes, int(said["size"]), str(said["start"]), str(said["data"]))
    check(MIN_SIZE <= about.size <= MAX_SIZE, "size", about.size, f"{MIN_SIZE} to {MAX_SIZE} pixels")
    with torch.random.fork_rng(devices=[]):  # random weights are drawn only to be overwritten
        return TransferNetwork(build_backbone(said["backbone"]), len(classes)), about


def _metadata(content: bytes) -> dict[str, Any]:
    """Return the metadata of a safetensors file that has been read already, and so is sound."""
    length = int.from_bytes(content[:8], "little")
    said: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][METADATA])
    return said


def version_of(name: str, digest: str, size: int) -> str:
    """Return a backbone's name, and a digest of its weights' digest and its size."""
    return f"{name}@{hashlib.sha256(f'{digest} {size}'.encode()).hexdigest()[:12]}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
