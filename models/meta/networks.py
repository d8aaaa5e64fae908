"""Runs networks over many tasks at once: plain functions of parameters, which have a leading task axis.

Legend of shape suffixes: T tasks, N examples of a set, C channels or classes, D features, H height, W width,
G channels of all tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from models.meta.convolution import convolve
from models.meta.first_block import Surroundings, convolve_and_pool
from models.meta.normalization import normalize_and_pool

Parameters = Mapping[str, Tensor]
"""By name. Shared ones lack the task axis, adapted ones lead with it."""


class Network(Protocol):
    """Is what the loops need of a network: its stages, as functions of parameters with a leading task axis."""

    @property
    def head_names(self) -> frozenset[str]:
        """Return the names of the parameters that `head` takes."""

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw parameters, without a task axis."""

    def prepare(self, x_TN: Tensor) -> Any:
        """Do what depends on no parameter, once for all steps; what comes of it is for `features` alone."""

    def features(self, parameters: Parameters, prepared: Any) -> Tensor:
        """Return T x N x D features of what `prepare` has made."""

    def head(self, parameters: Parameters, features_TND: Tensor) -> Tensor:
        """Return T x N x C scores."""


def forward(network: Network, parameters: Parameters, prepared: Any) -> Tensor:
    """Return the scores of what `prepare` has made."""
    return network.head(parameters, network.features(parameters, prepared))


def over_tasks(parameters: Parameters, num_tasks: int) -> dict[str, Tensor]:
    """Give shared parameters a task axis, without copying them."""
    return {name: value.expand(num_tasks, *value.shape) for name, value in parameters.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """Maps feature vectors to scores: what the product adapts over a frozen backbone."""

    num_features: int
    ways: int

    @property
    def head_names(self) -> frozenset[str]:
        """Return weight and bias, which are all there is."""
        return frozenset({"head.weight", "head.bias"})

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a head, uniform as `torch.nn.Linear` does, its bias zero."""
        bound = self.num_features**-0.5
        weight_DC = torch.empty(self.num_features, self.ways).uniform_(-bound, bound, generator=generator)
        return {"head.weight": weight_DC, "head.bias": torch.zeros(self.ways)}

    def prepare(self, x_TN: Tensor) -> Tensor:
        """Return the features as they are."""
        return x_TN

    def features(self, parameters: Parameters, prepared: Tensor) -> Tensor:  # noqa: ARG002  # it has no body
        """Return the features as they are."""
        return prepared

    def head(self, parameters: Parameters, features_TND: Tensor) -> Tensor:
        """Return T x N x C scores."""
        return torch.baddbmm(parameters["head.bias"][:, None], features_TND, parameters["head.weight"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Perceptron:
    """Puts one hidden layer of rectified units before a linear head."""

    num_features: int
    num_hidden: int
    ways: int

    @property
    def head_names(self) -> frozenset[str]:
        """Return the names of the last layer."""
        return self._head.head_names

    @property
    def _head(self) -> LinearHead:
        return LinearHead(num_features=self.num_hidden, ways=self.ways)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw both layers; the hidden one as He et al., ICCV 2015."""
        bound = math.sqrt(6 / self.num_features)
        weight = torch.empty(self.num_features, self.num_hidden).uniform_(-bound, bound, generator=generator)
        hidden = {"hidden.weight": weight, "hidden.bias": torch.zeros(self.num_hidden)}
        return hidden | self._head.initial(generator)

    def prepare(self, x_TN: Tensor) -> Tensor:
        """Return the features as they are."""
        return x_TN

    def features(self, parameters: Parameters, prepared: Tensor) -> Tensor:
        """Return the hidden units."""
        return torch.baddbmm(parameters["hidden.bias"][:, None], prepared, parameters["hidden.weight"]).relu()

    def head(self, parameters: Parameters, features_TND: Tensor) -> Tensor:
        """Return T x N x C scores."""
        return self._head.head(parameters, features_TND)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNet:
    """Is the few-shot field's network: blocks of 3 x 3 convolution, normalization, ReLU and pooling, then a head.

    As in Finn et al., ICML 2017, for small square images. Normalization is by the statistics of the task's own
    set, support and query each; convolutions have no bias, since normalization would take it away.
    """

    ways: int
    filters: int = 32
    layers: int = 4
    image_size: int = 28
    channels: int = 1

    @property
    def head_names(self) -> frozenset[str]:
        """Return the names of the last layer."""
        return self._head.head_names

    @property
    def _head(self) -> LinearHead:
        return LinearHead(num_features=self.filters * (self.image_size >> self.layers) ** 2, ways=self.ways)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw convolutions as Glorot & Bengio, AISTATS 2010, with scales of 1 and shifts of 0."""
        parameters = {}
        channels = self.channels
        for layer in range(self.layers):
            bound = math.sqrt(6 / (9 * (channels + self.filters)))
            weights = torch.empty(self.filters, channels, 3, 3).uniform_(-bound, bound, generator=generator)
            parameters[f"conv{layer}.weight"] = weights
            parameters[f"norm{layer}.scale"] = torch.ones(self.filters)
            parameters[f"norm{layer}.shift"] = torch.zeros(self.filters)
            channels = self.filters
        return parameters | self._head.initial(generator)

    def prepare(self, x_TN: Tensor) -> Surroundings:
        """Take images T x N x C x H x W apart, as the first block takes them."""
        return Surroundings.of(x_TN)

    def features(self, parameters: Parameters, prepared: Surroundings) -> Tensor:
        """Return what is left after the last pooling, flattened: T x N x D."""
        x_TNHWC = convolve_and_pool(prepared, *self._block(parameters, 0))
        x_NHWG = x_TNHWC.permute(1, 2, 3, 0, 4).flatten(3)
        for layer in range(1, self.layers):
            weights, scale, shift = self._block(parameters, layer)
            y_NGHW = convolve(x_NHWG.permute(0, 3, 1, 2), weights)
            x_NHWG = normalize_and_pool(y_NGHW.permute(0, 2, 3, 1), scale.flatten(), shift.flatten())
        return torch.unflatten(x_NHWG, 3, (-1, self.filters)).permute(3, 0, 4, 1, 2).flatten(2)

    def _block(self, parameters: Parameters, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        return (
            parameters[f"conv{layer}.weight"],
            parameters[f"norm{layer}.scale"],
            parameters[f"norm{layer}.shift"],
        )

    def head(self, parameters: Parameters, features_TND: Tensor) -> Tensor:
        """Return T x N x C scores."""
        return self._head.head(parameters, features_TND)
