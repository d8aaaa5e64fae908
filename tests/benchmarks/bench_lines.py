"""Writes what was measured, one JSON line a ratio, and shows each as a row of a table."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

BENCH_FILE = Path("runs/bench.jsonl")
HEADER = f"{'name':<36} {'ours':>11} {'peer':>11}  {'unit':<10} {'ratio':>7} {'goal':>6}"


def write_line(
    name: str, ours: float, peer: float, ratio: float, goal: float, unit: str, *, file: Path = BENCH_FILE
) -> bool:
    """Append a measurement to `file`, print it as a row, and return whether the ratio reaches its goal.

    `ours` and `peer` are in `unit` and come from one run on one machine; `ratio` says how many times better ours
    is (the caller divides, since for seconds or bytes less is better).

    Raises:
        ValueError: a number is not finite, which JSON cannot hold and no measurement should be.
    """
    line = {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "goal": goal, "unit": unit}
    wrong = [key for key in ("ours", "peer", "ratio", "goal") if not math.isfinite(line[key])]  # type: ignore[arg-type]  # these are floats
    if wrong:
        raise ValueError(f"{name}: {', '.join(wrong)} is not a finite number: {line}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    reached = ratio >= goal
    verdict = "" if reached else "  below goal"
    sys.stdout.write(
        f"{name:<36} {ours:>11.4g} {peer:>11.4g}  {unit:<10} {ratio:>7.2f} {goal:>6.2f}{verdict}\n"
    )
    sys.stdout.flush()
    return reached


def write_header() -> None:
    """Print the table's head."""
    sys.stdout.write(f"{HEADER}\n{'-' * len(HEADER)}\n")
    sys.stdout.flush()
