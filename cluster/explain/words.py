"""Puts decisions into words: headings and sentences for the terminal and for the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from cluster.explain.story import Story, TrackStory, evidence_words
from pipeline.pictures.colours import Legend
from pipeline.pictures.mosaic import clock_time
from pipeline.records import Candidate, DecisionKind, IdentityDecision

SCALE = "Numbers are natural logs of likelihood ratios: 0 is even, +3 is twenty to one for it, -3 against."
IN_DOUBT = "in doubt still"
FIRST = "first of its identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Turns the cameras' clocks into seconds since the run's first frame."""

    first_ns: int
    clock_offsets_s: Mapping[str, float]

    def seconds(self, camera: str, at_ns: int) -> float:
        """Return the site's time of a moment on a camera's clock."""
        return max(0.0, (at_ns - self.first_ns) / 1e9 - self.clock_offsets_s.get(camera, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Words decisions with the names that a run's pictures show."""

    legend: Legend
    timing: Timing
    identity_of_track: Mapping[str, str]

    def name(self, identity: str) -> str:
        """Return the name in the pictures, else the id without its prefix."""
        return self.legend.names.get(identity) or identity.removeprefix("id-")

    def final(self, identity: str) -> str:
        """Return the identity that has absorbed this one by now, if one has."""
        return self.identity_of_track.get(identity.removeprefix("id-"), identity)

    def rival(self, identity: str) -> str:
        """Return a candidate's name at that time, and the one it has in the end."""
        final = self.final(identity)
        return self.name(identity) if final == identity else f"{self.name(identity)} (now {self.name(final)})"

    def heading(self, decision: IdentityDecision) -> str:
        """Say what was decided, in a few words."""
        score = "" if decision.score is None else f" {decision.score:+.1f}"
        words: Mapping[DecisionKind, Callable[[], str]] = {
            DecisionKind.NEW: lambda: f"new identity{_by(decision)}",
            DecisionKind.MATCH: lambda: f"match{score}{_by(decision)}",
            DecisionKind.MERGE: lambda: f"merged{score}{_by(decision)}",
            DecisionKind.SPLIT: lambda: f"split off from {self.name(decision.split_from)}",
        }
        return words[decision.kind]()

    def evidence(self, decision: IdentityDecision) -> list[str]:
        """Say what spoke for it, a sentence each."""
        sentences = []
        if decision.kind is DecisionKind.SPLIT:
            sentences.append(f"because of {decision.decided_by}")
        if spoken := evidence_words(decision.evidence, decision.similarity):
            needed = f"; {decision.threshold:+.1f} was needed" if decision.threshold else ""
            sentences.append(f"{spoken}{needed}")
        return sentences

    def excluded(self, decision: IdentityDecision) -> Candidate | None:
        """Return the candidate ruled out that looked most alike, if it looked more alike than the one chosen."""
        ruled_out = [one for one in decision.candidates if one.excluded_by]
        most = max(ruled_out, key=lambda one: one.similarity, default=None)
        return most if most is not None and most.similarity >= (decision.similarity or 0.0) else None

    def exclusion(self, candidate: Candidate) -> str:
        """Say why a candidate could not be."""
        return f"not {self.rival(candidate.identity)} (similarity {candidate.similarity:.2f}): {candidate.excluded_by}"

    def runner_up(self, candidate: Candidate) -> str:
        """Say how far the next best candidate came."""
        score = "" if candidate.evidence is None else f"{candidate.score:+.1f}: "
        spoken = evidence_words(candidate.evidence, candidate.similarity)
        return f"runner-up {self.rival(candidate.identity)}, {score}{spoken}"

    def at(self, decision: IdentityDecision) -> str:
        """Write the moment of a decision."""
        return clock_time(self.timing.seconds(decision.camera, decision.at_ns))

    def clock(self, track: TrackStory, at_ns: int) -> str:
        """Write a moment of a track."""
        return clock_time(self.timing.seconds(track.camera, at_ns))

    def summary(self, story: Story) -> str:
        """Say in one sentence how often and where the identity was seen."""
        cameras = f"{_counted(len(story.cameras), 'camera')} ({', '.join(story.cameras)})"
        apart = f"; told apart by {story.embedder}" if story.embedder else ""
        return f"{story.identity}: {_counted(len(story.tracks), 'track')} in {cameras}{apart}"

    def lines(self, story: Story) -> list[str]:
        """Tell the whole story, a line each."""
        told = [f"{self.name(story.identity)} is {self.summary(story)}"]
        for number, track in enumerate(story.tracks, start=1):
            told += ["", *self._track_lines(number, track)]
        return told

    def standing(self, track: TrackStory) -> str:
        """Say how a track stands: what was decided of it first, or why nothing was."""
        if track.decisions:
            return self.heading(track.decisions[0])
        return FIRST if track.is_first else IN_DOUBT

    def _track_lines(self, number: int, track: TrackStory) -> list[str]:
        start, end = (
            clock_time(self.timing.seconds(track.camera, at)) for at in (track.start_ns, track.end_ns)
        )
        told = [f"{number:>2}  {start} – {end}  {track.camera}  (track {track.track})"]
        if not track.decisions:
            told.append(f"    {self.standing(track)}")
        for decision in track.decisions:
            told.append(f"    {self.at(decision)}  {self.heading(decision)}")
            told += [f"             {sentence}" for sentence in self.evidence(decision)]
            excluded = self.excluded(decision)
            told += [f"             {self.exclusion(excluded)}"] if excluded else []
            told += [f"             {self.runner_up(decision.runner_up)}"] if decision.runner_up else []
        return told

    def as_json(self, story: Story) -> dict[str, Any]:
        """Return the story as plain values."""
        return {
            "identity": story.identity,
            "name": self.name(story.identity),
            "cameras": story.cameras,
            "embedder": story.embedder,
            "num_tracks": len(story.tracks),
            "tracks": [
                {
                    "track": track.track,
                    "camera": track.camera,
                    "start_s": round(self.timing.seconds(track.camera, track.start_ns), 3),
                    "end_s": round(self.timing.seconds(track.camera, track.end_ns), 3),
                    "decisions": [self._decision_json(decision) for decision in track.decisions],
                }
                for track in story.tracks
            ],
        }

    def _decision_json(self, decision: IdentityDecision) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(decision)
        left_out = ("embedding", "path", "beside", "label", "track", "camera")
        kept = {name: value for name, value in plain.items() if name not in left_out}
        return {"at_s": round(self.timing.seconds(decision.camera, decision.at_ns), 3), **kept}


def _by(decision: IdentityDecision) -> str:
    return f", by {decision.decided_by}" if decision.decided_by else ""


def _counted(num: int, what: str) -> str:
    return f"{num} {what}" if num == 1 else f"{num} {what}s"
