"""Holds what transfer learning is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.checks import check
from models.reid.augmentation import AugmentationConfig
from models.transfer.backbones import check_size


def light_augmentation(*, flip: float = 0.5) -> AugmentationConfig:
    """Return how crops are varied by default: mirrored, cropped, and seen in another light."""
    return AugmentationConfig(
        flip=flip, zoom=(0.95, 1.35), shift=0.1, white_balance=0.06, grey=0.0, low_resolution=0.0, blur=0.0, noise=0.0,
        jpeg=0.0, erasing=0.0,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferTrainingConfig:
    """Says which backbone learns which classes, how, and for how long."""

    data: Path
    """Folder or zip of pictures, a folder for each class (see `models.transfer.pictures`)."""
    out: Path
    """Folder for the weights, the checkpoint and the history."""
    backbone: str = ""
    """A name of `models.transfer.backbones.backbone_names`; empty chooses by the weights at hand."""
    weights: Path | None = None
    """What the backbone starts from: published weights, or what an earlier training wrote; None finds published ones
    (see `models.transfer.starting`)."""
    pretrained: bool = True
    """Whether it starts from weights at all, rather than from random ones."""
    freeze: str = "none"
    """Stages that keep their weights: `all`, `none`, how many from the first on, or the name of the last of them."""
    size: int = 0
    """Side of the pictures in pixels; 0 is what the published weights were measured at."""
    held_out: float = 0.2
    """Share of each class to judge by, where the data says nothing of it."""
    seed: int = 0
    """Of split, weights, batches, dropout and augmentation."""
    epochs: int = 20
    """Passes over the pictures."""
    batch: int = 32
    """Pictures in a step."""
    learning_rate: float = 0.01
    """At the top of the schedule."""
    final_learning_rate: float = 1e-5
    """At its end."""
    warm_up: float = 0.1
    """Share of the steps in which the learning rate rises."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 1e-4
    """On weights that multiply."""
    dropout: float = 0.2
    """Share of the features that are dropped before the last layer (Srivastava et al., JMLR 2014)."""
    augmentation: AugmentationConfig | None = field(default_factory=light_augmentation)
    """How pictures are varied; None leaves them as they are."""
    device: str = "cpu"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    threads: int = 1
    """CPU threads of torch; results are the same again only with one."""
    cache_dir: Path | None = None
    """Where published weights are kept once fetched; None is camweave's own cache."""
    resume: bool = False
    """Whether to go on from the checkpoint in `out`; without one training starts anew."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        for name in ("epochs", "threads"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(self.batch >= 4, "batch", self.batch, "at least 4: batch statistics of fewer are noise")
        check_size(self.size)
        check(0 < self.held_out < 1, "held_out", self.held_out, "above 0 and below 1")
        for name in ("momentum", "dropout", "warm_up"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        check(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        check(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        check(
            self.pretrained or self.weights is None, "weights", str(self.weights),
            "none beside pretrained=False",
        )  # fmt: skip


def settings_of(config: TransferTrainingConfig, start: str, data: str) -> str:
    """Return as JSON what must be the same for a run to go on; `start` and `data` are digests."""
    free = {"epochs", "data", "out", "weights", "device", "threads", "cache_dir", "resume"}
    settings = {name: value for name, value in asdict(config).items() if name not in free}
    return json.dumps(settings | {"start": start, "data": data}, sort_keys=True)
