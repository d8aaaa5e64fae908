"""Adapts a network to tasks by a few steps of gradient descent, through which the outer loop can differentiate.

MAML (Finn et al., ICML 2017), ANIL (Raghu et al., ICLR 2020) and Meta-SGD (Li et al., arXiv 2017) are settings of
one loop. Legend of shape suffixes: T tasks, N examples of a set, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.checks import check
from models.meta.networks import Network, Parameters, forward, over_tasks
from models.meta.tasks import IGNORED, TaskBatch

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps scores T x N x C and labels T x N to a loss a task, T."""

RATE = "rate."
"""Before a parameter's name: its learned rates."""


def cross_entropy(scores_TNC: Tensor, y_TN: Tensor) -> Tensor:
    """Return a task's mean cross-entropy over the rows that are not `IGNORED`: T."""
    loss_TN = F.cross_entropy(scores_TNC.mT, y_TN, reduction="none", ignore_index=IGNORED)
    return loss_TN.sum(1) / (y_TN != IGNORED).sum(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerLoop:
    """Adapts by gradient descent on the support set.

    Raises:
        ModelError: when a setting is out of its range.
    """

    steps: int = 5
    """With none, it is plain training on query sets."""
    rate: float = 0.4
    """Of a step; where rates are learned, what they start from."""
    order: Literal[1, 2] = 2
    """Of the derivatives that the outer loop sees: 1 takes the inner gradients for constants."""
    adapts: Literal["all", "head"] = "all"
    """Parameters that a task changes: all (MAML), or the head alone over features taken once (ANIL)."""
    rates: Literal["fixed", "learned"] = "fixed"
    """Learned: the outer loop learns a rate for each single weight (Meta-SGD)."""
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        check(self.steps >= 0, "steps", self.steps, "at least 0")
        check(self.rate > 0, "rate", self.rate, "more than 0")
        check(self.order in (1, 2), "order", self.order, "1 or 2")

    def initial(self, network: Network, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw what the outer loop learns: a network's parameters, and rates where they are learned."""
        parameters = network.initial(generator)
        if self.rates == "learned":
            names = self._adapted(network, parameters)
            parameters |= {RATE + name: torch.full_like(parameters[name], self.rate) for name in names}
        return parameters

    def adapt(
        self, network: Network, parameters: Parameters, x_TN: Tensor, y_TN: Tensor
    ) -> dict[str, Tensor]:
        """Return parameters with a task axis, adapted to support sets."""
        fast = over_tasks(parameters, len(x_TN))
        return self._descend(network, fast, self._inputs(network, fast, x_TN), y_TN)

    def query_scores(self, network: Network, parameters: Parameters, batch: TaskBatch) -> Tensor:
        """Adapt to support sets and return the scores of query sets: T x M x C."""
        fast = over_tasks(parameters, len(batch))
        adapted = self._descend(network, fast, self._inputs(network, fast, batch.support_x), batch.support_y)
        return self._forward(network)(adapted, self._inputs(network, fast, batch.query_x))

    def _descend(
        self, network: Network, fast: dict[str, Tensor], inputs: Any, y_TN: Tensor
    ) -> dict[str, Tensor]:
        names = self._adapted(network, fast)
        scores = self._forward(network)
        with torch.enable_grad():
            fast = fast | {name: _differentiable(fast[name]) for name in names}
            for _ in range(self.steps):
                loss = self.loss(scores(fast, inputs), y_TN).sum()
                gradients = torch.autograd.grad(
                    loss, [fast[name] for name in names], create_graph=self.order == 2
                )
                for name, gradient in zip(names, gradients, strict=True):
                    fast[name] = self._moved(fast[name], gradient, fast.get(RATE + name))
        return fast

    def _moved(self, value: Tensor, gradient: Tensor, rate: Tensor | None) -> Tensor:
        if rate is None:
            return torch.sub(value, gradient, alpha=self.rate)
        return torch.addcmul(value, rate, gradient, value=-1)

    def _adapted(self, network: Network, parameters: Parameters) -> list[str]:
        names = network.head_names if self.adapts == "head" else parameters
        return sorted(name for name in names if not name.startswith(RATE))

    def _inputs(self, network: Network, parameters: Parameters, x_TN: Tensor) -> Any:
        """Do once what no step changes: all of the body where only the head adapts."""
        prepared = network.prepare(x_TN)
        return network.features(parameters, prepared) if self.adapts == "head" else prepared

    def _forward(self, network: Network) -> Callable[[Parameters, Any], Tensor]:
        return network.head if self.adapts == "head" else partial(forward, network)


def _differentiable(value: Tensor) -> Tensor:
    """Return it as part of the graph that it is in, or else as the start of one."""
    return value if value.requires_grad else value.detach().requires_grad_()
