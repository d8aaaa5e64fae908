"""Learns a class from a few crops: by the learned rule, by plain gradient descent, or from means.

A crop is an embedding of unit length; a class is one logit over it (see `models.fewshot.classes`). What is meta-learned
is the bias that it starts from, and how fast weight and bias learn: Meta-SGD (Li et al., arXiv 1707.09835) with one rate
for all weights. A start or a rate for each of the weights was measured to do harm: it learns the classes seen so far
by heart, and the next one worse.

Legend of shape suffixes: N crops, D embedding, T tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.fewshot.classes import ClassHead
from models.meta.inner import RATE, InnerLoop
from models.meta.networks import LinearHead, Network, Parameters
from models.meta.outer import OuterConfig, OuterLoop
from models.meta.prototypes import Prototypes
from models.meta.tasks import Task, TaskBatch

STEPS: Final = 5
"""Of the inner loop."""
LENGTH: Final = 4.0
"""What embeddings are stretched to while learning, so that one outer rate suits all that is learned."""
FIRST_WEIGHT_RATE: Final = 1.06
FIRST_BIAS_RATE: Final = 0.0
FIRST_BIAS: Final = -0.48
"""What the outer loop made of colours of clothes of Market-1501's people (see docs/learning.md): most crops are not of
the class that is taught."""
FINE_TUNE_STEPS: Final = 200
FINE_TUNE_RATE: Final = 0.5
PROTOTYPE_SCALE: Final = 10.0 / LENGTH**2
OUTER_STEPS: Final = 60
OUTER_RATE: Final = 0.02
TASKS_A_STEP: Final = 8

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class ClassExamples:
    """Holds crops of one class, and of what is not of it.

    Raises:
        ModelError: when either is missing, shapes differ, or a number is not finite.
    """

    embeddings_ND: NDArray[np.float32]
    is_member_N: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.embeddings_ND)
        if self.embeddings_ND.ndim != 2 or self.is_member_N.shape != (n,):
            raise ModelError(
                f"embeddings {self.embeddings_ND.shape} and flags {self.is_member_N.shape} do not fit"
            )
        if not np.isfinite(self.embeddings_ND).all():
            raise ModelError("an embedding of a crop that was taught holds a number that is not finite")
        if n == 0 or self.is_member_N.all() or not self.is_member_N.any():
            raise ModelError(
                f"of {n} crops {int(self.is_member_N.sum())} are of the class; expected some that are and some that are not"
            )


def balanced_loss(scores_TN1: Tensor, y_TN: Tensor) -> Tensor:
    """Return the logistic loss of each task, T, members and others weighing the same however many they are."""
    logits_TN = scores_TN1[..., 0]
    is_member_TN, is_other_TN = (y_TN == 1).float(), (y_TN == 0).float()
    weight_TN = is_member_TN / is_member_TN.sum(1, keepdim=True).clamp_min(1)
    weight_TN = weight_TN + is_other_TN / is_other_TN.sum(1, keepdim=True).clamp_min(1)
    sign_TN = 2 * is_member_TN - 1
    return (0.5 * weight_TN * F.softplus(-sign_TN * logits_TN)).sum(1)


META_SGD: Final = InnerLoop(steps=STEPS, rate=FIRST_WEIGHT_RATE, rates="learned", loss=balanced_loss)
_PLAIN: Final = InnerLoop(steps=FINE_TUNE_STEPS, rate=FINE_TUNE_RATE, order=1, loss=balanced_loss)


class _WithoutOpinion:
    """Is Meta-SGD that starts from a weight of zero, which is not learned."""

    def query_scores(self, network: Network, parameters: Parameters, batch: TaskBatch) -> Tensor:
        """Learn from support sets and return the scores of query sets: T x M x 1."""
        return META_SGD.query_scores(network, _from_zero(parameters, batch.support_x.shape[2]), batch)


def first_initialization() -> dict[str, NDArray[np.float32]]:
    """Return where learning starts before anything was taught at a site."""
    return {
        "bias": np.array([FIRST_BIAS], np.float32),
        "rates": np.array([FIRST_WEIGHT_RATE, FIRST_BIAS_RATE], np.float32),  # of weight and bias
    }


def learn_class(examples: ClassExamples, method: str, initialization: Arrays) -> ClassHead:
    """Learn a class by `meta`, `fine-tune` or `prototypes`."""
    x_1ND = LENGTH * torch.from_numpy(examples.embeddings_ND)[None]
    y_1N = torch.from_numpy(examples.is_member_N.astype(np.int64))[None]
    network = LinearHead(num_features=x_1ND.shape[2], ways=1)
    if method == "prototypes":
        weight_1D2, bias_12 = Prototypes(scale=PROTOTYPE_SCALE).affine(x_1ND, y_1N)
        return _head(weight_1D2[0, :, 1] - weight_1D2[0, :, 0], bias_12[0, 1] - bias_12[0, 0])
    inner, start = _PLAIN, {"head.bias": torch.zeros(1)}
    if method == "meta":
        inner, start = META_SGD, _parameters(initialization)
    adapted = inner.adapt(network, _from_zero(start, network.num_features), x_1ND, y_1N)
    return _head(adapted["head.weight"][0, :, 0], adapted["head.bias"][0, 0])


def balanced_accuracy(head: ClassHead, asked: ClassExamples) -> float:
    """Return the mean of the shares of members and of others that are told right."""
    named_N = head.logits(asked.embeddings_ND) >= 0
    return float(named_N[asked.is_member_N].mean() + (~named_N[~asked.is_member_N]).mean()) / 2


def fold_classes(
    initialization: Arrays, tasks: Sequence[ClassExamples], rng: np.random.Generator
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Fold tasks into the initialization, a slice of a few meta-iterations at a time; yields what it is after each.

    Each draw splits a task's examples at random into those learned from and those asked for.
    """
    network = LinearHead(num_features=tasks[0].embeddings_ND.shape[1], ways=1)
    outer = OuterLoop(
        network,
        _WithoutOpinion(),
        _parameters(initialization),
        OuterConfig(rate=OUTER_RATE, loss=balanced_loss),
    )
    for step in range(OUTER_STEPS):
        drawn = [_split(tasks[int(rng.integers(len(tasks)))], rng) for _ in range(TASKS_A_STEP)]
        outer.step(TaskBatch.of(drawn))
        if step % 10 == 9:
            yield _arrays(outer.parameters)


