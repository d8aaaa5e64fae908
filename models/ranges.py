"""Measures, keeps and reads the ranges of a network's activations, which its 8-bit form is made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.files import write_atomically


class Range(NamedTuple):
    """Bounds the values of a tensor; always holds 0, which padding needs exactly."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ConvolutionRanges:
    """Says what goes into one convolution and what comes out of it, before its activation function."""

    shape: tuple[int, ...]  # of the weights: outputs, inputs, height, width
    input: Range
    output: Range


@dataclass(frozen=True, slots=True)
class ActivationRanges:
    """Holds the ranges of a network's convolutions, in the order in which the module defines them."""

    convolutions: tuple[ConvolutionRanges, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the table, in hex."""
        return hashlib.sha256(self._json().encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the table as JSON, one convolution a line."""
        write_atomically(path, self._json().encode())

    def _json(self) -> str:
        rows = [
            json.dumps({"shape": row.shape, "input": row.input, "output": row.output})
            for row in self.convolutions
        ]
        return '{"convolutions": [\n' + ",\n".join(rows) + "\n]}\n"


def read_ranges(path: Path) -> ActivationRanges:
    """Read a table that `ActivationRanges.write` wrote.

    Raises:
        ModelError: when it cannot be read, or a range is not finite, empty, or without 0.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["convolutions"]
        ranges = ActivationRanges(
            tuple(
                ConvolutionRanges(tuple(row["shape"]), Range(*row["input"]), Range(*row["output"]))
                for row in rows
            )
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is no table of activation ranges: {error!r}; make it with scripts/calibrate.py"
        ) from error
    for index, row in enumerate(ranges.convolutions):
        for low, high in (row.input, row.output):
            if not (np.isfinite([low, high]).all() and low <= 0 <= high and low < high):
                raise ModelError(
                    f"{path} gives convolution {index} the range {low} to {high}, expected finite bounds "
                    "around 0; make it with scripts/calibrate.py"
                )
    return ranges


@torch.inference_mode()
def measure_ranges(
    network: nn.Module, convolutions: Sequence[nn.Conv2d], batches: Iterable[Tensor]
) -> ActivationRanges:
    """Run the network on batches (whatever it takes) and note the extremes at each convolution, 0 included."""
    extremes = [[0.0] * 4 for _ in convolutions]

    def watch(seen: list[float]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for place, tensor in ((0, inputs[0]), (2, output)):
                low, high = (bound.item() for bound in tensor.aminmax())
                seen[place : place + 2] = min(seen[place], low), max(seen[place + 1], high)

        return note

    with ExitStack() as hooks:
        for conv, seen in zip(convolutions, extremes, strict=True):
            hooks.callback(conv.register_forward_hook(watch(seen)).remove)
        for batch in batches:
            network(batch)
    return ActivationRanges(
        tuple(
            ConvolutionRanges(
                tuple(conv.weight.shape),
                Range(*(round(bound, 4) for bound in seen[:2])),
                Range(*(round(bound, 4) for bound in seen[2:])),
            )
            for conv, seen in zip(convolutions, extremes, strict=True)
        )
    )
