"""Says which version of the learned parts is served, from the announcements of topic `models` in the log's order.

An announcement that changes what is served names the version that it was decided against (`parent`) and counts the
changes before it (`serial`). It counts only if both are still so when it stands in the log: a compare-and-swap whose
arbiter is the order of the log. Of two learners that announce at once the first is heard, by every reader alike, and
the other one's announcement is void. All here are plain values: who reads the same announcements knows the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from models.learned import is_name_of
from pipeline.errors import BadInput
from pipeline.records import ModelAnnouncement, VersionAction


class Standing(StrEnum):
    """Names what became of an announcement."""

    COUNTED = "counted"
    """It changed what is served."""
    REJECTED = "rejected"
    """It tells of a version that the gate refused, and changes nothing."""
    VOID = "void"
    """It would have changed what is served, but came too late or makes no sense."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Is an announcement and what became of it."""

    announcement: ModelAnnouncement
    standing: Standing
    why: str = ""
    """Of a void one, in words; of a rejected one, the gate's reason."""

    @property
    def counted(self) -> bool:
        """Tell whether it changed what is served."""
        return self.standing is Standing.COUNTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Holds what is served, and all announcements that led to it. Begin with `Lineage()` and `extend` it."""

    current: str = ""
    """The version served; empty for none, only the frozen networks."""
    serial: int = 0
    """How many announcements have changed what is served."""
    history: tuple[Entry, ...] = ()
    """Every announcement, in the log's order."""

    @property
    def origin(self) -> ModelAnnouncement | None:
        """The promotion of the version served, which names its file; None while none is served."""
        return self.promotion_of(self.current)

    @property
    def previous(self) -> str:
        """The version that the one served took over from when it was promoted; empty for none."""
        origin = self.origin
        return "" if origin is None else origin.parent

    @property
    def can_roll_back_to(self) -> tuple[str, ...]:
        """The versions that were served and are not now, newest first; empty text stands for none at all."""
        promoted = [entry.announcement.version for entry in reversed(self.history) if _is_promotion(entry)]
        known = dict.fromkeys([*promoted, ""] if promoted else [])
        return tuple(version for version in known if version != self.current)

    def promotion_of(self, version: str) -> ModelAnnouncement | None:
        """Return the last announcement by which a version was promoted, None if it never was."""
        for entry in reversed(self.history):
            if _is_promotion(entry) and entry.announcement.version == version:
                return entry.announcement
        return None

    def extend(self, announcements: Iterable[ModelAnnouncement]) -> Lineage:
        """Return the lineage after more announcements, in the log's order."""
        lineage = self
        for announcement in announcements:
            lineage = lineage._heard(announcement)
        return lineage

    def promotion(self, *, at_ns: int, reason: str = "") -> ModelAnnouncement:
        """Return an announcement that promotes a version over the one served; who publishes it fills in the file."""
        return self._change(VersionAction.PROMOTED, at_ns, reason)

    def rejection(self, *, at_ns: int, reason: str) -> ModelAnnouncement:
        """Return an announcement of a version that was judged against the one served and refused."""
        return self._change(VersionAction.REJECTED, at_ns, reason)

    def rollback(self, version: str, *, at_ns: int, reason: str = "") -> ModelAnnouncement:
        """Return an announcement that serves an earlier version again; empty for none.

        Raises:
            BadInput: the version was never served, or is served now; names those that were.
        """
        allowed = self.can_roll_back_to
        if version not in allowed:
            known = (
                ", ".join(name or "none" for name in allowed) or "nothing, because no version was ever served"
            )
            state = "is served already" if version == self.current else "was never served"
            raise BadInput(
                f"cannot roll back to {version or 'none'}: it {state}; it can be rolled back to {known}"
            )
        draft = self._change(VersionAction.ROLLED_BACK, at_ns, reason)
        return _with_file(draft, self.promotion_of(version))

    def _change(self, action: VersionAction, at_ns: int, reason: str) -> ModelAnnouncement:
        return ModelAnnouncement(
            action=action, version="", parent=self.current, serial=self.serial + 1, at_ns=at_ns, reason=reason
        )

    def _heard(self, announcement: ModelAnnouncement) -> Lineage:
        if announcement.action is VersionAction.REJECTED:
            return self._with(Entry(announcement, Standing.REJECTED, announcement.reason))
        if why := self._objection(announcement):
            return self._with(Entry(announcement, Standing.VOID, why))
        counted = self._with(Entry(announcement, Standing.COUNTED))
        return replace(counted, current=announcement.version, serial=announcement.serial)

    def _with(self, entry: Entry) -> Lineage:
        return replace(self, history=(*self.history, entry))

    def _objection(self, announcement: ModelAnnouncement) -> str:
        """Return why an announcement must not change what is served; empty if it may."""
        version = announcement.version
        if announcement.parent != self.current:
            return (
                f"it was decided while {announcement.parent or 'none'} was served, "
                f"and by then {self.current or 'none'} was: somebody else was first"
            )
        if announcement.serial != self.serial + 1:
            return f"it is change {announcement.serial}, expected change {self.serial + 1}: somebody else was first"
        if announcement.action is VersionAction.PROMOTED:
            is_named = is_name_of(version, announcement.sha256)
            return (
                "" if is_named else f"{version!r} is not the name of a file with the SHA-256 that is stated"
            )
        promoted = self.promotion_of(version)
        if version and promoted is None:
            return f"{version} was never served"
        if promoted is not None and promoted.sha256 != announcement.sha256:
            return f"{version} was promoted with another SHA-256 than is stated"
        return ""


def _is_promotion(entry: Entry) -> bool:
    return entry.counted and entry.announcement.action is VersionAction.PROMOTED


def _with_file(draft: ModelAnnouncement, promoted: ModelAnnouncement | None) -> ModelAnnouncement:
    if promoted is None:
        return draft
    return msgspec.structs.replace(
        draft, version=promoted.version, sha256=promoted.sha256, num_bytes=promoted.num_bytes,
        tasks=promoted.tasks, data_digest=promoted.data_digest, scores=promoted.scores,
    )  # fmt: skip
