"""Prints results: a table for people, one JSON object for programs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported late: rich takes a while
    from cluster.progress import CountProgress


def print_json(result: Any) -> None:
    """Print a result as one JSON object."""
    print(json.dumps(result, indent=2))  # noqa: T201


def print_result(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result as names and values, a line each, or as JSON."""
    if as_json:
        print_json(result)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 3))
    for name, value in _flat(result):
        table.add_row(name, _shown(value))
    Console().print(table)


def print_table(
    rows: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str], *, total: str = ""
) -> None:
    """Print named rows under columns, given as name in the row and heading; the row named `total` stands apart."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in rows.items():
        if name == total:
            table.add_section()
        table.add_row(name, *(_shown(row[column]) if column in row else "" for column in columns))
    Console().print(table)


def counting(options: argparse.Namespace, words: str) -> CountProgress:
    """Show progress on standard error: a bar on a terminal, lines without one, nothing beside JSON."""
    from rich.console import Console

    from cluster.progress import CountProgress, choose_show

    messages = Console(stderr=True)
    return CountProgress(words, show=choose_show(messages, as_json=options.json), console=messages)


@contextlib.contextmanager
def stdout_kept_for_results() -> Iterator[None]:
    """Send to standard error whatever libraries and child processes print meanwhile (Ray prints to both)."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in tree.items():
        rows += _flat(value, f"{above}{name}.") if isinstance(value, dict) else [(f"{above}{name}", value)]
    return rows


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
