"""Holds what is learned from and what is asked: a task's support and query set, and batches of tasks.

Legend of shape suffixes: T tasks, N examples of a support set, M examples of a query set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import BadEpisode

IGNORED = -1
"""Label of a row that only fills up a batch: it counts in no loss and no score."""


@dataclass(frozen=True, slots=True)
class Task:
    """Is one task: a few labelled examples to adapt to, and others to be right about afterwards.

    Raises:
        BadEpisode: when sets are empty, differ in shape, hold no number or no label, or ask for a class that the
            support set does not show.
    """

    support_x: Tensor
    """N x ..., float."""
    support_y: Tensor
    """N, int64, 0 for the first class."""
    query_x: Tensor
    """M x ..., float."""
    query_y: Tensor
    """M, int64."""

    def __post_init__(self) -> None:
        _check_set("support", self.support_x, self.support_y)
        _check_set("query", self.query_x, self.query_y)
        if self.support_x.shape[1:] != self.query_x.shape[1:]:
            raise BadEpisode(
                f"support examples are {tuple(self.support_x.shape[1:])}, query examples "
                f"{tuple(self.query_x.shape[1:])}: expected one shape"
            )
        unknown = set(self.query_y.tolist()) - set(self.support_y.tolist())
        if unknown:
            raise BadEpisode(
                f"the query set asks for classes {sorted(unknown)} without a support example: add examples of them"
            )


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Is T tasks as four tensors; sets of unequal size are filled up with rows labelled `IGNORED`.

    Networks that normalize by a set's statistics need sets of equal size.
    """

    support_x: Tensor
    """T x N x ..., float."""
    support_y: Tensor
    """T x N, int64."""
    query_x: Tensor
    """T x M x ..., float."""
    query_y: Tensor
    """T x M, int64."""

    @staticmethod
    def of(tasks: Sequence[Task]) -> TaskBatch:
        """Stack tasks.

        Raises:
            BadEpisode: when there is none, or their examples differ in shape.
        """
        shapes = sorted({tuple(task.support_x.shape[1:]) for task in tasks})
        if len(shapes) != 1:
            raise BadEpisode(
                f"examples of the tasks have shapes {shapes}: expected one shape, of at least one task"
            )
        return TaskBatch(
            _filled_up([task.support_x for task in tasks], 0),
            _filled_up([task.support_y for task in tasks], IGNORED),
            _filled_up([task.query_x for task in tasks], 0),
            _filled_up([task.query_y for task in tasks], IGNORED),
        )

    def __len__(self) -> int:
        return len(self.support_x)

    def split(self, num_tasks: int) -> Iterator[TaskBatch]:
        """Yield batches of at most `num_tasks` tasks."""
        fields = (self.support_x, self.support_y, self.query_x, self.query_y)
        return (
            TaskBatch(*part)
            for part in zip(*(torch.split(field, num_tasks) for field in fields), strict=True)
        )

    def to(self, device: torch.device | torch.dtype) -> TaskBatch:
        """Return the batch on a device, or its examples in another precision."""
        moved = [field.to(device) for field in (self.support_x, self.query_x)]
        where = moved[0].device
        return TaskBatch(moved[0], self.support_y.to(where), moved[1], self.query_y.to(where))


def _check_set(name: str, x: Tensor, y: Tensor) -> None:
    if x.ndim < 2 or len(x) == 0 or y.shape != x.shape[:1]:
        raise BadEpisode(
            f"the {name} set has examples {tuple(x.shape)} and labels {tuple(y.shape)}: expected N x ... and N, N >= 1"
        )
    if not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise BadEpisode(
            f"the {name} set's examples are {x.dtype} or not finite: expected finite floating point"
        )
    if y.dtype != torch.int64 or int(y.min()) < 0:
        raise BadEpisode(f"the {name} set's labels are {y.dtype} from {int(y.min())}: expected int64 from 0")


def _filled_up(sets: list[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(sets, batch_first=True, padding_value=value)
