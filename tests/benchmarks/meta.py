"""Measures a meta-iteration of MAML and ANIL against learn2learn on the same network, weights and episodes.

5-way 1-shot, 5 inner steps, 32 tasks, second order, four blocks of 32 filters on 28 x 28 images. CPU time counts:
other programs on the machine hardly change it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.meta.inner import InnerLoop
from models.meta.networks import ConvNet
from models.meta.outer import OuterLoop
from models.meta.tasks import TaskBatch
from tests.benchmarks import meta_peers
from tests.benchmarks.bench_lines import write_line

NUM_TASKS: Final = 32
NETWORK: Final = ConvNet(ways=5)
MAML: Final = InnerLoop(steps=5, rate=0.4)
ANIL: Final = InnerLoop(steps=5, rate=0.4, adapts="head")
OUTER_RATE: Final = 1e-3
ROUNDS: Final = 7
"""Of each, in turn, of which the median counts."""
WARM_UP: Final = 1
MAML_GOAL: Final = 2.5
TWO_PROCESSES_GOAL: Final = 1.2
ANIL_GOAL: Final = 1.8


def bench_meta() -> None:
    """Time whole meta-iterations, with the update, side by side: one thread each, then two processes each."""
    maml, peer_maml = _medians_s([_ours(MAML, NUM_TASKS), _peer_maml(NUM_TASKS)])
    write_line("MAML, 32 tasks, one thread", maml, peer_maml, peer_maml / maml, MAML_GOAL, "s")
    anil, peer_anil = _medians_s([_ours(ANIL, NUM_TASKS), _peer_anil(NUM_TASKS)])
    write_line("ANIL, 32 tasks, one thread", anil, peer_anil, peer_anil / anil, ANIL_GOAL, "s")
    two, two_peers = _medians_of_two_processes_s()
    write_line("MAML, 32 tasks, two processes", two, two_peers, two_peers / two, TWO_PROCESSES_GOAL, "s")


def _ours(learner: InnerLoop, num_tasks: int) -> Callable[[], object]:
    parameters, batch = _problem(num_tasks)
    loop = OuterLoop(NETWORK, learner, parameters)
    return lambda: loop.step(batch)


def _peer_maml(num_tasks: int) -> Callable[[], object]:
    parameters, batch = _problem(num_tasks)
    module = meta_peers.peer_network(NETWORK, parameters)
    maml = meta_peers.peer_maml(module, MAML.rate)
    return _updating(module, lambda: meta_peers.differentiate(maml, batch, MAML.steps), num_tasks)


def _peer_anil(num_tasks: int) -> Callable[[], object]:
    parameters, batch = _problem(num_tasks)
    module = meta_peers.peer_network(NETWORK, parameters)
    head = meta_peers.peer_maml(module[1], ANIL.rate)
    return _updating(
        module, lambda: meta_peers.differentiate_head(module[0], head, batch, ANIL.steps), num_tasks
    )


def _updating(
    module: torch.nn.Module, differentiate: Callable[[], None], num_tasks: int
) -> Callable[[], object]:
    adam = torch.optim.Adam(module.parameters(), OUTER_RATE)

    def step() -> None:
        adam.zero_grad()
        differentiate()
        for weight in module.parameters():
            assert weight.grad is not None
            weight.grad /= num_tasks
        adam.step()

    return step


def _problem(num_tasks: int) -> tuple[dict[str, Tensor], TaskBatch]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(num_tasks, 10, 1, 28, 28, generator=generator)
    y = torch.arange(5).repeat(num_tasks, 1)
    return NETWORK.initial(generator), TaskBatch(x[:, :5], y, x[:, 5:], y)


def _medians_s(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Time calls in turn on one thread; the median of the CPU time of each."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = [[_cpu_s(call) for call in calls] for _ in range(WARM_UP + ROUNDS)]
    finally:
        torch.set_num_threads(threads_before)
    return [float(median) for median in np.median(times[WARM_UP:], axis=0)]


def _medians_of_two_processes_s() -> list[float]:
    """Time half of the tasks in each of two processes at once; the slower counts."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        times = [
            [max(pool.map(half, [NUM_TASKS // 2] * 2)) for half in (_half_of_ours_s, _half_of_peer_s)]
            for _ in range(ROUNDS)
        ]
    return [float(median) for median in np.median(times, axis=0)]


def _half_of_ours_s(num_tasks: int) -> float:
    return _warm_s(_ours(MAML, num_tasks))


def _half_of_peer_s(num_tasks: int) -> float:
    return _warm_s(_peer_maml(num_tasks))


def _warm_s(call: Callable[[], object]) -> float:
    torch.set_num_threads(1)
    call()
    return _cpu_s(call)


def _cpu_s(call: Callable[[], object]) -> float:
    start_s = time.process_time()
    call()
    return time.process_time() - start_s


if __name__ == "__main__":
    bench_meta()
