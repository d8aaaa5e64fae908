"""Runs learn2learn's MAML on the same network, weights and episodes; `scripts/peers.py` has fetched it.

Legend of shape suffixes: T tasks, N examples of a set.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.meta.networks import ConvNet
from models.meta.tasks import TaskBatch

PEERS = Path(".cache/peers")
MISSING = "learn2learn is not there: run python scripts/peers.py"


def peer_maml(module: nn.Module, rate: float) -> Any:
    """Return learn2learn's MAML around a module.

    Raises:
        ModuleNotFoundError: when it has not been fetched.
    """
    folder = str(PEERS.resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    from learn2learn.algorithms.maml import MAML  # type: ignore[import-not-found]  # fetched, not installed

    return MAML(module, lr=rate)


def peer_network(network: ConvNet, parameters: Mapping[str, Tensor]) -> nn.Sequential:
    """Return the same network of torch's layers, with a copy of the same weights."""
    layers: list[nn.Module] = []
    channels = network.channels
    for _ in range(network.layers):
        convolution = nn.Conv2d(channels, network.filters, 3, padding=1, bias=False)
        normalization = nn.BatchNorm2d(network.filters, track_running_stats=False)
        layers += [convolution, normalization, nn.ReLU(), nn.MaxPool2d(2)]
        channels = network.filters
    body, head = nn.Sequential(*layers, nn.Flatten()), nn.Linear(*parameters["head.weight"].shape)
    module = nn.Sequential(body, head).to(parameters["head.weight"].dtype)
    with torch.no_grad():
        for own, weight in zip(module.parameters(), _in_order(network, parameters), strict=True):
            own.copy_(weight)
    return module


def peer_gradients(network: ConvNet, module: nn.Module) -> dict[str, Tensor]:
    """Return the gradients that lie on such a network, by our names and in our shapes."""
    return _by_name(network, [weight.grad for weight in module.parameters() if weight.grad is not None])


def peer_parameters(network: ConvNet, module: nn.Module) -> dict[str, Tensor]:
    """Return the weights of such a network, by our names and in our shapes."""
    return _by_name(network, [weight.detach().clone() for weight in module.parameters()])


def differentiate(maml: Any, batch: TaskBatch, steps: int) -> None:
    """Add up the gradients of a batch, as learn2learn's own examples do: task by task."""
    loss = nn.CrossEntropyLoss()
    for support_x, support_y, query_x, query_y in zip(
        batch.support_x, batch.support_y, batch.query_x, batch.query_y, strict=True
    ):
        learner = maml.clone()
        for _ in range(steps):
            learner.adapt(loss(learner(support_x), support_y))
        loss(learner(query_x), query_y).backward()


def differentiate_head(body: nn.Module, maml: Any, batch: TaskBatch, steps: int) -> None:
    """Add up the gradients of ANIL, as learn2learn's own examples do: the body once a task, over both its sets."""
    loss = nn.CrossEntropyLoss()
    for support_x, support_y, query_x, query_y in zip(
        batch.support_x, batch.support_y, batch.query_x, batch.query_y, strict=True
    ):
        learner = maml.clone()
        support, query = body(support_x), body(query_x)
        for _ in range(steps):
            learner.adapt(loss(learner(support), support_y))
        loss(learner(query), query_y).backward()


def _names(network: ConvNet) -> list[str]:
    layers = range(network.layers)
    body = [
        f"{kind}"
        for layer in layers
        for kind in (f"conv{layer}.weight", f"norm{layer}.scale", f"norm{layer}.shift")
    ]
    return [*body, "head.weight", "head.bias"]


def _in_order(network: ConvNet, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    return [parameters[name].mT if name == "head.weight" else parameters[name] for name in _names(network)]


def _by_name(network: ConvNet, values: list[Tensor]) -> dict[str, Tensor]:
    named = dict(zip(_names(network), values, strict=True))
    return named | {"head.weight": named["head.weight"].mT.contiguous()}
