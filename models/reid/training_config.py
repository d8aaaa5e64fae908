"""Holds what the training of the re-identification network is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.checks import check
from models.reid.augmentation import AugmentationConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderTrainingConfig:
    """Says what the re-identification network is trained on, how, and for how long."""

    data: Path
    """Folder that holds the sets named below."""
    out: Path
    """Folder for the weights, the checkpoint and the history."""
    trunk: Path | None = None
    """ImageNet weights that the trunk starts from (see `models.reid.trunk`); None takes those of the installed package,
    and random ones, which give much less, where it is not installed."""
    train_sets: tuple[str, ...] = (
        "market1501-train-ids-0002-0954.zip",
        "cuhk03-pair1-labeled-train-743ids.zip",
    )
    """Folders or zips of crops; the last identities of the first are held out for validation."""
    held_out_identities: int = 100
    """So many of the first set, the last by id."""
    left_out_cameras: tuple[str, ...] = ()
    """Cameras of the first set that are not trained on, to see how the network takes to a new one."""
    pair_set: str = "cuhk03-pair1-val-100ids.zip"
    """Folder or zip for single-shot validation; empty does without."""
    seed: int = 0
    """Of weights, batches and augmentation."""
    epochs: int = 36
    """Passes over as many crops as there are."""
    small_epochs: int = 10
    """The first so many passes see smaller crops, which costs half."""
    small_size: tuple[int, int] = (96, 48)
    """Height and width of those."""
    batch_identities: int = 16
    """Identities in a batch (P)."""
    batch_crops: int = 4
    """Crops of each (K)."""
    learning_rate: float = 7e-4
    """At the top of the schedule."""
    final_learning_rate: float = 7e-6
    """At its end."""
    warm_up: float = 0.05
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.05
    """Of AdamW (Loshchilov and Hutter, ICLR 2019), on weights that multiply."""
    label_smoothing: float = 0.1
    """Share of the label's mass that goes to all identities."""
    triplet_weight: float = 1.0
    """Weight of the triplet loss beside the identity loss."""
    triplet_scale: float = 16.0
    """What differences of cosines are multiplied by in it: how sharply it tells right from wrong."""
    triplet_margin: float = 0.1
    """By how much a match must be more similar than a stranger."""
    frozen_layers: int = 5
    """First layers of the trunk that keep their ImageNet weights; without such weights none are frozen."""
    averaging: float = 0.999
    """Decay per step of the averaged weights."""
    validate_every: int = 3
    """Epochs between two validations."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """How crops are varied."""
    device: str = "cpu"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    threads: int = 1
    """CPU threads of torch; results are the same again only with one."""
    resume: bool = False
    """Whether to go on from the checkpoint in `out`; without one training starts anew."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        for name in (
            "epochs",
            "batch_identities",
            "batch_crops",
            "validate_every",
            "threads",
            "held_out_identities",
        ):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(len(self.train_sets) >= 1, "train_sets", self.train_sets, "at least one name")
        check(0 <= self.averaging < 1, "averaging", self.averaging, "at least 0 and below 1")
        check(0 <= self.warm_up < 1, "warm_up", self.warm_up, "at least 0 and below 1")
        check(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        check(
            all(side % 16 == 0 for side in self.small_size), "small_size", self.small_size, "multiples of 16"
        )


def settings_of(config: EmbedderTrainingConfig) -> str:
    """Return as JSON what must be the same for a run to go on."""
    free = {"epochs", "data", "out", "trunk", "device", "threads", "resume", "validate_every"}
    settings = {name: value for name, value in asdict(config).items() if name not in free}
    return json.dumps(settings | {"pretrained": config.trunk is not None}, sort_keys=True)
