"""Weighs whether two identities are one somebody: all evidence, and what cannot be."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Final, NamedTuple

import numpy as np

from pipeline.identity.config import IdentityConfig
from pipeline.identity.memory import IdentityMemory, SiteMemory, TrackMemory, own_identity
from pipeline.identity.motion import MotionEvidence
from pipeline.identity.topology import delays, gap_s
from pipeline.records import Candidate, Evidence

ALIKE_SHARE: Final = 0.5
"""A track is compared with the mean of this share of somebody's tracks, those that look most like it."""
MAX_TRACKS: Final = 24
"""Tracks of an identity that are compared, the latest: somebody may have hundreds."""
MOTION_LIMIT: Final = 15.0
"""What the ways of all tracks of two identities can say at most, for or against."""
MAX_REMEMBERED: Final = 100_000
"""Pairs whose evidence is remembered; the oldest is worked out again when it is asked for."""
OVERLAP_S: Final = 0.25
"""Two tracks of one camera that overlap by more than this are two somebodies; trackers hand over in less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """Holds what speaks for two identities being one."""

    similarity: float
    evidence: Evidence
    excluded_by: str = ""

    @property
    def score(self) -> float:
        """Return the sum of the evidence."""
        parts = self.evidence
        return parts.appearance + parts.motion + parts.transit + parts.prior

    def candidate(self, identity: str) -> Candidate:
        """Return the form in which records hold it."""
        return Candidate(
            identity=identity, similarity=round(self.similarity, 6), score=round(self.score, 4),
            evidence=self.evidence, excluded_by=self.excluded_by,
        )  # fmt: skip


class Contradiction(NamedTuple):
    """Says which tracks of an identity are somebody else."""

    leaving: tuple[TrackMemory, ...]
    reason: str


class _Pair(NamedTuple):
    """Holds what two tracks say of each other, as of their versions and that of the map between their cameras."""

    state: tuple[int, ...]
    similarity: float | None
    ways: float | None
    at_once: bool
    conflict: str


class _Fixed(NamedTuple):
    """Holds what two identities say of each other as long as neither changes."""

    state: tuple[int, ...]
    similarity: float | None
    motion: float
    at_once: bool
    excluded_by: str


class Weighing:
    """Weighs pairs of identities of one site, and remembers what it worked out while nothing has changed."""

    def __init__(self, memory: SiteMemory) -> None:
        self._memory = memory
        self._config: IdentityConfig = memory.config
        self._pairs: OrderedDict[tuple[int, int], _Pair] = OrderedDict()
        self._fixed: OrderedDict[tuple[str, str], _Fixed] = OrderedDict()

    def weigh(self, one: IdentityMemory, other: IdentityMemory) -> Weighed:
        """Weigh two identities against each other."""
        first, second = (one, other) if one.name <= other.name else (other, one)
        fixed = self._fixed_of(first, second)
        transit = 0.0
        if "transit" in self._config.evidence and not fixed.at_once:
            transit = self._memory.topology.transit.weigh(delays(_latest(first), _latest(second)))
        appearance = 0.0
        if "appearance" in self._config.evidence:
            appearance = self._alike(next(iter(first.tracks.values())).embedder, fixed.similarity)
        return Weighed(
            similarity=fixed.similarity or 0.0,
            evidence=Evidence(
                appearance=round(appearance, 4),
                motion=round(fixed.motion, 4),
                transit=round(transit, 4),
                prior=round(self._prior(), 4),
            ),
            excluded_by=fixed.excluded_by,
        )

    def _prior(self) -> float:
        """Return the log-odds that two identities are one somebody, before anything is looked at."""
        share = self._config.known_share
        return log(share / (1 - share)) - log(max(self._memory.num_known, self._config.min_crowd))

    def conflict(self, one: TrackMemory, other: TrackMemory) -> str:
        """Say why two tracks cannot be one somebody; empty if they can."""
        return self._pair(one, other).conflict

    def contradiction(self, identity: IdentityMemory) -> Contradiction | None:
        """Find two tracks of an identity that cannot be one somebody, and who goes with which of them.

        Each other track goes with the side that it fits better.
        """
        tracks = sorted(_latest(identity), key=lambda track: (track.start_ns, track.track))
        for index, one in enumerate(tracks):
            for other in tracks[:index]:
                reason = self.conflict(other, one)
                if reason:
                    sides = self._sides(other, one, tracks)
                    # Whose track named the identity keeps it: so a name is never given twice.
                    named = any(own_identity(track.track) == identity.name for track in sides[1])
                    return Contradiction(tuple(sides[0] if named else sides[1]), reason)
        return None

    def _sides(
        self, one: TrackMemory, other: TrackMemory, tracks: Sequence[TrackMemory]
    ) -> tuple[list[TrackMemory], list[TrackMemory]]:
        sides = ([one], [other])
        for track in tracks:
            if track is not one and track is not other:
                sides[self._fit(track, sides[1]) > self._fit(track, sides[0])].append(track)
        return sides

    def _fit(self, track: TrackMemory, side: Sequence[TrackMemory]) -> float:
        pairs = [self._pair(track, other) for other in side]
        if any(pair.conflict for pair in pairs):
            return -np.inf
        ways = sum(pair.ways or 0.0 for pair in pairs)
        return self._alike(track.embedder, self._similarity([track], side)) + ways

    def _fixed_of(self, first: IdentityMemory, second: IdentityMemory) -> _Fixed:
        state = (first.stamp, second.stamp, self._memory.topology.version, self._memory.means_version)
        known = self._fixed.get((first.name, second.name))
        if known is None or known.state != state:
            known = self._fixed[first.name, second.name] = self._weigh_fixed(first, second, state)
            if len(self._fixed) > MAX_REMEMBERED:
                self._fixed.popitem(last=False)
        return known

    def _weigh_fixed(self, first: IdentityMemory, second: IdentityMemory, state: tuple[int, ...]) -> _Fixed:
        some, others = _latest(first), _latest(second)
        if some[0].label != others[0].label:
            return _Fixed(state, None, 0.0, False, f"one is a {some[0].label}, one a {others[0].label}")
        pairs = [self._pair(one, other) for one in some for other in others]
        return _Fixed(
            state,
            self._similarity(some, others),
            max(-MOTION_LIMIT, min(MOTION_LIMIT, sum(pair.ways or 0.0 for pair in pairs))),
            any(pair.at_once for pair in pairs),
            next((pair.conflict for pair in pairs if pair.conflict), ""),
        )

    def _pair(self, one: TrackMemory, other: TrackMemory) -> _Pair:
        first, second = (one, other) if one.number < other.number else (other, one)
        view = self._memory.topology.views.get((min(one.camera, other.camera), max(one.camera, other.camera)))
        state = (
            first.version, second.version, 0 if view is None else view.version, self._memory.means_version,
        )  # fmt: skip
        known = self._pairs.get((first.number, second.number))
        if known is None or known.state != state:
            known = self._pairs[first.number, second.number] = self._weigh_pair(first, second, state)
            if len(self._pairs) > MAX_REMEMBERED:
                self._pairs.popitem(last=False)
        return known

    def _weigh_pair(self, first: TrackMemory, second: TrackMemory, state: tuple[int, ...]) -> _Pair:
        ways = None
        if "motion" in self._config.evidence:
            ways = self._memory.topology.weigh_motion(first, second, self._config.relink_s)
        return _Pair(
            state, self._memory.similarity(first, second), None if ways is None else ways.score,
            ways is not None and ways.simultaneous, self._conflict(first, second, ways),
        )  # fmt: skip

    def _conflict(self, one: TrackMemory, other: TrackMemory, ways: MotionEvidence | None) -> str:
        if one.camera == other.camera:
            if one.track in other.beside or other.track in one.beside:
                return f"{one.track} was seen beside {other.track}"
            if gap_s(one, other) < -OVERLAP_S:
                return f"{one.track} was in view together with {other.track}"
        elif ways is not None and ways.simultaneous and ways.score <= self._config.split_score:
            return f"{one.track} and {other.track} were in two places at once"
        return ""

    def _alike(self, embedder: str, similarity: float | None) -> float:
        """Return what a similarity says."""
        if similarity is None:
            return 0.0
        limit = self._config.appearance_limit
        return max(-limit, min(limit, self._memory.likeness(embedder).weigh(similarity)))

    def _similarity(self, some: Sequence[TrackMemory], others: Sequence[TrackMemory]) -> float | None:
        """Return the mean similarity of each of the fewer tracks to those of the others that look most like it."""
        if len(some) > len(others):
            some, others = others, some
        means = []
        for one in some:
            pairs = (self._pair(one, other).similarity for other in others)
            alike = sorted((similarity for similarity in pairs if similarity is not None), reverse=True)
            if alike:
                best = alike[: max(1, round(ALIKE_SHARE * len(alike)))]
                means.append(sum(best) / len(best))
        return sum(means) / len(means) if means else None


def _latest(identity: IdentityMemory) -> list[TrackMemory]:
    tracks = sorted(identity.tracks.values(), key=lambda track: (track.heard_ns, track.track))
    return tracks[-MAX_TRACKS:]