def _split(examples: ClassExamples, rng: np.random.Generator) -> Task:
    """Share out a task's examples; a class of one crop is both learned from and asked for."""
    support: list[int] = []
    query: list[int] = []
    for is_member in (True, False):
        rows = rng.permutation(np.flatnonzero(examples.is_member_N == is_member)).tolist()
        num = int(rng.integers(1, max(len(rows) // 2, 1) + 1))
        support += rows[:num]
        query += rows[num:] or rows
    x_ND = LENGTH * torch.from_numpy(examples.embeddings_ND)
    y_N = torch.from_numpy(examples.is_member_N.astype(np.int64))
    return Task(x_ND[support], y_N[support], x_ND[query], y_N[query])


def _from_zero(parameters: Parameters, num_features: int) -> dict[str, Tensor]:
    return {"head.weight": torch.zeros(num_features, 1), **parameters}


def _parameters(arrays: Arrays) -> dict[str, Tensor]:
    rates = torch.tensor(np.asarray(arrays["rates"]))
    return {
        "head.bias": torch.tensor(np.asarray(arrays["bias"])),
        RATE + "head.weight": rates[0].reshape(1, 1), RATE + "head.bias": rates[1].reshape(1),
    }  # fmt: skip


def _arrays(parameters: Parameters) -> dict[str, NDArray[np.float32]]:
    rates = torch.cat([parameters[RATE + name].flatten() for name in ("head.weight", "head.bias")])
    return {"bias": parameters["head.bias"].numpy(), "rates": rates.numpy()}


def _head(weight_D: Tensor, bias: Tensor) -> ClassHead:
    return ClassHead((LENGTH * weight_D).detach().numpy().astype(np.float32), float(bias.detach()))
