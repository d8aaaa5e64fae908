"""Samples the memory of a process and all its descendants over time, and plots it with its slope.

Usage: python -m tests.benchmarks.memory_plot --out runs/memory -- COMMAND [ARGUMENT ...]
       python -m tests.benchmarks.memory_plot --out runs/memory --pid 1234 --duration-s 1800

Leaves memory.csv and memory.png in --out. The exit status is that of the command, or 3 if the command did well but
memory grew faster than --max-slope (MB a minute).
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import psutil

MB = 1e6
GREW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Is the memory of a process tree at one moment, in MB of 10^6 bytes."""

    elapsed_s: float
    rss_mb: float
    """Resident memory summed over processes; pages that they share count once for each."""
    private_mb: float
    """Resident memory less what is shared (libraries, shared memory): what a leak would add to."""
    num_processes: int


def sample_tree(root: psutil.Process, elapsed_s: float) -> Sample | None:
    """Return the memory of `root` and its descendants now, or None when `root` is gone."""
    if not root.is_running() or root.status() == psutil.STATUS_ZOMBIE:
        return None
    rss = private = num_processes = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            memory = process.memory_info()
        except psutil.Error:
            continue  # it ended while we were looking
        rss += memory.rss
        private += memory.rss - getattr(memory, "shared", 0)
        num_processes += 1
    return Sample(elapsed_s=elapsed_s, rss_mb=rss / MB, private_mb=private / MB, num_processes=num_processes)


def watch(
    pid: int, *, interval_s: float, duration_s: float, on_sample: Callable[[Sample], None]
) -> list[Sample]:
    """Sample the tree under `pid` until it ends or `duration_s` has passed, telling each sample as it is taken."""
    samples: list[Sample] = []
    start = time.monotonic()
    try:
        root = psutil.Process(pid)
        while (elapsed_s := time.monotonic() - start) <= duration_s:
            sample = sample_tree(root, elapsed_s)
            if sample is None:
                break
            samples.append(sample)
            on_sample(sample)
            time.sleep(max(0.0, start + len(samples) * interval_s - time.monotonic()))
    except psutil.NoSuchProcess:
        pass  # it has ended: what was sampled is what there is
    return samples


def slope_mb_per_min(samples: Sequence[Sample], warm_up_s: float) -> float | None:
    """Return the slope of private memory by least squares after `warm_up_s`, None with fewer than three samples."""
    late = [sample for sample in samples if sample.elapsed_s >= warm_up_s]
    if len(late) < 3:
        return None
    minutes = np.array([sample.elapsed_s / 60 for sample in late])
    slope, _ = np.polyfit(minutes, [sample.private_mb for sample in late], 1)
    return float(slope)


def plot(samples: Sequence[Sample], warm_up_s: float, file: Path) -> None:
    """Draw the samples, the end of the warm-up and the slope into a PNG."""
    from matplotlib.figure import Figure  # costs a second, which must not fall into the first samples

    minutes = [sample.elapsed_s / 60 for sample in samples]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        minutes, [sample.rss_mb for sample in samples], color="0.7", label="resident, shared counted often"
    )
    axes.plot(minutes, [sample.private_mb for sample in samples], color="C0", label="private")
    axes.axvline(warm_up_s / 60, color="0.5", linestyle=":", label="warm-up ends")
    slope = slope_mb_per_min(samples, warm_up_s)
    axes.set_title("too few samples for a slope" if slope is None else f"private memory: {slope:+.2f} MB/min")
    axes.set_xlabel("minutes")
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=110)


def measure(
    pid: int, out: Path, *, interval_s: float, duration_s: float, warm_up_s: float
) -> tuple[list[Sample], float | None]:
    """Watch `pid`, leave memory.csv (written as it goes) and memory.png in `out`; return samples and slope."""
    out.mkdir(parents=True, exist_ok=True)
    names = [column.name for column in fields(Sample)]
    with (out / "memory.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)

        def write(sample: Sample) -> None:
            writer.writerow([round(getattr(sample, name), 3) for name in names])
            stream.flush()

        samples = watch(pid, interval_s=interval_s, duration_s=duration_s, on_sample=write)
    plot(samples, warm_up_s, out / "memory.png")
    return samples, slope_mb_per_min(samples, warm_up_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch a command or a running process and say how its memory went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/memory"))
    parser.add_argument("--pid", type=int, help="watch a running process instead of starting a command")
    parser.add_argument("--interval-s", type=float, default=2.0)
    parser.add_argument(
        "--duration-s", type=float, default=float("inf"), help="stop watching after this time"
    )
    parser.add_argument(
        "--warm-up-s", type=float, default=120.0, help="time before this does not count as growth"
    )
    parser.add_argument("--max-slope", type=float, default=float("inf"), help="MB a minute that still passes")
    parser.add_argument("command", nargs="*")
    given = parser.parse_args(arguments)
    if (given.pid is None) == (not given.command):
        parser.error("give either --pid or a command after --")
    process = subprocess.Popen(given.command) if given.command else None
    pid = given.pid if process is None else process.pid
    try:
        samples, slope = measure(
            pid, given.out,
            interval_s=given.interval_s, duration_s=given.duration_s, warm_up_s=given.warm_up_s,
        )  # fmt: skip
    finally:
        if process is not None:
            _end(process)
    said = "too short for a slope" if slope is None else f"{slope:+.2f} MB/min"
    peak = max((sample.private_mb for sample in samples), default=0.0)
    sys.stdout.write(f"private memory: {said}, peak {peak:.0f} MB, {len(samples)} samples in {given.out}\n")
    status = process.returncode if process is not None and given.duration_s == float("inf") else 0
    return status or (GREW if slope is not None and slope > given.max_slope else 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that the command has ended: when watching stops first, it may still run."""
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
