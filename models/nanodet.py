"""Defines NanoDet-g, a one-stage anchor-free detector, and loads its published COCO weights.

The architecture follows RangiLyu's NanoDet (CSP backbone without focus, PAN neck, one shared-nothing head a
stride). Boxes are regressed as discrete distributions over distances: Li et al., "Generalized Focal Loss:
Learning Qualified and Distributed Bounding Boxes for Dense Object Detection", NeurIPS 2020 (arXiv 2006.04388).

Legend of shape suffixes: N images, H height, W width, C classes, A cells of all strides, B = 4 sides x 11 bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import WeightsCorrupt

STRIDES: Final = (8, 16, 32)
NUM_BINS: Final = 11
HIDDEN_CHANNELS: Final = 128
"""Features of a cell that its class and box are predicted from."""
SIZE_MULTIPLE: Final = STRIDES[-1]
MEAN_BGR: Final = (103.53, 116.28, 123.675)
STD_BGR: Final = (57.375, 57.12, 58.395)
NEGATIVE_SLOPE: Final = 0.1
GRAPH: Final = 1
"""Raise it whenever `NanoDetPredictor` computes something else: cached exports are named by it."""
NANODET_RANGES: Final = Path(__file__).with_name("nanodet_ranges.json")
"""What the 8-bit form is made with; `scripts/calibrate.py` measures it."""

COCO_CLASSES: Final = tuple(
    """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
    parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,
    suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,
    tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,
    hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,
    cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,
    toothbrush""".replace("\n    ", "").split(",")
)


class ConvAct(nn.Sequential):
    """Convolves 3 x 3 and rectifies leakily; batch normalisation is already folded into the bias."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        )


class Block(nn.Module):
    """Halves the channels twice in a row and keeps both halves, latest first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvAct(channels, channels // 2)
        self.second = ConvAct(channels // 2, channels // 2)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features of the shape that came in."""
        first = self.first(x_NCHW)
        return torch.cat((self.second(first), first), dim=1)


