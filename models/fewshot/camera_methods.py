"""Offers every way to make a camera's map, so that they can be compared: learned rule, plain descent, means, nothing.

Legend of shape suffixes: D embedding, P people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.errors import ModelError
from models.fewshot.camera import CameraAdapter, CameraPairs
from models.fewshot.camera_prior import CameraInitialization, adapt

DESCENT_STEPS: Final = 10
DESCENT_RATE: Final = 0.03
"""Both were chosen for plain fine-tuning by its own score on cameras that are not tested on."""
TEMPERATURE: Final = 0.1
"""Of the softmax over the people of the support set."""

Method = Callable[[CameraPairs, CameraInitialization], CameraAdapter]


def fine_tune(pairs: CameraPairs, *, steps: int = DESCENT_STEPS, rate: float = DESCENT_RATE) -> CameraAdapter:
    """Descend from the identity on the same map, with nothing learned before: the baseline.

    The loss draws each person nearer to their crops from other cameras, and away from the others of the support set.
    """
    own_PD, others_PD = torch.from_numpy(pairs.own_PD), F.normalize(torch.from_numpy(pairs.others_PD))
    dimension = own_PD.shape[1]
    slope_DD = torch.zeros(dimension, dimension, dtype=torch.float64, requires_grad=True)
    shift_D = torch.zeros(dimension, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        for _ in range(steps):
            loss = _loss(F.normalize(own_PD + own_PD @ slope_DD.T + shift_D), others_PD)
            gradients = torch.autograd.grad(loss, [slope_DD, shift_D])
            with torch.no_grad():
                for parameter, gradient in zip((slope_DD, shift_D), gradients, strict=True):
                    parameter -= rate * gradient
    return CameraAdapter.of(slope_DD.detach().numpy(), shift_D.detach().numpy())


def mean_shift(pairs: CameraPairs) -> CameraAdapter:
    """Move the camera's mean onto that of the others: what prototypes are to classes."""
    change_D = np.average(pairs.others_PD - pairs.own_PD, axis=0, weights=pairs.weight_P)
    return CameraAdapter.of(np.zeros((len(change_D), len(change_D))), change_D)


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "meta": adapt,
        "fine-tune": lambda pairs, _: fine_tune(pairs),
        "prototypes": lambda pairs, _: mean_shift(pairs),
        "none": lambda pairs, _: CameraAdapter.identity(pairs.own_PD.shape[1]),
    }
)
"""All ways by name, the one to prefer among equals first; `none` leaves the embeddings as they are."""


def fit_camera_adapter(
    pairs: CameraPairs, initialization: CameraInitialization, method: str = "meta"
) -> CameraAdapter:
    """Make a camera's map from its pairs by one of `METHODS`; 50 people take some hundredths of a second.

    Raises:
        ModelError: when there is no such method, or embeddings have another length than the initialization is for.
    """
    if method not in METHODS:
        raise ModelError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    return METHODS[method](pairs, initialization)


def _loss(moved_PD: Tensor, others_PD: Tensor) -> Tensor:
    similarity_PP = moved_PD @ others_PD.T
    told_apart = F.cross_entropy(similarity_PP / TEMPERATURE, torch.arange(len(similarity_PP)))
    return told_apart + (1 - similarity_PP.diagonal()).mean()
