"""Trains on four alphabets of Omniglot and tests on the fifth, all five folds: MAML here and of learn2learn, ProtoNet, baselines.

Both MAMLs start from the same weights and see the same episodes, equally many. What a learner has reached on a
fold is a line of runs/omniglot.jsonl; what stands there is not run again.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from models.meta.baselines import (
    PretrainingConfig,
    fine_tune,
    fine_tune_head,
    nearest_centroid,
    pretrain,
    with_new_head,
)
from models.meta.episodes import EpisodeSampler, EpisodeShape
from models.meta.inner import InnerLoop
from models.meta.networks import ConvNet
from models.meta.outer import Learner, OuterConfig, OuterLoop, evaluate
from models.meta.prototypes import Prototypes
from models.meta.tasks import TaskBatch
from tests.benchmarks.bench_lines import write_line
from tests.benchmarks.meta_peers import differentiate, peer_maml, peer_network, peer_parameters
from tests.benchmarks.omniglot_data import Alphabet, joined, read_alphabets

RESULTS: Final = Path("runs/omniglot.jsonl")
ARCHIVE: Final = "omniglot-background-small1.zip"
OUTER_RATE: Final = 3e-3
MAML: Final = InnerLoop(steps=3, rate=0.4)
TEST_STEPS: Final = 5
FINE_TUNE_STEPS: Final = 20
FINE_TUNE_RATE: Final = 0.2
"""The best of 0.01, 0.05, 0.2 and 0.8 for all three that are fine-tuned, with Latin held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Says how many classes episodes have, and how long all learners are trained and tested."""

    ways: int
    queries: int
    """Of training episodes; tests ask five a class."""
    tasks: int
    """A meta-iteration."""
    iterations: int
    test_episodes: int


PROTOCOLS: Final = (
    Protocol(ways=5, queries=3, tasks=8, iterations=200, test_episodes=600),
    Protocol(ways=20, queries=1, tasks=4, iterations=100, test_episodes=200),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Is what a learner reached on a fold."""

    alphabet: str
    ways: int
    learner: str
    iterations: int
    accuracy: float
    deviation: float
    """Between test episodes."""
    test_episodes: int
    trained_s: float
    """CPU time."""


class Fold:
    """Trains and tests learners with one alphabet held out."""

    def __init__(self, alphabets: Sequence[Alphabet], held_out: Alphabet, protocol: Protocol) -> None:
        self._protocol = protocol
        self._data = joined([alphabet for alphabet in alphabets if alphabet is not held_out])
        shape = EpisodeShape(ways=protocol.ways, shots=1, queries=protocol.queries)
        self._episodes = EpisodeSampler(*self._data, shape)
        tests = EpisodeSampler(held_out.x_D1HW, held_out.y_D, EpisodeShape(ways=protocol.ways, queries=5))
        self._test = tests.draw(protocol.test_episodes, torch.Generator().manual_seed(1))
        self._network = ConvNet(ways=protocol.ways)
        self.name = held_out.name
        self._pretrained: dict[str, Tensor] | None = None

    def learners(self) -> dict[str, Callable[[], tuple[Learner, dict[str, Tensor]]]]:
        """Return, by name, what trains a learner and says how it is tested."""
        at_test = InnerLoop(steps=TEST_STEPS, rate=MAML.rate, order=1)
        return {
            "maml": lambda: (at_test, self._train(MAML)),
            "learn2learn maml": lambda: (at_test, self._train_peer()),
            "protonet": lambda: (Prototypes(), self._train(Prototypes())),
            "fine-tune, random start": lambda: (
                fine_tune(FINE_TUNE_STEPS, FINE_TUNE_RATE),
                self._network.initial(_seeded(2)),
            ),
            "fine-tune": lambda: (fine_tune(FINE_TUNE_STEPS, FINE_TUNE_RATE), self._pretrain()),
            "fine-tune head": lambda: (fine_tune_head(FINE_TUNE_STEPS, FINE_TUNE_RATE), self._pretrain()),
            "nearest centroid": lambda: (nearest_centroid(), self._pretrain()),
        }

    def run(self, name: str) -> Result:
        """Train and test one learner."""
        start_s = time.process_time()
        learner, parameters = self.learners()[name]()
        trained_s = time.process_time() - start_s
        accuracy_T = evaluate(self._network, learner, parameters, self._test)
        mean, deviation = float(accuracy_T.mean()), float(accuracy_T.std())
        protocol = self._protocol
        return Result(
            self.name, protocol.ways, name, protocol.iterations, mean, deviation, len(accuracy_T), trained_s
        )

    def _batches(self) -> Iterator[TaskBatch]:
        generator = _seeded(3)
        return (
            self._episodes.draw(self._protocol.tasks, generator) for _ in range(self._protocol.iterations)
        )

    def _train(self, learner: InnerLoop | Prototypes) -> dict[str, Tensor]:
        loop = OuterLoop(
            self._network, learner, learner.initial(self._network, _seeded(2)), OuterConfig(rate=OUTER_RATE)
        )
        for batch in self._batches():
            loop.step(batch)
        return loop.parameters

    def _train_peer(self) -> dict[str, Tensor]:
        module = peer_network(self._network, self._network.initial(_seeded(2)))
        maml = peer_maml(module, MAML.rate)
        adam = torch.optim.Adam(maml.parameters(), OUTER_RATE)
        for batch in self._batches():
            adam.zero_grad()
            differentiate(maml, batch, MAML.steps)
            for weight in maml.parameters():
                weight.grad /= len(batch)
            adam.step()
        return peer_parameters(self._network, module)

    def _pretrain(self) -> dict[str, Tensor]:
        if self._pretrained is None:
            x, y = self._data
            wide = ConvNet(ways=int(y.max()) + 1)
            self._pretrained = pretrain(
                wide, x, y, PretrainingConfig(iterations=2 * self._protocol.iterations), _seeded(2)
            )
        return with_new_head(self._network, self._pretrained, _seeded(2))


