"""Trains image classifiers from pretrained backbones: seeded, resumable, with its curve written as it goes.

Transfer as in Yosinski et al., "How transferable are features in deep neural networks?", NeurIPS 2014: a new last
layer, the first stages frozen or not, cross-entropy, SGD with momentum, a short warm-up and a cosine.

Legend of shape suffixes: N pictures, H height, W width, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.execution import resolve_device
from models.files import write_atomically
from models.reid.augmentation import augment
from models.reid.pixels import to_input
from models.training_run import learning_rate, read_checkpoint, torch_threads, write_checkpoint
from models.transfer.backbones import Backbone, build_backbone, parse_freeze, published_size
from models.transfer.classifier import TrainedClasses, TransferNetwork, pack, predict
from models.transfer.config import TransferTrainingConfig, settings_of
from models.transfer.history import (
    TransferEpoch,
    TransferOutcome,
    TransferProgress,
    count_confusion,
    history_json,
    parse_history,
)
from models.transfer.pictures import ClassData, load_class_data
from models.transfer.starting import choose_backbone, load_start

__all__ = ["TransferTrainingConfig", "train_transfer"]

_log = logging.getLogger(__name__)

WEIGHTS_NAME: Final = "transfer.safetensors"


def train_transfer(
    config: TransferTrainingConfig, on_progress: Callable[[TransferProgress], None]
) -> TransferOutcome:
    """Train, and return what came out; weights, checkpoint and `history.json` stand in the out folder.

    A run that was stopped and resumed gives the weights of one that was not, with one thread on a CPU.

    Raises:
        BadCrops: when the pictures cannot be used.
        WeightsUnavailable, WeightsCorrupt: when the weights to start from cannot be used.
        ModelError: when there is no such backbone or stage, or the checkpoint belongs to other settings.
    """
    config = replace(config, backbone=config.backbone or choose_backbone(config.cache_dir))
    with torch_threads(config.threads):
        with _seeded((config.seed,), config.device):
            backbone = build_backbone(config.backbone)
        start = load_start(backbone, config.weights, config.cache_dir) if config.pretrained else ""
        backbone.freeze(parse_freeze(config.freeze, backbone.stage_names))
        config = replace(config, size=config.size or published_size(config.backbone))
        data = load_class_data(config.data, config.size, held_out=config.held_out, seed=config.seed)
        trainer = Trainer(config, data, backbone, start)
        if config.resume:
            trainer.restore()
        while trainer.epoch < config.epochs:
            trainer.run_epoch(on_progress)
        return trainer.finish()


class Trainer:
    """Holds what changes in training, and takes it an epoch further.

    Everything random in an epoch is drawn from the seed and the epoch's number, so a checkpoint holds no generator.
    """

    def __init__(
        self, config: TransferTrainingConfig, data: ClassData, backbone: Backbone, start: str
    ) -> None:
        self.epoch = 0
        self.history: list[TransferEpoch] = []
        self._config = config
        self._data = data
        self._about = TrainedClasses(data.classes, config.size, start, data.digest)
        self._settings = settings_of(config, start, data.digest)
        self._device = resolve_device(config.device)
        with _seeded((config.seed,), config.device):
            self._network = TransferNetwork(backbone, len(data.classes), config.dropout)
        self._network.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # nn.Module.to has no stub for both
        self._optimiser = torch.optim.SGD(
            self._parameter_groups(), lr=config.learning_rate, momentum=config.momentum
        )
        self._num_steps = -(-len(data.train.labels_N) // config.batch)
        self._step = 0

    def run_epoch(self, on_progress: Callable[[TransferProgress], None]) -> None:
        """Train for one epoch, judge it, and write the checkpoint and the history."""
        config, labels_N = self._config, self._data.train.labels_N
        random = np.random.default_rng((config.seed, self.epoch))
        with _seeded((config.seed, self.epoch), config.device):  # for dropout
            self.epoch += 1
            batches = np.array_split(random.permutation(len(labels_N)), self._num_steps)
            losses_N, right_N = np.zeros(len(labels_N)), np.zeros(len(labels_N), bool)
            for step, batch in enumerate(batches, start=1):
                losses_N[batch], right_N[batch] = self._train(batch, random)
                loss, accuracy = float(losses_N[batch].mean()), None
                if step == self._num_steps:
                    accuracy = self._finish_epoch(float(losses_N.mean()), float(right_N.mean()))
                on_progress(
                    TransferProgress(self.epoch, config.epochs, step, self._num_steps, loss, accuracy)
                )

    def finish(self) -> TransferOutcome:
        """Write the weights and judge them once more."""
        path = self._config.out / WEIGHTS_NAME
        write_atomically(path, pack(self._network, self._about))
        held_out = self._data.held_out
        predicted_N = predict(self._network, held_out.pixels_NHW3, self._device).argmax(1)
        backbone = self._network.backbone
        return TransferOutcome(
            path, backbone.name, backbone.num_frozen, self._config.size, self._data.classes,
            count_confusion(held_out.labels_N, predicted_N, len(self._data.classes)),
        )  # fmt: skip

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            ModelError: when it cannot be read, or was made with other settings.
        """
        state = read_checkpoint(self._config.out, self._settings, self._device)
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.epoch, self._step = state["epoch"], state["step"]
        self.history = parse_history(state["history"])

    def _train(
        self, batch: NDArray[np.int64], random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Take a step; returns each picture's loss, and whether it was told right."""
        self._network.train()
        self._set_learning_rate()
        labels_N = torch.from_numpy(self._data.train.labels_N[batch]).to(self._device)
        logits_NC = self._network(to_input(self._varied(batch, random), self._device))
        losses_N = F.cross_entropy(logits_NC, labels_N, reduction="none")
        loss = losses_N.mean()
        if not bool(torch.isfinite(loss)):
            raise ModelError(
                f"the loss is {loss.item()} in epoch {self.epoch}, expected a finite number; lower learning_rate, which "
                f"is {self._config.learning_rate}"
            )
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
        self._optimiser.step()
        self._step += 1
        return losses_N.detach().cpu().numpy(), (logits_NC.argmax(1) == labels_N).cpu().numpy()

    def _varied(self, batch: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.uint8]:
        pixels_NHW3 = self._data.train.pixels_NHW3[batch]
        if (augmentation := self._config.augmentation) is None:
            return pixels_NHW3
        size = (self._config.size, self._config.size)
        return np.stack([augment(picture, size, augmentation, random) for picture in pixels_NHW3])

    def _finish_epoch(self, loss: float, train_accuracy: float) -> float:
        held_out = self._data.held_out
        logits_NC = torch.from_numpy(predict(self._network, held_out.pixels_NHW3, self._device))
        labels_N = torch.from_numpy(held_out.labels_N)
        accuracy = float((logits_NC.argmax(1) == labels_N).float().mean())
        rate = float(self._optimiser.param_groups[0]["lr"])
        held_out_loss = float(F.cross_entropy(logits_NC, labels_N))
        self.history.append(TransferEpoch(self.epoch, rate, loss, train_accuracy, held_out_loss, accuracy))
        state: dict[str, Any] = {
            "network": self._network.state_dict(), "optimiser": self._optimiser.state_dict(), "epoch": self.epoch,
            "step": self._step,
        }  # fmt: skip
        write_checkpoint(self._config.out, state, self._settings, history_json(self.history))
        return accuracy

    def _parameter_groups(self) -> list[dict[str, Any]]:
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for parameter in self._network.parameters():
            if parameter.requires_grad:
                groups[parameter.ndim > 1].append(parameter)
        return [
            {"params": groups[True], "weight_decay": self._config.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ]

    def _set_learning_rate(self) -> None:
        rate = learning_rate(self._step, self._config.epochs * self._num_steps, self._config)
        for group in self._optimiser.param_groups:
            group["lr"] = rate


@contextmanager
def _seeded(seed: tuple[int, ...], device: str) -> Iterator[None]:
    """Let torch's own generators, which networks draw from, start from a seed, and put them back."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if device != "cpu" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
