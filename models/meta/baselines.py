"""Makes what meta-learning has to beat: plain fine-tuning, of all or of the last layer, and the nearest centroid.

Each is a learner as the outer loop's are, and so is measured by the same code on the same tasks. Fine-tuning the
last layer of a well-trained network is hard to beat (Wang et al., Frustratingly simple few-shot object detection,
ICML 2020). Legend of shape suffixes: D examples of a data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.meta.inner import InnerLoop
from models.meta.networks import Network, Parameters
from models.meta.outer import OuterConfig, OuterLoop
from models.meta.prototypes import Prototypes
from models.meta.tasks import TaskBatch


def fine_tune(steps: int = 50, rate: float = 0.05) -> InnerLoop:
    """Return the learner that trains all weights on the support set."""
    return InnerLoop(steps=steps, rate=rate, order=1)


def fine_tune_head(steps: int = 50, rate: float = 0.05) -> InnerLoop:
    """Return the learner that trains the last layer on the support set."""
    return InnerLoop(steps=steps, rate=rate, order=1, adapts="head")


def nearest_centroid() -> Prototypes:
    """Return the learner that compares with the mean feature of each class, by cosine."""
    return Prototypes(metric="cosine", scale=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingConfig:
    """Holds the settings of supervised training."""

    iterations: int = 500
    batch_size: int = 64
    rate: float = 1e-3


def pretrain(
    network: Network, x_D: Tensor, y_D: Tensor, config: PretrainingConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Train a network to tell all classes of a data set apart, and return its parameters.

    It is the outer loop without an inner one: each batch is the query set of one task.
    """
    loop = OuterLoop(network, InnerLoop(steps=0), network.initial(generator), OuterConfig(rate=config.rate))
    for _ in range(config.iterations):
        rows = torch.randint(len(y_D), (1, config.batch_size), generator=generator)
        loop.step(TaskBatch(x_D[rows], y_D[rows], x_D[rows], y_D[rows]))
    return loop.parameters


def with_new_head(network: Network, pretrained: Parameters, generator: torch.Generator) -> dict[str, Tensor]:
    """Return pretrained parameters with the head of another network drawn anew."""
    drawn = network.initial(generator)
    return {name: value if name in network.head_names else pretrained[name] for name, value in drawn.items()}
