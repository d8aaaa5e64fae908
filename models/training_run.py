"""Holds what all trainings share: how the learning rate runs, and the checkpoint that a stopped one goes on from."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, Protocol

import torch

from models.errors import ModelError
from models.files import write_atomically

CHECKPOINT_NAME: Final = "checkpoint.pt"
HISTORY_NAME: Final = "history.json"


class RateSchedule(Protocol):
    """Says how the learning rate runs."""

    @property
    def learning_rate(self) -> float:
        """At the top of the schedule."""

    @property
    def final_learning_rate(self) -> float:
        """At its end."""

    @property
    def warm_up(self) -> float:
        """Share of the steps in which the learning rate rises."""


def learning_rate(step: int, num_steps: int, schedule: RateSchedule) -> float:
    """Return the rate of a step: a straight rise, then half a cosine (Loshchilov and Hutter, ICLR 2017)."""
    num_rising = schedule.warm_up * num_steps
    if step < num_rising:
        return schedule.learning_rate * (step + 1) / (num_rising + 1)
    share = (step - num_rising) / max(num_steps - num_rising, 1)
    drop = schedule.learning_rate - schedule.final_learning_rate
    return schedule.final_learning_rate + drop * (1 + math.cos(math.pi * share)) / 2


@contextmanager
def torch_threads(num: int) -> Iterator[None]:
    """Let torch use so many CPU threads, and give it back those that it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_checkpoint(out: Path, state: dict[str, Any], settings: str, history: str) -> None:
    """Write the checkpoint into the folder `out`, and then the history, which never tells of more than was kept."""
    stream = io.BytesIO()
    torch.save(state | {"settings": settings, "history": history}, stream)
    write_atomically(out / CHECKPOINT_NAME, stream.getvalue())
    write_atomically(out / HISTORY_NAME, history.encode())


def read_checkpoint(out: Path, settings: str, device: torch.device) -> dict[str, Any] | None:
    """Read what `write_checkpoint` wrote into the folder `out`, None where it did not; nothing but tensors is unpickled.

    Raises:
        ModelError: when it cannot be read, or was made with other settings.
    """
    path = out / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        made_with = state["settings"]
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
        raise ModelError(f"{path} is no checkpoint that can be read: {error}; remove it") from error
    if made_with != settings:
        raise ModelError(
            f"{path} was made with other settings: {made_with}, expected {settings}; "
            "use those, or another out folder"
        )
    return state
