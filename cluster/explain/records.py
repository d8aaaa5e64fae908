"""Reads what a run or a site has recorded: decisions, frame results, and where its frames are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cluster.config import SiteConfig
from cluster.log.open import open_log
from cluster.log.partitioner import partition_for_key
from cluster.log.protocol import Log
from cluster.topics import Topics
from pipeline.journeys import first_seen, sightings
from pipeline.pictures.colours import Legend
from pipeline.records import FrameResult, IdentityDecision, decode
from pipeline.run_folder import IDENTITIES_FILE, TRACKS_FILE, read_records

REPORT_FILE: Final = "report.json"
LOG_FILE: Final = "log.db"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Records:
    """Holds what is known of a run, and knows where to look for more."""

    place: str
    """Where the records come from, for messages."""
    decisions: tuple[IdentityDecision, ...]
    read_results: Callable[[Collection[str]], Iterator[FrameResult]]
    """Reads the frame results of some cameras."""
    legend: Legend
    """Names and colours of identities as the run's other pictures show them."""
    clock_offsets_s: Mapping[str, float] = field(default_factory=dict)
    """How far each camera's clock is ahead, by camera, in the site's order."""
    first_ns: int | None = None
    """When the run's first frame was taken, on the site's clock; absent where that is not known."""
    log: Log | None = None
    """Where the frames are kept, if anywhere."""


def records_of_run(run: Path) -> Records:
    """Read the folder that a run leaves; its frames are in the log beside it or the one that its report names.

    Raises:
        BadInput: a file is missing or holds something else than it should.
    """
    decisions = tuple(read_records(run / IDENTITIES_FILE, IdentityDecision))
    report = _report(run / REPORT_FILE)
    offsets_s = report.get("clock_offsets_s", {})

    results = list(read_records(run / TRACKS_FILE, FrameResult))
    seen = sightings(results, decisions, clock_offsets_s=offsets_s)

    def read_results(cameras: Collection[str]) -> Iterator[FrameResult]:
        return (one for one in results if one.camera in cameras)

    firsts_ns = [one.captured_ns - round(1e9 * offsets_s.get(one.camera, 0.0)) for one in results]
    return Records(
        place=str(run),
        decisions=decisions,
        read_results=read_results,
        legend=Legend.of(first_seen(seen)),
        clock_offsets_s=offsets_s,
        first_ns=min(firsts_ns, default=None),
        log=_log_of_run(run, report),
    )


def records_of_site(site: SiteConfig) -> Records:
    """Read a site's log.

    Raises:
        BadInput: the log has no such topics.
        LogUnavailable: the log does not answer.
    """
    log, topics = open_log(site.log), Topics.with_prefix(site.topic_prefix)

    def read_results(cameras: Collection[str]) -> Iterator[FrameResult]:
        ends = log.end_offsets(topics.tracks)
        places = {partition_for_key(camera.encode(), len(ends)) for camera in cameras}
        start = {place: end for place, end in ends.items() if place.partition not in places}
        results = (decode(record.value, FrameResult) for record in log.read(topics.tracks, start))
        return (result for result in results if result.camera in cameras)

    return Records(
        place=site.log,
        decisions=tuple(decode(record.value, IdentityDecision) for record in log.read(topics.identities)),
        read_results=read_results,
        legend=Legend({}, {}),
        clock_offsets_s={camera.id: camera.clock_offset_s for camera in site.cameras},
        log=log,
    )


def _report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}  # the report only adds: names of clocks, and where the log is
    return report if isinstance(report, dict) else {}


def _log_of_run(run: Path, report: Mapping[str, Any]) -> Log | None:
    if (run / LOG_FILE).is_file():  # also after the folder was moved
        return open_log(f"sqlite:///{(run / LOG_FILE).absolute()}")
    url = report.get("log_url")
    return open_log(url) if isinstance(url, str) and url.startswith("kafka://") else None