class Stage(nn.Module):
    """Passes features through blocks and joins them with what came in (cross stage partial), doubling channels."""

    def __init__(self, channels: int, num_blocks: int, stride: int) -> None:
        super().__init__()
        self.entry = ConvAct(channels, channels, stride)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(num_blocks)))
        self.exit = ConvAct(channels, channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N x 2C x H/stride x W/stride."""
        entry = self.entry(x_NCHW)
        return torch.cat((self.exit(self.blocks(entry)), entry), dim=1)


class PathAggregation(nn.Module):
    """Mixes the three scales top-down, then bottom-up (Liu et al., PANet, CVPR 2018), by resizing and adding."""

    def __init__(self, channels_in: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in channels_in)

    def forward(self, c8: Tensor, c16: Tensor, c32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features at strides 8, 16 and 32, all with the same number of channels."""
        p8, p16, p32 = (lateral(c) for lateral, c in zip(self.laterals, (c8, c16, c32), strict=True))
        p16 = p16 + _double(p32)
        p8 = p8 + _double(p16)
        p16 = p16 + _halve(p8)
        p32 = p32 + _halve(p16)
        return p8, p16, p32


class NanoDet(nn.Module):
    """Predicts, for each cell of three grids, class logits and the distribution of the distances to a box's sides.

    Takes raw pixels: N x 3 x H x W, blue green red, 0 to 255, H and W multiples of 32. The normalisation that the
    weights were trained with is part of the network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_classes: int = len(COCO_CLASSES)) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD_BGR).view(1, 3, 1, 1), persistent=False)
        self.stem = ConvAct(3, 32, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage4 = Stage(32, num_blocks=1, stride=1)
        self.stage8 = Stage(64, num_blocks=2, stride=2)
        self.stage16 = Stage(128, num_blocks=2, stride=2)
        self.stage32 = Stage(256, num_blocks=3, stride=2)
        self.neck = PathAggregation((128, 256, 512), 128)
        outputs = num_classes + 4 * NUM_BINS
        self.heads = nn.ModuleList(
            nn.Sequential(ConvAct(128, HIDDEN_CHANNELS), nn.Conv2d(HIDDEN_CHANNELS, outputs, 1))
            for _ in STRIDES
        )

    @property
    def output_convolutions(self) -> list[nn.Conv2d]:
        """The convolutions that predict: what they give out is read as it is, so it wants all its digits."""
        return [module for head in self.heads for module in head.children() if isinstance(module, nn.Conv2d)]

    def forward(self, images_N3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits N x C x A and distance logits N x B x A; cells run by stride, then row, then column."""
        return self.predict(self.hidden(images_N3HW))

    def hidden(self, images_N3HW: Tensor) -> list[Tensor]:
        """Return, by stride, N x D x H/stride x W/stride: what the convolutions that predict read."""
        x = (images_N3HW - self.mean) / self.std
        c8 = self.stage8(self.stage4(self.pool(self.stem(x))))
        c16 = self.stage16(c8)
        levels = self.neck(c8, c16, self.stage32(c16))
        return [next(head.children())(p) for head, p in zip(self.heads, levels, strict=True)]

    def predict(self, hidden: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits of what `hidden` returned; as `forward`."""
        pairs = zip(self.output_convolutions, hidden, strict=True)
        out = torch.cat([convolution(h).flatten(2) for convolution, h in pairs], dim=2)
        return out[:, : self.num_classes], out[:, self.num_classes :]


class NanoDetPredictor(nn.Module):
    """Turns 8-bit pixels into boxes and scores, for one input size; the same module runs in torch and as ONNX.

    The network inside may be in half precision; boxes and scores are computed and returned in single.
    """

    outputs: tuple[str, ...] = ("boxes", "scores")
    """Names of what it returns."""
    suffix: str = ""
    """Tells its exports from those of its kin."""

    grid_3A: Tensor
    size_2: Tensor
    bins: Tensor

    def __init__(self, network: NanoDet, height: int, width: int) -> None:
        super().__init__()
        assert height % SIZE_MULTIPLE == width % SIZE_MULTIPLE == 0, (height, width)
        self.network = network
        self.register_buffer("grid_3A", torch.from_numpy(cell_grid(height, width).T.copy()), persistent=False)
        self.register_buffer("size_2", torch.tensor([width, height]).float().view(2, 1), persistent=False)
        self.register_buffer("bins", torch.arange(NUM_BINS).float().view(NUM_BINS, 1), persistent=False)

    def forward(self, images_NHW3: Tensor, labels_K: Tensor) -> tuple[Tensor, ...]:
        """Return boxes N x 4 x A (left, top, right, bottom, relative) and scores N x K x A of the given classes."""
        logits_NCA, bins_NBA = self.network(self._pixels(images_NHW3))
        scores_NKA = torch.sigmoid(logits_NCA.index_select(1, labels_K).float())
        return self._boxes(bins_NBA), scores_NKA

    def _pixels(self, images_NHW3: Tensor) -> Tensor:
        # A permuted view of N x H x W x 3 is exactly channels-last.
        return images_NHW3.permute(0, 3, 1, 2).to(self.network.mean.dtype)

    def _boxes(self, bins_NBA: Tensor) -> Tensor:
        weights = torch.softmax(torch.unflatten(bins_NBA.float(), 1, (4, NUM_BINS)), dim=2)
        distances_N4A = (weights * self.bins).sum(dim=2) * self.grid_3A[2]
        centres_2A = self.grid_3A[:2]
        corners = (centres_2A - distances_N4A[:, :2], centres_2A + distances_N4A[:, 2:])
        return torch.cat([corner / self.size_2 for corner in corners], dim=1)


class NanoDetFeaturePredictor(NanoDetPredictor):
    """Gives out, beside boxes and scores, what heads for taught classes read (see `models.fewshot.detection`)."""

    outputs = ("boxes", "scores", "objectness", "hidden")
    suffix = "-features"

    def forward(self, images_NHW3: Tensor, labels_K: Tensor) -> tuple[Tensor, ...]:
        """Return boxes N x 4 x A, scores N x K x A, objectness N x A and hidden features N x D x A.

        A cell's objectness is its best score for any class that the network knows.
        """
        levels = self.network.hidden(self._pixels(images_NHW3))
        logits_NCA, bins_NBA = self.network.predict(levels)
        scores_NKA = torch.sigmoid(logits_NCA.index_select(1, labels_K).float())
        objectness_NA = torch.sigmoid(logits_NCA.amax(dim=1).float())
        hidden_NDA = torch.cat([level.flatten(2) for level in levels], dim=2).float()
        return self._boxes(bins_NBA), scores_NKA, objectness_NA, hidden_NDA


def cell_grid(height: int, width: int) -> NDArray[np.float32]:
    """Return A x 3: centre x, centre y and stride, in pixels of the network's input, of every cell."""
    levels = []
    for stride in STRIDES:
        y, x = np.mgrid[0 : height // stride, 0 : width // stride].reshape(2, -1) * stride
        levels.append(np.stack([x + stride / 2, y + stride / 2, np.full(x.size, stride)], axis=1))
    return np.concatenate(levels).astype(np.float32)


def load_tfjs(network: NanoDet, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy the published weights into `network`.

    Raises:
        WeightsCorrupt: when a tensor is missing, has another shape, or is not finite.
    """
    for conv, (kernel, bias) in zip(convolutions(network), _tfjs_names(), strict=True):
        try:
            weight_OIHW = np.ascontiguousarray(tensors[kernel].transpose(3, 2, 0, 1))
            bias_O = tensors[bias]
        except (KeyError, ValueError) as error:
            raise WeightsCorrupt(
                f"these are not NanoDet's weights: {kernel} and {bias}: {error!r}"
            ) from error
        if weight_OIHW.shape != tuple(conv.weight.shape) or bias_O.shape != (conv.out_channels,):
            raise WeightsCorrupt(
                f"{kernel} and {bias} have shapes {weight_OIHW.shape} and {bias_O.shape}, "
                f"expected {tuple(conv.weight.shape)} and {(conv.out_channels,)}"
            )
        if not (np.isfinite(weight_OIHW).all() and np.isfinite(bias_O).all()):
            raise WeightsCorrupt(f"{kernel} or {bias} holds a number that is not finite")
        with torch.no_grad():
            conv.weight.copy_(torch.from_numpy(weight_OIHW))
            assert conv.bias is not None
            conv.bias.copy_(torch.from_numpy(bias_O))


def convolutions(network: NanoDet) -> Iterator[nn.Conv2d]:
    """Yield the convolutions in the order in which the published graph numbers them, which is that of definition."""
    return (module for module in network.modules() if isinstance(module, nn.Conv2d))


def _tfjs_names() -> Iterator[tuple[str, str]]:
    """Yield the names of kernel and bias of the graph's 34 convolutions.

    Biases are numbered by twos; the heads' skip the numbers that the converter gave to reshape constants.
    """
    biases = [*range(0, 56, 2), 60, 62, 66, 68, 70, 72]
    for index, bias in enumerate(biases):
        suffix = f"_{index}" if index else ""
        yield f"PartitionedCall/split{suffix}", f"unknown_{bias}"


def _double(x_NCHW: Tensor) -> Tensor:
    return F.interpolate(x_NCHW, scale_factor=2.0, mode="bilinear", align_corners=False)


def _halve(x_NCHW: Tensor) -> Tensor:
    """Halve by bilinear sampling at half-pixel centres, which for even sizes is the mean of 2 x 2."""
    return F.avg_pool2d(x_NCHW, 2)
