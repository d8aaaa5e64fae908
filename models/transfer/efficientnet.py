"""Defines EfficientNet-Lite0 up to its features, in named stages, out of the blocks of the re-identification trunk.

Tan and Le, "EfficientNet", ICML 2019; Lite: no squeeze-and-excitation, ReLU6. Its ImageNet weights arrive inside a
package (see `models.reid.trunk`), so that transfer needs no hub.

Legend of shape suffixes: N images, H height, W width, D features.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

from models.reid.trunk import STAGES, STEM_CHANNELS, ConvNorm, InvertedResidual

LAST_STAGES: Final = ((4, 192, 2, 5, 6), (1, 320, 1, 3, 6))
"""Those that the re-identification trunk leaves out; as its `STAGES`."""
DIMENSION: Final = 1280


class EfficientNetLite0(nn.Sequential):
    """Turns N x 3 x H x W into N x 1280 features."""

    def __init__(self) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=ConvNorm(3, STEM_CHANNELS, 3, stride=2))
        channels = STEM_CHANNELS
        for number, (num_blocks, channels_out, stride, kernel, expansion) in enumerate(
            (*STAGES, *LAST_STAGES), start=1
        ):
            stage = nn.Sequential()
            for index in range(num_blocks):
                stage.append(
                    InvertedResidual(channels, channels_out, stride if index == 0 else 1, kernel, expansion)
                )
                channels = channels_out
            layers[f"stage{number}"] = stage
        layers["widen"] = ConvNorm(channels, DIMENSION, 1)
        super().__init__(layers)

    def forward(self, x_N3HW: Tensor) -> Tensor:
        """Return N x D."""
        for layer in self:
            x_N3HW = layer(x_N3HW)
        return x_N3HW.mean((2, 3))
