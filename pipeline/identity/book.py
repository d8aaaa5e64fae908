"""Decides who a tracklet is: somebody known, or somebody new; every change of mind is a record.

Decisions are taken in rounds, once a tick of event time, about all that is in doubt together: the surest join of two
identities first, then the next surest in the light of that. So each record follows from the records before it and
from nothing else: in whatever batches the events come, and wherever a process dies, the records are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Final, NamedTuple

from pipeline.identity.config import NS, IdentityConfig
from pipeline.identity.memory import IdentityMemory, SiteMemory, TrackMemory, own_identity
from pipeline.identity.weighing import Weighed, Weighing
from pipeline.records import Candidate, DecisionKind, IdentityDecision, TrackletEvent, TrackletPhase

NUM_CANDIDATES: Final = 5
"""Candidates that a record names."""


class _Ranked(NamedTuple):
    identity: str
    weighed: Weighed


class _Join(NamedTuple):
    """Is a decision that may be taken: that two identities are one."""

    asking: IdentityMemory
    chosen: _Ranked
    threshold: float


class IdentityBook:
    """Holds the identities of one site. Tell it all events in order of time, and let it `advance` in between."""

    def __init__(self, config: IdentityConfig, embedder: str, dimension: int) -> None:
        self.config = config
        self.embedder = embedder
        self.memory = SiteMemory(config, embedder, dimension)
        self._weighing = Weighing(self.memory)
        self._tick_ns = round(config.tick_s * NS)
        self._next_tick_ns: int | None = None

    @property
    def num_identities(self) -> int:
        """Return how many identities are remembered."""
        return len(self.memory.identities)

    @property
    def num_appearances(self) -> int:
        """Return how many appearances are remembered."""
        return self.memory.num_appearances

    def apply(self, record: IdentityDecision) -> None:
        """Rebuild from a record of the log (see `SiteMemory.apply`).

        A round of decisions that the log may hold in part is gone over again.
        """
        self.memory.apply(record)
        told = record.kind in (DecisionKind.WAIT, DecisionKind.UPDATE, DecisionKind.END)
        tick_ns = self._tick_from(record.at_ns + 1 if told else record.at_ns)
        self._next_tick_ns = max(tick_ns, self._next_tick_ns or 0)

    def hear(self, camera: str, event: TrackletEvent) -> list[IdentityDecision]:
        """Take in an event; return the records, already applied, that it and the time passed by then call for.

        Raises:
            BadInput: the embedding cannot be held; nothing has changed then.
        """
        if event.embedding:
            self.memory.check(event.embedding, event.embedder)
        records = self.advance(event.at_ns)
        record = self._record_of(camera, event)
        if record is not None:
            self.memory.apply(record)
            records.append(record)
            if self._next_tick_ns is None:
                self._next_tick_ns = self._tick_from(event.at_ns + 1)
        return records

    def advance(self, now_ns: int) -> list[IdentityDecision]:
        """Decide all that is due by `now_ns`, before which all events were told; return the records, applied."""
        records: list[IdentityDecision] = []
        while self._next_tick_ns is not None and self._next_tick_ns <= now_ns:
            tick_ns = self._next_tick_ns
            records.extend(self._round(tick_ns))
            doubt = any(not identity.settled for identity in self.memory.identities.values())
            self._next_tick_ns = tick_ns + self._tick_ns if doubt else None
        return records

    def _tick_from(self, at_ns: int) -> int:
        return -(-at_ns // self._tick_ns) * self._tick_ns

    def _record_of(self, camera: str, event: TrackletEvent) -> IdentityDecision | None:
        """Return the record of an event, or None when it tells nothing new."""
        known = self.memory.tracks.get(event.track)
        if known is None and event.phase is TrackletPhase.CONFIRMED:
            kind = DecisionKind.WAIT
        elif known is None or known.over or event.at_ns < known.heard_ns:
            return None  # forgotten by now, or told before
        elif event.phase is TrackletPhase.ENDED:
            kind = DecisionKind.END
        elif event.phase is TrackletPhase.CONFIRMED or event.at_ns == known.heard_ns:
            return None
        else:
            kind = DecisionKind.UPDATE
        return IdentityDecision(
            track=event.track, camera=camera, kind=kind,
            identity=own_identity(event.track) if known is None else known.identity,
            at_ns=event.at_ns, start_ns=event.start_ns, label=event.label, seen_ns=event.seen_ns,
            path=event.path, beside=event.beside, embedding=event.embedding, embedder=event.embedder,
        )  # fmt: skip

    def _round(self, tick_ns: int) -> list[IdentityDecision]:
        """Take all decisions of one tick, each in the light of those before it."""
        records: list[IdentityDecision] = []
        rankings: dict[str, list[_Ranked]] = {}
        while (record := self._next_record(tick_ns, rankings)) is not None:
            self.memory.apply(record)
            records.append(record)
            rankings = self._without(rankings, record)
        return records

    def _without(
        self, rankings: dict[str, list[_Ranked]], record: IdentityDecision
    ) -> dict[str, list[_Ranked]]:
        """Drop the rankings that a decision has changed."""
        touched = {record.identity, record.absorbed, record.split_from}
        return {
            name: ranked
            for name, ranked in rankings.items()
            if name not in touched and not any(one.identity in touched for one in ranked)
        }

    def _next_record(self, tick_ns: int, rankings: dict[str, list[_Ranked]]) -> IdentityDecision | None:
        asking = self._asking(tick_ns)
        for identity in asking:
            if len(identity.tracks) > 1 and (record := self._split(identity, tick_ns)) is not None:
                return record
        self._rank([one for one in asking if one.name not in rankings], rankings, tick_ns)
        joins = [join for one in asking if (join := self._join(one, asking, rankings, tick_ns)) is not None]
        if joins:
            best = max(joins, key=lambda join: (join.chosen.weighed.score, join.asking.name))
            return self._record_join(best, rankings[best.asking.name], tick_ns)
        for identity in asking:
            if not identity.settled and self._is_due(identity, tick_ns):
                why = "end of track" if _is_over(identity) else "deadline"
                return self._record_new(identity, rankings[identity.name], tick_ns, why)
        return None

    def _asking(self, tick_ns: int) -> list[IdentityMemory]:
        """Return the identities to decide on: those in doubt, and those of which something new is known."""
        if self.memory.topology.changed_ns >= tick_ns - self._tick_ns:
            # What cameras have in common is seen in a new light: so are the latest ways through them.
            return list(self.memory.latest_identities())
        heard = {t.identity for t in self.memory.recent(tick_ns) if t.heard_ns >= tick_ns - self._tick_ns}
        return [one for one in self.memory.identities.values() if not one.settled or one.name in heard]

    def _is_due(self, identity: IdentityMemory, tick_ns: int) -> bool:
        return tick_ns >= identity.due_ns or _is_over(identity)

    def _rank(self, unranked: list[IdentityMemory], rankings: dict[str, list[_Ranked]], tick_ns: int) -> None:
        """Weigh identities against all that look like them, or were about lately; best first."""
        asked = {
            one.name: [
                track
                for track in one.tracks.values()
                if not one.settled or track.heard_ns >= tick_ns - self._tick_ns
            ]
            for one in unranked
        }
        found = self.memory.nearest(itertools.chain(*asked.values()), self.config.num_neighbours)
        about = [track.identity for track in self.memory.recent(tick_ns)] if unranked else []
        for identity in unranked:
            alike = (near.track for track in asked[identity.name] for near in found.get(track.track, ()))
            names = dict.fromkeys(self.memory.tracks[track].identity for track in alike)
            names.update(dict.fromkeys(about))
            names.pop(identity.name, None)
            ranked = (
                _Ranked(name, self._weighing.weigh(identity, self.memory.identities[name])) for name in names
            )
            rankings[identity.name] = sorted(ranked, key=lambda one: (-one.weighed.score, one.identity))

    def _join(
        self,
        asking: IdentityMemory,
        everyone: list[IdentityMemory],
        rankings: dict[str, list[_Ranked]],
        tick_ns: int,
    ) -> _Join | None:
        """Return the join that an identity asks for, if it is sure enough, or due."""
        free = [one for one in rankings[asking.name] if not one.weighed.excluded_by]
        if not free:
            return None
        best, score = free[0], free[0].weighed.score
        if asking.settled and self.memory.identities[best.identity].settled:
            return _Join(asking, best, self.config.merge_score) if score >= self.config.merge_score else None
        if self._is_due(asking, tick_ns):
            return _Join(asking, best, self.config.match_score) if score >= self.config.match_score else None
        margin = score - free[1].weighed.score if len(free) > 1 else score
        sure = score >= self.config.sure_score and margin >= self.config.sure_margin
        if not sure or any(self._rivals(asking, best, rival, rankings) for rival in everyone):
            return None
        return _Join(asking, best, self.config.sure_score)

    def _rivals(
        self, asking: IdentityMemory, best: _Ranked, rival: IdentityMemory, rankings: dict[str, list[_Ranked]]
    ) -> bool:
        """Say whether another one in doubt fits the same identity better, and both cannot have it."""
        if rival is asking or rival.settled or rival.name == best.identity:
            return False
        better = any(
            one.identity == best.identity
            and one.weighed.score > best.weighed.score
            and not one.weighed.excluded_by
            for one in rankings[rival.name]
        )
        return better and any(
            self._weighing.conflict(mine, other)
            for mine in asking.tracks.values()
            for other in rival.tracks.values()
        )

    def _record_join(self, join: _Join, ranked: list[_Ranked], tick_ns: int) -> IdentityDecision:
        other = self.memory.identities[join.chosen.identity]
        kept, absorbed = sorted((join.asking, other), key=_seniority)
        free = [one for one in ranked if not one.weighed.excluded_by]
        weighed = join.chosen.weighed
        track = _earliest(absorbed.tracks.values())
        return IdentityDecision(
            track=track.track, camera=track.camera, identity=kept.name, absorbed=absorbed.name,
            kind=DecisionKind.MERGE if absorbed.settled else DecisionKind.MATCH,
            at_ns=tick_ns, start_ns=track.start_ns, label=track.label,
            moved=tuple(sorted(absorbed.tracks)), embedder=track.embedder,
            threshold=join.threshold, similarity=round(weighed.similarity, 6), score=round(weighed.score, 4),
            evidence=weighed.evidence, decided_by=_strongest(weighed),
            runner_up=free[1].weighed.candidate(free[1].identity) if len(free) > 1 else None,
            candidates=_candidates(ranked),
        )  # fmt: skip

    def _record_new(
        self, identity: IdentityMemory, ranked: list[_Ranked], tick_ns: int, decided_by: str
    ) -> IdentityDecision:
        track = _earliest(identity.tracks.values())
        best = next((one for one in ranked if not one.weighed.excluded_by), None)
        return IdentityDecision(
            track=track.track, camera=track.camera, identity=identity.name, kind=DecisionKind.NEW,
            at_ns=tick_ns, start_ns=track.start_ns, label=track.label, embedder=track.embedder,
            threshold=self.config.match_score, decided_by=decided_by,
            runner_up=None if best is None else best.weighed.candidate(best.identity),
            candidates=_candidates(ranked),
        )  # fmt: skip

    def _split(self, identity: IdentityMemory, tick_ns: int) -> IdentityDecision | None:
        """Return the record that takes an identity apart, if two of its tracks cannot be one somebody."""
        found = self._weighing.contradiction(identity)
        if found is None:
            return None
        moved = found.leaving
        track = _earliest(moved)
        return IdentityDecision(
            track=track.track, camera=track.camera, identity=own_identity(track.track), kind=DecisionKind.SPLIT,
            at_ns=tick_ns, start_ns=track.start_ns, label=track.label, embedder=track.embedder,
            decided_by=found.reason, split_from=identity.name,
            moved=tuple(sorted(track.track for track in moved)), threshold=self.config.split_score,
        )  # fmt: skip


def _is_over(identity: IdentityMemory) -> bool:
    """Say whether nothing more will be known of any of its tracks."""
    return all(track.over for track in identity.tracks.values())


def _seniority(identity: IdentityMemory) -> tuple[bool, int, str]:
    """Order identities by who keeps the name when two are one: the settled one, the older one."""
    return not identity.settled, identity.first_ns, identity.name


def _earliest(tracks: Iterable[TrackMemory]) -> TrackMemory:
    return min(tracks, key=lambda track: (track.start_ns, track.track))


def _strongest(weighed: Weighed) -> str:
    parts = {name: getattr(weighed.evidence, name) for name in ("appearance", "motion", "transit")}
    return max(parts, key=lambda name: parts[name])


def _candidates(ranked: list[_Ranked]) -> tuple[Candidate, ...]:
    return tuple(one.weighed.candidate(one.identity) for one in ranked[:NUM_CANDIDATES])
