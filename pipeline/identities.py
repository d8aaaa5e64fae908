"""Decides who a tracklet is: somebody known, or somebody new; every change of mind is a record.

The state changes in one place, `IdentityBook.apply`, and only by a record. So the log of the records alone
rebuilds the state, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.errors import BadInput
from pipeline.gallery import Appearance, Gallery
from pipeline.records import Candidate, DecisionKind, IdentityDecision, TrackletEvent, TrackletPhase

NS = 1_000_000_000
NUM_CANDIDATES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityConfig:
    """Says when two tracklets are the same somebody, and how long anybody is remembered."""

    match_similarity: float = 0.85
    """Cosine similarity at which a tracklet is taken for somebody known."""
    memory_s: float = 1800.0
    """Seconds after the last sight for which an appearance is remembered."""
    capacity: int = 100_000
    """Appearances remembered at most; the one unseen for longest goes first."""
    num_neighbours: int = 32
    """Appearances looked at for a decision."""


@dataclass(slots=True)
class _Sighting:
    """Is what is known of one remembered track."""

    identity: str
    camera: str
    label: str
    last_ns: int
    over: bool = False


class IdentityBook:
    """Holds the identities of one site. Ask `decide`, write the record to the log, then `apply` it."""

    def __init__(self, config: IdentityConfig, embedder: str, dimension: int) -> None:
        self.config = config
        self.embedder = embedder
        self.gallery = Gallery(dimension, config.capacity, round(config.memory_s * NS))
        self._sightings: dict[str, _Sighting] = {}
        self._tracks_of: dict[str, set[str]] = {}

    @property
    def num_identities(self) -> int:
        """Return how many identities are remembered."""
        return len(self._tracks_of)

    def decide(self, camera: str, event: TrackletEvent) -> IdentityDecision | None:
        """Return the record that this event calls for, or None when it tells nothing new; changes nothing.

        Raises:
            BadInput: the embedding has another version or dimension than this site's gallery.
        """
        known = self._sightings.get(event.track)
        if event.phase is TrackletPhase.CONFIRMED:
            return self._decide_identity(camera, event) if known is None else None
        if known is None or known.over or event.at_ns < known.last_ns:
            return None  # forgotten by now, or told before
        kind = DecisionKind.END if event.phase is TrackletPhase.ENDED else DecisionKind.UPDATE
        return IdentityDecision(
            track=event.track, camera=camera, identity=known.identity, kind=kind, at_ns=event.at_ns,
            start_ns=event.start_ns, label=known.label, embedding=event.embedding, embedder=event.embedder,
        )  # fmt: skip

    def apply(self, record: IdentityDecision) -> None:
        """Change the state as the record says. Applying the same record again changes nothing.

        Raises:
            BadInput: an embedding that the gallery cannot hold; nothing is changed then.
        """
        vector_D = self.gallery.checked(_vector(record.embedding))
        for track in self.gallery.expire(record.at_ns):
            self._forget(track)
        sighting = self._sightings.get(record.track)
        if sighting is None:
            if record.kind not in (DecisionKind.MATCH, DecisionKind.NEW):
                return  # of a track forgotten since
            sighting = self._sightings[record.track] = _Sighting(
                record.identity, record.camera, record.label, record.at_ns
            )
            self._tracks_of.setdefault(record.identity, set()).add(record.track)
        sighting.last_ns = max(sighting.last_ns, record.at_ns)
        sighting.over = sighting.over or record.kind is DecisionKind.END
        for track in self.gallery.put(record.track, vector_D, record.at_ns):
            self._forget(track)

    def _decide_identity(self, camera: str, event: TrackletEvent) -> IdentityDecision:
        if event.embedder != self.embedder:
            raise BadInput(
                f"tracklet {event.track} was embedded by {event.embedder!r}, this gallery holds "
                f"{self.embedder!r}; embeddings of different versions are never compared"
            )
        candidates = self._candidates(event)
        free = [candidate for candidate in candidates if not candidate.excluded_by]
        best = free[0] if free else None
        match = best is not None and best.similarity >= self.config.match_similarity
        return IdentityDecision(
            track=event.track,
            camera=camera,
            identity=best.identity if match and best else f"id-{event.track}",
            kind=DecisionKind.MATCH if match else DecisionKind.NEW,
            at_ns=event.at_ns,
            start_ns=event.start_ns,
            label=event.label,
            threshold=self.config.match_similarity,
            similarity=best.similarity if match and best else None,
            runner_up=free[1] if match and len(free) > 1 else (best if not match else None),
            candidates=tuple(candidates[:NUM_CANDIDATES]),
            embedding=event.embedding,
            embedder=event.embedder,
        )

    def _candidates(self, event: TrackletEvent) -> list[Candidate]:
        """Rank known identities by their most similar appearance."""
        best: dict[str, Appearance] = {}
        for appearance in self.gallery.search(_vector(event.embedding), self.config.num_neighbours):
            sighting = self._sightings[appearance.track]
            if sighting.label == event.label and sighting.identity not in best:
                best[sighting.identity] = appearance
        return [
            Candidate(
                identity=identity,
                similarity=round(appearance.similarity, 6),
                excluded_by=self._excluded_by(identity, event),
            )
            for identity, appearance in best.items()
        ]

    def _excluded_by(self, identity: str, event: TrackletEvent) -> str:
        """Name the constraint that forbids this identity: nobody is twice in one view at one time."""
        for track in event.beside:
            if track in self._tracks_of[identity]:
                return f"seen beside it: {track}"
        return ""

    def _forget(self, track: str) -> None:
        sighting = self._sightings.pop(track)
        tracks = self._tracks_of[sighting.identity]
        tracks.discard(track)
        if not tracks:
            del self._tracks_of[sighting.identity]


def _vector(embedding: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    if len(embedding) % 4:
        raise BadInput(f"an embedding of {len(embedding)} bytes is not a whole number of float32 values")
    return np.frombuffer(embedding, "<f4")
