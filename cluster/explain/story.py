"""Tells, from the records alone, what made each track of an identity its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.identity import identities_of_tracks
from pipeline.identity.memory import own_identity
from pipeline.records import DecisionKind, Evidence, IdentityDecision

DECIDING: Final = (DecisionKind.NEW, DecisionKind.MATCH, DecisionKind.MERGE, DecisionKind.SPLIT)
EVIDENCE: Final = Evidence.__struct_fields__


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackStory:
    """Holds what was decided of one track."""

    track: str
    camera: str
    start_ns: int
    """When it was first seen, on the camera's clock."""
    end_ns: int
    """When it was last heard of."""
    decisions: tuple[IdentityDecision, ...]
    """The records that gave it its identity, in order of time; none while it is in doubt, or where it was first."""
    is_first: bool
    """Whether the identity began with it, and others joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Holds why several tracks are one identity."""

    identity: str
    embedder: str
    """Version of what compared their looks."""
    tracks: tuple[TrackStory, ...]
    """In order of time."""

    @property
    def cameras(self) -> list[str]:
        """Return the cameras that saw it, in order of first sight."""
        return list(dict.fromkeys(track.camera for track in self.tracks))


def tell_all(decisions: Sequence[IdentityDecision]) -> dict[str, Story]:
    """Collect, by identity, the records of each track that belongs to it in the end."""
    records: dict[str, list[IdentityDecision]] = {}
    for decision in sorted(decisions, key=lambda one: one.at_ns):
        for track in {decision.track, *decision.moved}:
            records.setdefault(track, []).append(decision)
    tracks: dict[str, list[str]] = {}
    for track, identity in identities_of_tracks(decisions).items():
        tracks.setdefault(identity, []).append(track)
    return {
        identity: _story(identity, {one: records[one] for one in own}) for identity, own in tracks.items()
    }


def _story(identity: str, records: Mapping[str, list[IdentityDecision]]) -> Story:
    joined = {one.identity for own in records.values() for one in own if one.kind in DECIDING}
    stories = [_track_story(track, own, own_identity(track) in joined) for track, own in records.items()]
    return Story(
        identity=identity,
        embedder=next((one.embedder for own in records.values() for one in own if one.embedder), ""),
        tracks=tuple(sorted(stories, key=lambda story: (story.start_ns, story.track))),
    )


def _track_story(track: str, records: Sequence[IdentityDecision], is_first: bool) -> TrackStory:
    own = [record for record in records if record.track == track] or records
    return TrackStory(
        track=track,
        camera=own[0].camera,
        start_ns=own[0].start_ns,
        end_ns=max(record.seen_ns or record.start_ns for record in own),
        decisions=tuple(record for record in records if record.kind in DECIDING),
        is_first=is_first,
    )


def evidence_words(evidence: Evidence | None, similarity: float | None) -> str:
    """Write the evidence out, the strongest first; what says nothing is left out."""
    alike = "" if similarity is None else f"similarity {similarity:.2f}"
    if evidence is None:
        return alike
    parts = {name: getattr(evidence, name) for name in EVIDENCE}
    shown = sorted((name for name in EVIDENCE if round(parts[name], 1)), key=lambda name: -abs(parts[name]))
    words = {name: f"{name} {parts[name]:+.1f}" for name in shown}
    if alike and "appearance" in words:
        words["appearance"] += f" ({alike})"
        alike = ""
    return ", ".join(part for part in (*words.values(), alike) if part)
