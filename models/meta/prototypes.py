"""Classifies by the nearest class mean: prototypical networks (Snell et al., NeurIPS 2017), and nearest centroid.

Legend of shape suffixes: T tasks, N examples of a set, C classes, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.meta.networks import Network, Parameters, over_tasks
from models.meta.tasks import TaskBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Prototypes:
    """Scores by the distance to each class's mean feature.

    Over a trained body, and as the outer loop's learner, a prototypical network; over any other features, the
    nearest centroid.
    """

    metric: Literal["euclidean", "cosine"] = "euclidean"
    scale: float = 1.0
    """What distances are multiplied with; similarities, which lie within 1, need about 10."""

    def initial(self, network: Network, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw what the outer loop learns: a network's body."""
        return {
            name: value
            for name, value in network.initial(generator).items()
            if name not in network.head_names
        }

    def query_scores(self, network: Network, parameters: Parameters, batch: TaskBatch) -> Tensor:
        """Return the scores of query sets: T x M x C."""
        fast = over_tasks(parameters, len(batch))
        support_TND, query_TMD = (
            self.compared(network.features(fast, network.prepare(x)))
            for x in (batch.support_x, batch.query_x)
        )
        weight_TDC, bias_TC = self.affine(support_TND, batch.support_y)
        return torch.baddbmm(bias_TC[:, None], query_TMD, weight_TDC)

    def compared(self, features_TND: Tensor) -> Tensor:
        """Return features as they are compared: at unit length for cosine."""
        return F.normalize(features_TND, dim=-1) if self.metric == "cosine" else features_TND

    def affine(self, features_TND: Tensor, y_TN: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head that scores as the prototypes do: weight T x D x C and bias T x C.

        A squared distance is affine but for the query's own length, which no class gains from. A class without
        an example has a bias of minus infinity.
        """
        is_class_TNC = y_TN[..., None] == torch.arange(int(y_TN.max()) + 1, device=y_TN.device)
        counts_TC = is_class_TNC.sum(1)
        weight_TNC = is_class_TNC / counts_TC[:, None].clamp_min(1)
        mean_TDC = features_TND.mT @ weight_TNC.to(features_TND.dtype)
        if self.metric == "cosine":
            mean_TDC, bias_TC = F.normalize(mean_TDC, dim=1), torch.zeros_like(mean_TDC[:, 0])
        else:
            mean_TDC, bias_TC = 2 * mean_TDC, -mean_TDC.square().sum(1)
        return self.scale * mean_TDC, (self.scale * bias_TC).masked_fill(counts_TC == 0, -torch.inf)