def bench_omniglot(iterations: int | None = None, folds: Sequence[str] = ()) -> None:
    """Run what is not yet written down, and compare over all folds asked for."""
    alphabets = read_alphabets(Path(os.environ["CAMWEAVE_DATA"]) / ARCHIVE)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for protocol in PROTOCOLS:
            wanted = protocol if iterations is None else _with_iterations(protocol, iterations)
            results = [
                result
                for held_out in alphabets
                if not folds or held_out.name in folds
                for result in _run_fold(Fold(alphabets, held_out, wanted), wanted)
            ]
            _report(results, protocol.ways)
    finally:
        torch.set_num_threads(threads_before)


def _run_fold(fold: Fold, protocol: Protocol) -> list[Result]:
    results = []
    for name in fold.learners():
        known = [
            result
            for result in _written()
            if (result.alphabet, result.ways, result.learner, result.iterations, result.test_episodes)
            == (fold.name, protocol.ways, name, protocol.iterations, protocol.test_episodes)
        ]
        result = known[0] if known else fold.run(name)
        if not known:
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            with RESULTS.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(result)) + "\n")
        results.append(result)
    return results


def _report(results: list[Result], ways: int) -> None:
    """Write the means over folds; to be within the other's 95 % confidence interval, or above, is a ratio of 1."""
    mean, interval = {}, {}
    for name in {result.learner for result in results}:
        own = [result for result in results if result.learner == name]
        mean[name] = sum(result.accuracy for result in own) / len(own)
        interval[name] = 1.96 * math.sqrt(sum(one.deviation**2 / one.test_episodes for one in own)) / len(own)
    for name, other in (
        ("maml", "learn2learn maml"),
        ("protonet", "maml"),
        *(("maml", other) for other in mean if other not in {"maml", "learn2learn maml", "protonet"}),
    ):
        floor = mean[other] - interval[other]
        write_line(
            f"omniglot {ways}w1s, {name} | {other}",
            mean[name],
            mean[other],
            mean[name] / floor,
            1.0,
            "accuracy",
        )


def _written() -> list[Result]:
    if not RESULTS.exists():
        return []
    return [Result(**json.loads(line)) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def _with_iterations(protocol: Protocol, iterations: int) -> Protocol:
    return Protocol(**(asdict(protocol) | {"iterations": iterations}))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
