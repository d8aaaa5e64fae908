"""Answers what `camweave models` asks of a site's log and its store of versions, rolls back, and prunes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.announcements import Announcements
from cluster.config import SiteConfig
from cluster.log.open import open_log
from cluster.topics import Topics
from models.errors import ModelError
from models.learned import VersionStore
from pipeline.errors import BadInput
from pipeline.learning.lineage import Entry, Lineage
from pipeline.records import ModelAnnouncement, TaskScore

NONE: Final = "none"
"""Stands for no version at all, only the frozen networks."""


class _Site(NamedTuple):
    announcements: Announcements
    store: VersionStore
    lineage: Lineage


def list_versions(site: SiteConfig) -> dict[str, Any]:
    """Return what was announced, oldest first, and what is served.

    Raises:
        LogUnavailable: the log does not answer.
        BadInput: the log has no such topic.
    """
    opened = _open(site)
    lineage, pruned = opened.lineage, opened.store.pruned()
    return {
        "served": lineage.current or NONE,
        "serial": lineage.serial,
        "can_roll_back_to": [name or NONE for name in lineage.can_roll_back_to if name not in pruned],
        "announcements": [_row(entry, lineage.serial) for entry in lineage.history],
    }


def show_version(site: SiteConfig, wanted: str) -> dict[str, Any]:
    """Return all that is known of one version.

    Args:
        site: whose.
        wanted: its name, the beginning of it, or `current`.

    Raises:
        LogUnavailable: the log does not answer.
        BadInput: there is no such version, or several begin like that; names those that there are.
    """
    opened = _open(site)
    lineage = opened.lineage
    name = lineage.current if wanted == "current" else _resolve(wanted, lineage)
    entries = [entry for entry in lineage.history if entry.announcement.version == name]
    if not entries:
        raise BadInput(f"none is served: {_known(lineage)}")
    told = lineage.promotion_of(name) or entries[-1].announcement
    return {
        "version": name,
        "served": name == lineage.current,
        "parent": told.parent or NONE,
        "announced": _time_of(told),
        "reason": told.reason,
        "tasks": list(told.tasks),
        "data_digest": told.data_digest,
        **_file_of(told, opened.store),
        "announcements": [f"{entry.standing.value} {entry.why}".strip() for entry in entries],
        "scores": {f"{score.kind.value} {score.name}": _scores_of(score) for score in told.scores},
    }


def roll_back(
    site: SiteConfig, wanted: str | None, reason: str = "", clock_ns: Callable[[], int] = time.time_ns
) -> dict[str, Any]:
    """Serve an earlier version again; returns what is served, once the change is in the log.

    Args:
        site: whose.
        wanted: the version's name, the beginning of it, or `none`; None for the one that the one served took over from.
        reason: why, for the record.
        clock_ns: Unix time, for the record.

    Raises:
        BadInput: that version was never served, or is served already; or somebody else was faster.
        VersionMissing, VersionCorrupt: its file cannot be served; nothing has changed.
        LogUnavailable: the log does not answer; whether it was rolled back, `camweave models list` tells.
    """
    opened = _open(site)
    lineage = opened.lineage
    if wanted is None and not lineage.current:
        raise BadInput(f"none is served, so there is nothing to step back from: {_known(lineage)}")
    version = lineage.previous if wanted is None else _resolve(wanted, lineage)
    announcement = lineage.rollback(version, at_ns=clock_ns(), reason=reason)
    if version:
        opened.store.renew(announcement.sha256)  # whoever prunes at this moment leaves it alone
        opened.store.get(version, announcement.sha256)
    entry = opened.announcements.announce(announcement)
    if not entry.counted:
        raise BadInput(
            f"nothing was rolled back: {entry.why}; look with `camweave models list`, and decide anew"
        )
    return {
        "serves": version or NONE,
        "instead_of": lineage.current or NONE,
        "serial": announcement.serial,
        "takes_effect": "in every process of the site, within seconds",
    }


def prune_versions(site: SiteConfig, num_kept: int, *, dry_run: bool) -> dict[str, Any]:
    """Remove the files of versions that are not served and not likely to be gone back to.

    What is served stays, what `roll_back` would step back to, the `num_kept` versions that were promoted last of the
    others, files younger than `GRACE_S`, whose announcement may be on its way, and versions that this site's log does
    not name: another site may keep its own in the same folder.

    Args:
        site: whose.
        num_kept: how many can still be gone back to, at least 0.
        dry_run: whether to remove nothing, and only tell what would be `removed`.

    Raises:
        BadInput: `num_kept` is negative.
        VersionUnwritable: a file cannot be removed; those before it are.
        LogUnavailable: the log does not answer; nothing was removed.
    """
    if num_kept < 0:
        raise BadInput(f"--keep is {num_kept}, expected 0 or more versions")
    opened = _open(site)
    lineage = opened.lineage
    earlier = [name for name in lineage.can_roll_back_to if name]
    foreign = set(opened.store.names()) - {entry.announcement.version for entry in lineage.history}
    files = opened.store.prunable({lineage.current, lineage.previous, *earlier[:num_kept], *foreign})
    removed = files if dry_run else opened.store.remove(files)
    names = [file.name for file in removed if file.name]
    return {
        "served": lineage.current or NONE,
        "removed": names,
        "is_dry_run": dry_run,
        "left_by_crashes": len(removed) - len(names),
        "num_bytes": sum(file.num_bytes for file in removed),
        "kept": len(set(opened.store.names()) - {*names, *foreign}),
        "of_others": len(foreign),
    }


def _open(site: SiteConfig) -> _Site:
    announcements = Announcements(open_log(site.log), Topics.with_prefix(site.topic_prefix).models)
    return _Site(announcements, VersionStore(Path(site.learning.store)), announcements.catch_up())


def _resolve(wanted: str, lineage: Lineage) -> str:
    """Return the one version that a name or its beginning means; empty for `none`."""
    if wanted == NONE:
        return ""
    names = dict.fromkeys(entry.announcement.version for entry in lineage.history)
    names.pop("", None)
    hits = [
        name
        for name in names
        if wanted and (name.startswith(wanted) or name.partition("@")[2].startswith(wanted))
    ]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise BadInput(f"{wanted!r} is the beginning of {', '.join(hits)}; give more of it")
    raise BadInput(f"unknown version {wanted[:64]!r}: {_known(lineage)}")


def _known(lineage: Lineage) -> str:
    names = dict.fromkeys(entry.announcement.version for entry in reversed(lineage.history))
    names.pop("", None)
    return (
        f"known are {', '.join(list(names)[:8])}"
        if names
        else "nothing was learned yet, see `camweave teach`"
    )


def _row(entry: Entry, serial: int) -> dict[str, Any]:
    told = entry.announcement
    is_served = entry.counted and told.serial == serial
    means = {"before": _mean(told, lambda _: "current"), "after": _mean(told, lambda score: score.chosen)}
    return {
        "change": told.serial,
        "version": told.version or NONE,
        "parent": told.parent or NONE,
        "action": told.action.value,
        "standing": "served" if is_served else told.action.value if entry.counted else entry.standing.value,
        "announced": _time_of(told),
        "tasks": len(told.tasks),
        "new": ", ".join(f"{score.kind.value} {score.name}" for score in told.scores if score.is_new),
        "reason": entry.why or told.reason,
        **{name: mean for name, mean in means.items() if mean is not None},
        "scores": {f"{score.kind.value} {score.name}": _scores_of(score) for score in told.scores},
    }


def _mean(told: ModelAnnouncement, which: Callable[[TaskScore], str]) -> float | None:
    values = [score.scores[which(score)] for score in told.scores if which(score) in score.scores]
    return sum(values) / len(values) if values else None


def _scores_of(score: TaskScore) -> dict[str, Any]:
    return {
        "num_queries": score.num_queries,
        "is_new": score.is_new,
        "chosen": score.chosen,
        "scores": dict(score.scores),
    }


def _file_of(told: ModelAnnouncement, store: VersionStore) -> dict[str, Any]:
    """Describe a version's file, which is read and verified for it."""
    stated = {"sha256": told.sha256, "num_bytes": told.num_bytes}
    try:
        learned = store.get(told.version, told.sha256)
    except ModelError as error:
        return {**stated, "file": f"cannot be served: {error}"}
    return {
        **stated,
        "file": "intact",
        "detector": learned.backbones.detector,
        "embedder": learned.backbones.embedder,
        "holds": sorted({name.rpartition("/")[0] for name in learned.arrays}),
    }


def _time_of(told: ModelAnnouncement) -> str:
    return datetime.fromtimestamp(told.at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
