"""Shows a run's progress and its report in the terminal. All progress goes to stderr; results go to stdout."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

PLAIN_EVERY_S: Final = 10.0
"""Without a terminal, a line this often is enough for a log file."""
RATE_WINDOW_S: Final = 5.0
"""The live rate is taken over this long: steady enough to read, quick enough to follow."""


class Show(StrEnum):
    """Names how progress is shown."""

    LIVE = "live"
    PLAIN = "plain"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Holds how far a run has come."""

    produced: Mapping[str, int] = field(default_factory=dict)
    """Frames handed to the log, by camera."""
    processed: Mapping[str, int] = field(default_factory=dict)
    """Frames whose results are written, by camera."""
    num_identities: int = 0

    @property
    def num_processed(self) -> int:
        """Frames processed over all cameras."""
        return sum(self.processed.values())

    @property
    def lag(self) -> int:
        """Frames produced and not yet processed."""
        return sum(self.produced.values()) - self.num_processed


def choose_show(console: Console, *, as_json: bool) -> Show:
    """Choose how to show progress: not beside JSON, plain lines where there is no terminal."""
    if as_json:
        return Show.SILENT
    return Show.LIVE if console.is_terminal else Show.PLAIN


class DemoProgress:
    """Shows a run's stages, and a bar for each camera: frames processed, rate, lag, identities so far.

    `num_frames` is the number of frames expected of each camera, where known.
    """

    def __init__(
        self,
        num_frames: Mapping[str, int | None],
        *,
        show: Show | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._show = choose_show(self._console, as_json=False) if show is None else show
        self._clock = clock
        self._num_frames = dict(num_frames)
        self._rate = _Rate(RATE_WINDOW_S)
        self._standing = Standing()
        self._next_line_s = clock() + PLAIN_EVERY_S
        self._bars = Progress(
            TextColumn("  {task.description:<16}"), BarColumn(bar_width=32), MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"), TimeElapsedColumn(), console=self._console,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._status = Text()
        self._live = Live(Group(self._status, self._bars), console=self._console, refresh_per_second=8)

    def __enter__(self) -> Self:
        if self._show is Show.LIVE:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def stage(self, words: str) -> None:
        """Say what is being done now."""
        if self._show is Show.LIVE:
            self._live.console.print(f"[green]•[/] {words}", highlight=False)
        elif self._show is Show.PLAIN:
            self._console.print(words, highlight=False, markup=False, soft_wrap=True)

    def update(self, standing: Standing) -> None:
        """Show how far the run has come."""
        now_s = self._clock()
        self._standing = standing
        self._rate.add(now_s, standing.num_processed)
        if self._show is Show.LIVE:
            for camera in {**self._num_frames, **standing.produced}:
                waiting = standing.produced.get(camera, 0) - standing.processed.get(camera, 0)
                note = f"{waiting} waiting" if waiting > 0 else ""
                self._advance(camera, standing.processed.get(camera, 0), self._num_frames.get(camera), note)
            self._status.plain = f"  {self.summary()}"
        elif self._show is Show.PLAIN and now_s >= self._next_line_s:
            self._next_line_s = now_s + PLAIN_EVERY_S
            self._console.print(self.summary(), highlight=False, markup=False, soft_wrap=True)

    def rendering(self, num_done: int, num_total: int) -> None:
        """Show how far the mosaic has been rendered."""
        if self._show is Show.LIVE:
            self._advance("mosaic", num_done, num_total, "")

    def summary(self) -> str:
        """Return the standing in one line."""
        standing = self._standing
        return (
            f"{standing.num_processed} frames processed, {self._rate.per_s:.1f} frames/s, "
            f"lag {standing.lag}, {standing.num_identities} identities"
        )

    def _advance(self, name: str, num_done: int, num_total: int | None, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=num_total, note=note)
        self._bars.update(self._tasks[name], completed=num_done, total=num_total, note=note)


class CountProgress:
    """Shows one bar: how many of how many are done, and a note."""

    def __init__(
        self,
        words: str,
        *,
        show: Show,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._words = words
        self._show = show
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._next_line_s = clock()
        self._bars = Progress(
            TextColumn("  {task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=self._console,
        )  # fmt: skip
        self._task = self._bars.add_task(words, total=None, note="")

    def __enter__(self) -> Self:
        if self._show is Show.LIVE:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._show is Show.LIVE:  # stopping what never started prints an empty line
            self._bars.stop()

    def update(self, num_done: int, num_total: int, note: str = "") -> None:
        """Show how far it has come; without a terminal a line now and then, and one at the end."""
        if self._show is Show.LIVE:
            self._bars.update(self._task, completed=num_done, total=num_total, note=note)
        elif self._show is Show.PLAIN and (self._clock() >= self._next_line_s or num_done == num_total):
            self._next_line_s = self._clock() + PLAIN_EVERY_S
            line = f"{self._words}: {num_done} of {num_total}" + (f", {note}" if note else "")
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Rate:
    """Takes a rate from a count over the last seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._counts: deque[tuple[float, int]] = deque()

    def add(self, at_s: float, count: int) -> None:
        if self._counts and count < self._counts[-1][1]:  # something else is counted from now on
            self._counts.clear()
        self._counts.append((at_s, count))
        while len(self._counts) > 2 and self._counts[1][0] <= at_s - self._window_s:
            self._counts.popleft()

    @property
    def per_s(self) -> float:
        if len(self._counts) < 2:
            return 0.0
        (from_s, before), (to_s, after) = self._counts[0], self._counts[-1]
        return (after - before) / (to_s - from_s) if to_s > from_s else 0.0


_ROWS: Final = (
    ("Run", "cameras", "cameras", "{:d}"),
    ("Run", "frames produced", "frames_produced", "{:,d}"),
    ("Run", "frames processed", "frames_processed", "{:,d}"),
    ("Run", "frames skipped", "frames_skipped", "{:,d}"),
    ("Run", "frames lost", "frames_lost", "{:,d}"),
    ("Run", "dead letters", "dead_letters", "{:,d}"),
    ("Run", "detector", "detector", "{}"),
    ("Run", "embedder", "embedder", "{}"),
    ("Seen", "detections", "detections", "{:,d}"),
    ("Seen", "tracks", "tracks", "{:,d}"),
    ("Seen", "identities", "identities", "{:,d}"),
    ("Seen", "seen by two cameras or more", "cross_camera_identities", "{:,d}"),
    ("Speed", "frames/s, end to end", "fps", "{:.1f}"),
    ("Speed", "frames/s, bare detector", "bare_detector_fps", "{:.1f}"),
    ("Speed", "pipeline efficiency", "pipeline_efficiency", "{:.2f}"),
    ("Speed", "latency p50", "latency_s.p50", "{:.3f} s"),
    ("Speed", "latency p99", "latency_s.p99", "{:.3f} s"),
    ("Against the truth", "detection AP50", "detection.ap50", "{:.3f}"),
    ("Against the truth", "tracking HOTA", "tracking.hota", "{:.3f}"),
    ("Against the truth", "tracking IDF1", "tracking.idf1", "{:.3f}"),
    ("Against the truth", "tracking MOTA", "tracking.mota", "{:.3f}"),
    ("Against the truth", "site IDF1", "site.idf1", "{:.3f}"),
    ("Taught while running", "seconds until served", "learning.seconds_to_served", "{:.1f}"),
    (
        "Taught while running",
        "wearer named, of those looked for",
        "learning.class.after.wearers_named",
        "{:d}",
    ),
    ("Taught while running", "  of", "learning.class.after.wearers", "{:d}"),
    ("Taught while running", "others named by mistake", "learning.class.after.others_named", "{:d}"),
    ("Taught while running", "  of", "learning.class.after.others", "{:d}"),
    ("Taught while running", "new camera, rank-1 before", "learning.camera.rank1_before", "{:.3f}"),
    ("Taught while running", "new camera, rank-1 after", "learning.camera.rank1_after", "{:.3f}"),
)
"""Group, words, path into the report, format. What a report lacks is not shown."""

_BAD_UNLESS_ZERO: Final = frozenset({"frames_lost", "dead_letters"})


def print_report(
    report: Mapping[str, Any], console: Console, pictures: Mapping[str, Path] | None = None
) -> None:
    """Print a report as a table, and where its pictures are."""
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column(justify="right")
    group_before = ""
    for group, words, path, form in _ROWS:
        value = _look_up(report, path)
        if value is None:
            continue
        if group != group_before:
            table.add_row(Text(f"\n{group}" if group_before else group, style="bold not dim"), "")
            group_before = group
        style = "bold red" if path in _BAD_UNLESS_ZERO and value else ""
        table.add_row(f"  {words}", Text(_write(value, form), style=style))
    _add_stages(table, report.get("stage_seconds"))
    console.print(table)
    for name, place in (pictures or {}).items():
        console.print(f"  {name:<12} {place}", highlight=False, markup=False, soft_wrap=True)


def _add_stages(table: Table, stages: object) -> None:
    if not isinstance(stages, Mapping) or not stages:
        return
    table.add_row(Text("\nSeconds by stage", style="bold not dim"), "")
    for name, seconds in sorted(stages.items(), key=lambda stage: -float(stage[1])):
        table.add_row(f"  {name}", f"{float(seconds):.2f}")


def _look_up(report: Mapping[str, Any], path: str) -> Any:
    value: Any = report
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _write(value: Any, form: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):  # cameras may be given by name
        return str(len(value))
    return form.format(int(value) if "d}" in form else value)
