"""Learns the initialization that tasks start from: one meta-iteration a call, so that a server can do others between.

Legend of shape suffixes: T tasks, M examples of a query set, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.meta.inner import InnerLoop, Loss, cross_entropy
from models.meta.networks import Network, Parameters
from models.meta.tasks import IGNORED, TaskBatch


class Learner(Protocol):
    """Is what is done with a support set: `InnerLoop`, `Prototypes`."""

    def query_scores(self, network: Network, parameters: Parameters, batch: TaskBatch) -> Tensor:
        """Learn from support sets and return the scores of query sets: T x M x C."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Says how tasks of a meta-iteration went before its update, on their query sets."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterConfig:
    """Holds the settings of an outer loop."""

    rate: float = 1e-3
    """Adam's (Kingma & Ba, ICLR 2015)."""
    tasks_at_once: int = 16
    """Tasks that are differentiated together; fewer take less memory, more keep a device busier."""
    loss: Loss = cross_entropy


class OuterLoop:
    """Learns shared parameters by Adam on the query loss after a learner has seen the support sets."""

    def __init__(
        self, network: Network, learner: Learner, parameters: Parameters, config: OuterConfig | None = None
    ) -> None:
        self._network = network
        self._learner = learner
        self._config = config or OuterConfig()
        self._leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
        self._adam = torch.optim.Adam(self._leaves.values(), self._config.rate)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return a copy of what has been learned."""
        return {name: value.detach().clone() for name, value in self._leaves.items()}

    def step(self, batch: TaskBatch) -> Progress:
        """Run one meta-iteration."""
        self._adam.zero_grad()
        loss_T, accuracy_T = zip(
            *map(self._differentiate, batch.split(self._config.tasks_at_once)), strict=True
        )
        for leaf in self._leaves.values():
            if leaf.grad is not None:
                leaf.grad /= len(batch)
        self._adam.step()
        return Progress(float(torch.cat(loss_T).mean()), float(torch.cat(accuracy_T).mean()))

    def _differentiate(self, batch: TaskBatch) -> tuple[Tensor, Tensor]:
        scores = self._learner.query_scores(self._network, self._leaves, batch)
        loss_T = self._config.loss(scores, batch.query_y)
        loss_T.sum().backward()  # type: ignore[no-untyped-call]  # torch's backward is untyped
        return loss_T.detach(), accuracy(scores, batch.query_y)


class Reptile:
    """Learns shared parameters by moving them towards the adapted ones (Nichol et al., arXiv 2018)."""

    def __init__(self, network: Network, inner: InnerLoop, parameters: Parameters, rate: float = 0.1) -> None:
        self._network = network
        self._inner = inner
        self._rate = rate
        self.parameters = {name: value.detach().clone() for name, value in parameters.items()}

    def step(self, batch: TaskBatch) -> None:
        """Run one meta-iteration; support and query sets are one set to it."""
        x_TN = torch.cat([batch.support_x, batch.query_x], 1)
        y_TN = torch.cat([batch.support_y, batch.query_y], 1)
        adapted = self._inner.adapt(self._network, self.parameters, x_TN, y_TN)
        for name, value in self.parameters.items():
            value.lerp_(adapted[name].detach().mean(0), self._rate)


def accuracy(scores_TMC: Tensor, y_TM: Tensor) -> Tensor:
    """Return the share of right answers of each task, over the rows that are not `IGNORED`: T."""
    is_right = scores_TMC.argmax(-1) == y_TM
    return is_right.sum(1) / (y_TM != IGNORED).sum(1)


def evaluate(network: Network, learner: Learner, parameters: Parameters, batch: TaskBatch) -> Tensor:
    """Return a learner's accuracy on each task, T; nothing is differentiated beyond what it needs itself."""
    frozen: Mapping[str, Tensor] = {name: value.detach() for name, value in parameters.items()}
    with torch.no_grad():
        parts = [
            accuracy(learner.query_scores(network, frozen, part), part.query_y) for part in batch.split(16)
        ]
    return torch.cat(parts)
