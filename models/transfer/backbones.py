"""Builds pretrained image classifiers without their last layer, in named stages that can be frozen.

EfficientNet-Lite0, and torchvision's classifiers whose last layer is a linear one.

Legend of shape suffixes: N images, C channels, H height, W width, D features.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final, Self

import torch
import torchvision
from torch import Tensor, nn

from models.checks import check
from models.errors import ModelError
from models.reid import osnet
from models.transfer import efficientnet

EFFICIENTNET_LITE0: Final = "efficientnet-lite0"
RESNET18: Final = "resnet18"
UNSUITED: Final = ("densenet", "googlenet", "inception", "mnasnet", "squeezenet")
"""Of torchvision: no single linear layer at the end, or weights under other names than the network's."""
CONTAINERS: Final = frozenset(
    {"features", "trunk_output", "encoder", "layers", "blocks", "classifier", "heads"}
)
"""Parts of torchvision's networks that are stages in a row rather than one stage."""
IMAGENET_MEAN: Final = (123.675, 116.28, 103.53)
IMAGENET_STD: Final = (58.395, 57.12, 57.375)
"""Red, green, blue of 0 to 255: what torchvision's weights were trained with."""
DEFAULT_SIZE: Final = 224
MIN_SIZE: Final = 48
"""Measured: of pictures of 32 x 32 pixels all features of the pretrained EfficientNet-Lite0 are 0."""
MAX_SIZE: Final = 1024


class Backbone(nn.Module):
    """Turns pixels into features; its first stages can be frozen.

    Args:
        name: as in `backbone_names`.
        body: takes normalised N x 3 x H x W, returns N x D.
        dimension: D.
        replaced: name inside `body` of the last layer that was taken out; empty where there never was one.
    """

    def __init__(self, name: str, body: nn.Module, dimension: int, replaced: str = "") -> None:
        super().__init__()
        self.name = name
        self.body = body
        self.dimension = dimension
        self.replaced = replaced
        self.num_frozen = 0
        self._stages = stages_of(body)
        is_lite = name == EFFICIENTNET_LITE0
        self._mean = (osnet.MEAN,) * 3 if is_lite else IMAGENET_MEAN
        self._std = (osnet.STD,) * 3 if is_lite else IMAGENET_STD

    @property
    def stage_names(self) -> tuple[str, ...]:
        """From the pixels on."""
        return tuple(name for name, _ in self._stages)

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Return N x D features of red, green, blue pixels of 0 to 255."""
        mean_3, std_3 = (
            torch.tensor(values, device=images_N3HW.device).view(3, 1, 1)
            for values in (self._mean, self._std)
        )
        features_ND: Tensor = self.body((images_N3HW - mean_3) / std_3)
        return features_ND

    def freeze(self, num_stages: int) -> None:
        """Keep the weights and the batch statistics of the first so many stages as they are."""
        self.num_frozen = num_stages
        self.requires_grad_(True)
        for module in self._frozen():
            module.requires_grad_(False)
        if num_stages:  # a class token, the embedding of positions: they stand before the first stage
            in_stages = {
                id(weight) for _, parts in self._stages for part in parts for weight in part.parameters()
            }
            for weight in self.parameters():
                if id(weight) not in in_stages:
                    weight.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is not frozen."""
        all_frozen = self.num_frozen == len(self._stages)  # then dropout between the stages rests too
        super().train(mode and not all_frozen)
        for module in self._frozen():
            module.eval()
        return self

    def _frozen(self) -> list[nn.Module]:
        return [part for _, parts in self._stages[: self.num_frozen] for part in parts]


def backbone_names() -> tuple[str, ...]:
    """Return the names of all backbones."""
    named = torchvision.models.list_models(module=torchvision.models)
    return (EFFICIENTNET_LITE0, *(name for name in named if not name.startswith(UNSUITED)))


def check_backbone(name: str) -> None:
    """Refuse a name that no backbone has.

    Raises:
        ModelError: names the nearest.
    """
    if name not in (names := backbone_names()):
        raise ModelError(f"unknown backbone {name!r}; {_nearest(name, names)}")


def build_backbone(name: str) -> Backbone:
    """Build a backbone with random weights, drawn from torch's generator.

    Raises:
        ModelError: when there is none of that name.
    """
    check_backbone(name)
    if name == EFFICIENTNET_LITE0:
        return Backbone(name, efficientnet.EfficientNetLite0(), efficientnet.DIMENSION)
    body: nn.Module = torchvision.models.get_model(name, weights=None)
    last, layer = _last_linear(body)
    body.set_submodule(last, nn.Identity())
    return Backbone(name, body, layer.in_features, replaced=last)


def load_published(backbone: Backbone, state: dict[str, Tensor]) -> None:
    """Copy torchvision's published weights, without their last layer, into a backbone.

    Raises:
        RuntimeError: when they belong to another network.
    """
    dropped = f"{backbone.replaced}."
    backbone.body.load_state_dict(
        {name: value for name, value in state.items() if not name.startswith(dropped)}
    )


def published_size(name: str) -> int:
    """Return the side of the square, in pixels, that a backbone's published weights were measured at."""
    if name == EFFICIENTNET_LITE0:
        return DEFAULT_SIZE
    sides = torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size
    return int(sides[0])


def check_size(size: int) -> None:
    """Refuse a side of the pictures that makes no sense; 0 stands for the published one.

    Raises:
        ModelError: unless it is 0 or between the bounds.
    """
    check(size == 0 or MIN_SIZE <= size <= MAX_SIZE, "size", size, f"0, or {MIN_SIZE} to {MAX_SIZE} pixels")


def parse_freeze(freeze: str, stages: Sequence[str]) -> int:
    """Return how many of the named stages are frozen: `all`, `none`, a number, or the name of the last one frozen.

    Raises:
        ModelError: when it is none of these; names the nearest stage.
    """
    if freeze in ("all", "none"):
        return len(stages) if freeze == "all" else 0
    if freeze in stages:
        return stages.index(freeze) + 1
    if freeze.isdecimal() and int(freeze) <= len(stages):
        return int(freeze)
    raise ModelError(
        f"freeze is {freeze!r}, expected all, none, 0 to {len(stages)}, or the last stage to freeze; "
        f"{_nearest(freeze, stages)}"
    )


def stages_of(body: nn.Module) -> list[tuple[str, list[nn.Module]]]:
    """List the parts of a network that hold weights, from the pixels on; a norm belongs to what it comes after."""
    stages: list[tuple[str, list[nn.Module]]] = []
    for name, module in _unfolded(body, ""):
        if stages and isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm):
            stages[-1][1].append(module)
        else:
            stages.append((name, [module]))
    return stages


def _unfolded(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    parts: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        if not any(True for _ in child.parameters()):
            continue
        if name in CONTAINERS:
            parts += _unfolded(child, f"{prefix}{name}.")
        else:
            parts.append((f"{prefix}{name}", child))
    return parts


def _last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    name, layer = [pair for pair in network.named_modules() if isinstance(pair[1], nn.Linear)][-1]
    assert isinstance(layer, nn.Linear)
    return name, layer


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
