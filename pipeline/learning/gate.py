"""Decides whether a candidate is served: it must win on what is new, and lose next to nothing on what is old."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.checks import check
from pipeline.records import TaskKind, TaskScore

CURRENT: Final = "current"
"""Names the version that is served, among those compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """Says what a candidate must reach."""

    max_loss: float = 0.01
    """How much the mean score of old tasks may fall: one point."""
    min_gain: float = 0.0
    """By how much a new task must be answered better than by what is served."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ModelError: when a value is out of its range.
        """
        check(0 <= self.max_loss < 1, "max_loss", self.max_loss, "at least 0 and below 1")
        check(0 <= self.min_gain < 1, "min_gain", self.min_gain, "at least 0 and below 1")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Is how one task's held-out queries are answered by all that could be served."""

    kind: TaskKind
    name: str
    scores: dict[str, float]
    """Shares in [0, 1] by method; `CURRENT` is what is served now."""
    chosen: str
    """What the candidate holds: one of `scores`."""
    num_queries: int
    is_new: bool
    min_score: float = 0.0

    @property
    def gain(self) -> float:
        """How much better the candidate answers than what is served."""
        return self.scores[self.chosen] - self.scores[CURRENT]

    def record(self) -> TaskScore:
        """Return it as announcements carry it."""
        rounded = {name: round(score, 4) for name, score in self.scores.items()}
        return TaskScore(
            kind=self.kind, name=self.name, scores=rounded, chosen=self.chosen,
            num_queries=self.num_queries, is_new=self.is_new,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """Is what the gate says of a candidate."""

    promoted: bool
    reason: str
    comparisons: tuple[Comparison, ...]

    @property
    def gain(self) -> float:
        """Mean gain over the new tasks, or over all where none is new."""
        judged = [one for one in self.comparisons if one.is_new] or list(self.comparisons)
        return sum(one.gain for one in judged) / len(judged) if judged else 0.0


def best_method(scores: Mapping[str, float], methods: Sequence[str]) -> str:
    """Return the method that scores best; of equals, the one that stands first."""
    return max(methods, key=lambda method: (scores[method], -methods.index(method)))


def preferred_method(
    scores: Mapping[str, float],
    without_each: Callable[[str], Sequence[float]],
    methods: Sequence[str],
    floor: float,
) -> str:
    """Return the first method, unless the best one is better by more than a standard error, or the first of no use.

    Queries are few, and to take whatever scores best on them is to follow their noise (the one-standard-error rule,
    Breiman et al., "Classification and Regression Trees", 1984; the error by the jackknife, Efron, 1982).

    Args:
        scores: by method.
        without_each: returns the scores of a method with one query left out, each in turn.
        methods: names, the one to prefer first.
        floor: score that a method must exceed to be of use.
    """
    best, first = best_method(scores, methods), methods[0]
    if best == first or scores[first] <= floor:
        return best
    gains_Q = np.subtract(without_each(best), without_each(first))
    num = len(gains_Q)
    if num < 2:
        return first
    error = np.sqrt((num - 1) / num * np.square(gains_Q - gains_Q.mean()).sum())
    return best if scores[best] - scores[first] > error else first


def judge(comparisons: Sequence[Comparison], config: GateConfig) -> Verdict:
    """Say whether a candidate is served from now on, and why."""
    new = [one for one in comparisons if one.is_new]
    old = [one for one in comparisons if not one.is_new]
    objection = _too_weak(new) or _no_gain(new or old, config.min_gain) or _forgets(old, config.max_loss)
    return Verdict(not objection, objection or _praise(new or old), tuple(comparisons))


def _too_weak(new: Sequence[Comparison]) -> str:
    for one in new:
        reached = one.scores[one.chosen]
        if reached < one.min_score:
            return (
                f"{one.kind.value} {one.name!r} is answered right in {reached:.0%} of the cases kept for judging, "
                f"expected at least {one.min_score:.0%}; teach more examples, or clearer ones"
            )
    return ""


def _no_gain(judged: Sequence[Comparison], min_gain: float) -> str:
    if not judged:
        return "there is nothing to judge by"
    gain = sum(one.gain for one in judged) / len(judged)
    if gain > min_gain:
        return ""
    names = ", ".join(f"{one.kind.value} {one.name!r}" for one in judged[:3])
    return (
        f"{names}: no better than what is served ({_mean(judged, CURRENT):.3f}, "
        f"with the candidate {_mean_chosen(judged):.3f})"
    )


def _forgets(old: Sequence[Comparison], max_loss: float) -> str:
    if not old:
        return ""
    loss = -sum(one.gain for one in old) / len(old)
    if loss <= max_loss:
        return ""
    worst = min(old, key=lambda one: one.gain)
    return (
        f"earlier tasks would fall by {100 * loss:.1f} points, {worst.kind.value} {worst.name!r} the most "
        f"({worst.scores[CURRENT]:.3f} to {worst.scores[worst.chosen]:.3f}); at most {100 * max_loss:.1f} are allowed"
    )


def _praise(judged: Sequence[Comparison]) -> str:
    names = ", ".join(f"{one.kind.value} {one.name!r}" for one in judged[:3])
    return f"{names}: {_mean(judged, CURRENT):.3f} before, {_mean_chosen(judged):.3f} now"


def _mean(judged: Sequence[Comparison], name: str) -> float:
    return sum(one.scores[name] for one in judged) / len(judged)


def _mean_chosen(judged: Sequence[Comparison]) -> float:
    return sum(one.scores[one.chosen] for one in judged) / len(judged)
