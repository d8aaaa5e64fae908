"""Measures the shipped embedder against the same network in eager torch (channels-last): speed, and the same numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from models.detector import ImageHW3
from models.embedders import EmbedderConfig, build_embedder
from tests.benchmarks.bench_lines import write_line

NUM_CROPS: Final = 16
"""A batch, as Perception makes them."""
ROUNDS: Final = 30
"""Of each, in turn, of which the median of the CPU time counts: other programs on the machine hardly change it."""
WARM_UP: Final = 3
GOAL: Final = 2.0
MAX_DIFFERENCE: Final = 1e-3
THREADS: Final = 1


def bench_embedder() -> None:
    """Time a batch of crops from pixels to unit vectors in both, on the same number of threads.

    Raises:
        AssertionError: when the numbers differ by more than `MAX_DIFFERENCE`.
    """
    crops = _crops()
    ours = build_embedder(EmbedderConfig(threads=THREADS, device="cpu"))
    eager = build_embedder(EmbedderConfig(execution="torch", threads=THREADS, device="cpu"))
    threads_before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        difference = float(np.abs(ours.embed(crops) - eager.embed(crops)).max())
        assert difference <= MAX_DIFFERENCE, f"rows differ by {difference}, allowed are {MAX_DIFFERENCE}"
        ours_s, eager_s = _medians_s([lambda: ours.embed(crops), lambda: eager.embed(crops)])
    finally:
        torch.set_num_threads(threads_before)
    write_line(
        "embedder, batch of 16",
        NUM_CROPS / ours_s,
        NUM_CROPS / eager_s,
        eager_s / ours_s,
        GOAL,
        "crops/s",
    )
    write_line(
        "embedder, same numbers",
        difference,
        MAX_DIFFERENCE,
        MAX_DIFFERENCE / max(difference, 1e-9),
        1.0,
        "largest",
    )


def _medians_s(calls: list[Callable[[], object]]) -> list[float]:
    times = np.zeros((ROUNDS + WARM_UP, len(calls)))
    for row in times:
        for column, call in enumerate(calls):
            start = time.process_time()
            call()
            row[column] = time.process_time() - start
    return [float(median) for median in np.median(times[WARM_UP:], axis=0)]


def _crops() -> list[ImageHW3]:
    random = np.random.default_rng(0)
    heights = random.integers(50, 200, NUM_CROPS)
    return [random.integers(0, 256, (height, height * 2 // 5, 3), np.uint8) for height in heights]


if __name__ == "__main__":
    bench_embedder()
