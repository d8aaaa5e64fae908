"""Defines the re-identification network: a small trunk, then omni-scale blocks, then one unit vector a crop.

Omni-scale blocks after Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019 (arXiv
1905.00953): streams of one to four light 3 x 3 convolutions see the same features at four scales, and one gate,
shared by the streams, weighs their channels. The first block normalises its output by instance too, which takes a
camera's style out (Zhou et al., "Learning Generalisable Omni-Scale Representations", TPAMI 2021). Pooling by
generalised mean (Radenovic et al., TPAMI 2018), and a batch-normalised neck between the metric and the identity loss
(Luo et al., "Bag of Tricks", CVPR-W 2019).

Legend of shape suffixes: N images, C channels, H height, W width, D embedding.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reid.trunk import TRUNK_CHANNELS, TRUNK_STRIDE, ConvNorm, Trunk

MEAN: Final = 127.0
STD: Final = 128.0
"""Of all three channels: what the published trunk was trained with."""
INPUT_SIZE: Final = (128, 64)
"""Height and width, in pixels: those of Market-1501's crops."""
DIMENSION: Final = 256
GRAPH: Final = 1
"""Raise it whenever `OmniScaleNetwork` or the resizing computes something else: versions and cached exports carry it."""
NUM_STREAMS: Final = 4
BOTTLENECK: Final = 4
"""Channels of a block to channels of its streams."""
GATE_REDUCTION: Final = 16
INITIAL_POWER: Final = 3.0
POOLING_FLOOR: Final = 1e-4
"""Below it the gradient of a power runs away."""


class LightConv(nn.Sequential):
    """Mixes channels at each cell, then filters each channel in space: a 3 x 3 convolution at a ninth of its cost."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class ChannelGate(nn.Module):
    """Weighs each channel by what all cells hold together (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // GATE_REDUCTION, 4)
        self.narrow = nn.Conv2d(channels, inner, 1)
        self.widen = nn.Conv2d(inner, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features of the shape that came in."""
        mean_NC11 = x_NCHW.mean(dim=(2, 3), keepdim=True)
        return x_NCHW * torch.sigmoid(self.widen(F.relu(self.narrow(mean_NC11))))


class OmniScaleBlock(nn.Module):
    """Sees its input at receptive fields of 3, 5, 7 and 9 cells at once and adds the gated views to it."""

    def __init__(self, channels_in: int, channels_out: int, *, by_instance: bool = False) -> None:
        super().__init__()
        inner = channels_out // BOTTLENECK
        self.narrow = ConvNorm(channels_in, inner, 1)
        self.streams = nn.ModuleList(
            nn.Sequential(*(LightConv(inner) for _ in range(depth))) for depth in range(1, NUM_STREAMS + 1)
        )
        self.gate = ChannelGate(inner)
        self.widen = ConvNorm(inner, channels_out, 1, linear=True)
        self.instance_norm = nn.InstanceNorm2d(channels_out, affine=True) if by_instance else nn.Identity()
        self.shortcut = (
            nn.Identity()
            if channels_in == channels_out
            else ConvNorm(channels_in, channels_out, 1, linear=True)
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N x C x H x W."""
        narrow_NCHW = self.narrow(x_NCHW)
        first, *others = [self.gate(stream(narrow_NCHW)) for stream in self.streams]
        widened_NCHW = self.instance_norm(self.widen(sum(others, start=first)))
        return F.relu(widened_NCHW + self.shortcut(x_NCHW))


class GeneralisedMean(nn.Module):
    """Pools cells by a learned power mean: 1 is the mean, infinity the maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(INITIAL_POWER))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N x C."""
        powered_NCHW = x_NCHW.clamp(min=POOLING_FLOOR).pow(self.power)
        return powered_NCHW.mean(dim=(2, 3)).pow(1 / self.power)


class OmniScaleNetwork(nn.Module):
    """Describes a person by D numbers; takes raw pixels, N x 3 x H x W, red green blue, 0 to 255.

    H and W are multiples of 16. The normalisation of pixels is part of the network.
    """

    def __init__(self, dimension: int = DIMENSION) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.blocks = nn.Sequential(
            OmniScaleBlock(TRUNK_CHANNELS, dimension, by_instance=True),
            OmniScaleBlock(dimension, dimension),
            ConvNorm(dimension, dimension, 1, linear=True),
        )
        self.pool = GeneralisedMean()
        self.neck = nn.BatchNorm1d(dimension)
        self.neck.bias.requires_grad_(False)  # identities are told apart by direction, as in the paper

    def pooled(self, images_N3HW: Tensor) -> Tensor:
        """Return N x D features before the neck, which distances are learned on."""
        assert images_N3HW.shape[2] % TRUNK_STRIDE == images_N3HW.shape[3] % TRUNK_STRIDE == 0
        return self.pooled_from(normalise(images_N3HW))

    def pooled_from(self, x_NCHW: Tensor, first_layer: int = 0) -> Tensor:
        """Return N x D features of what comes into a layer of the trunk, by default of normalised pixels."""
        for layer in list(self.trunk)[first_layer:]:
            x_NCHW = layer(x_NCHW)
        pooled_ND: Tensor = self.pool(F.relu(self.blocks(x_NCHW)))
        return pooled_ND

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Return N x D rows of unit length."""
        return F.normalize(self.neck(self.pooled(images_N3HW)).float(), dim=1)


def normalise(images_N3HW: Tensor) -> Tensor:
    """Bring pixels from 0..255 to what the trunk was trained with."""
    return (images_N3HW - MEAN) / STD
