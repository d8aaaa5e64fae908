"""Draws tasks from a labelled data set: N-way K-shot episodes (Vinyals et al., Matching networks, NeurIPS 2016).

Legend of shape suffixes: D examples of the data set, T tasks, E examples of a task.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import BadEpisode
from models.meta.tasks import TaskBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeShape:
    """Says how large a task is."""

    ways: int = 5
    """Classes."""
    shots: int = 1
    """Support examples a class."""
    queries: int = 1
    """Query examples a class."""


class EpisodeSampler:
    """Draws batches of episodes; equal generators draw equal episodes.

    Classes that have too few examples for an episode are never drawn.

    Raises:
        BadEpisode: when fewer classes than `ways` have enough examples.
    """

    def __init__(self, x_D: Tensor, y_D: Tensor, shape: EpisodeShape) -> None:
        self._x_D = x_D
        self._shape = shape
        needed = shape.shots + shape.queries
        members = [(y_D == label).nonzero()[:, 0] for label in torch.unique(y_D)]
        self._members = [rows for rows in members if len(rows) >= needed]
        if min(shape.ways, shape.shots, shape.queries) < 1 or len(self._members) < shape.ways:
            raise BadEpisode(
                f"{len(self._members)} of {len(members)} classes have the {needed} examples that an episode takes, "
                f"expected at least {shape.ways} of them: ask for fewer ways, shots or queries, all at least 1"
            )

    def draw(self, num_tasks: int, generator: torch.Generator) -> TaskBatch:
        """Draw a batch; classes of an episode are distinct, and so are its examples."""
        ways, shots, queries = self._shape.ways, self._shape.shots, self._shape.queries
        rows_TE = torch.stack([self._episode(generator) for _ in range(num_tasks)])
        x_TWE = torch.unflatten(self._x_D[rows_TE], 1, (ways, shots + queries))
        y_TWE = torch.arange(ways, device=x_TWE.device)[:, None].expand(num_tasks, ways, shots + queries)
        parts = [
            part.flatten(1, 2)
            for chosen in (slice(shots), slice(shots, None))
            for part in (x_TWE[:, :, chosen], y_TWE[:, :, chosen])
        ]
        return TaskBatch(*parts)

    def _episode(self, generator: torch.Generator) -> Tensor:
        classes = torch.randperm(len(self._members), generator=generator)[: self._shape.ways]
        needed = self._shape.shots + self._shape.queries
        picks = [self._members[number] for number in classes.tolist()]
        return torch.cat([rows[torch.randperm(len(rows), generator=generator)[:needed]] for rows in picks])
