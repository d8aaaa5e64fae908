"""Holds all that a site knows of its identities. It changes in one place, `SiteMemory.apply`, and only by a record.

So the log of the records alone rebuilds it bit for bit, with what was learned of cameras and ways between them.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput
from pipeline.gallery import Appearance, GalleryVersions
from pipeline.identity.centring import CameraMeans
from pipeline.identity.config import NS, IdentityConfig
from pipeline.identity.likeness import Likeness
from pipeline.identity.paths import Path
from pipeline.identity.topology import Topology
from pipeline.records import DecisionKind, IdentityDecision

Vector = NDArray[np.float32]

MAX_EMBEDDERS: Final = 4
"""Versions of embeddings held beside each other: one in use, one that replaces it, and some grace."""
MAX_BESIDE: Final = 256
"""Names kept of tracks seen beside one track."""
MAX_RECENT: Final = 128
"""Tracks heard of lately that are compared by their ways."""
RECENT_S: Final = 10.0
"""Seconds for which a track counts as heard of lately."""
SHARED_S: Final = 3.0
"""Seconds back for which points of two cameras are paired: a camera reports every two seconds."""


@dataclass(slots=True, eq=False)
class TrackMemory:
    """Is what is remembered of one track."""

    track: str
    camera: str
    label: str
    identity: str
    number: int
    start_ns: int
    seen_ns: int
    heard_ns: int
    over: bool = False
    embedder: str = ""
    vector_D: Vector | None = None
    centred_D: Vector | None = None
    """The look without what all looks in the camera share, as of `centred_version`; see `SiteMemory.similarity`."""
    centred_version: int = -1
    path: Path = field(default_factory=Path)
    beside: OrderedDict[str, None] = field(default_factory=OrderedDict)
    unlearned: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Those beside it whose looks have not been compared with its own."""
    version: int = 0
    """Changes with every record of the track."""


@dataclass(slots=True, eq=False)
class IdentityMemory:
    """Is one identity: the tracks that are somebody. While it is not settled, its tracks are still in doubt."""

    name: str
    tracks: dict[str, TrackMemory] = field(default_factory=dict)
    settled: bool = False
    due_ns: int = 0
    """When it must be settled."""
    stamp: int = 0
    """Changes with its tracks and with all that is told of them; never the same twice in a site."""

    @property
    def first_ns(self) -> int:
        """Return when the earliest of its tracks was first seen."""
        return min(track.start_ns for track in self.tracks.values())


class SiteMemory:
    """Holds tracks, identities, appearances, and what was learned of the site; all of it bounded."""

    def __init__(self, config: IdentityConfig, embedder: str, dimension: int) -> None:
        self.config = config
        self.now_ns = -1
        """Time of the latest record."""
        self.tracks: OrderedDict[str, TrackMemory] = OrderedDict()  # unheard of for longest first
        self.identities: dict[str, IdentityMemory] = {}
        self.topology = Topology()
        self._likeness: dict[str, Likeness] = {}
        self._means: dict[str, CameraMeans] = {}
        self._ttl_ns = round(config.memory_s * NS)
        self._galleries = GalleryVersions(config.capacity, self._ttl_ns, max_versions=MAX_EMBEDDERS)
        self._galleries.open(embedder, dimension)
        self._num_tracks = 0
        self._num_changes = 0
        self._num_known = (-1, 0)

    @property
    def num_appearances(self) -> int:
        """Return how many appearances are remembered."""
        return len(self._galleries)

    @property
    def num_known(self) -> int:
        """Return how many identities have two tracks or more: single ones are often fragments of others."""
        if self._num_known[0] != self._num_changes:
            known = sum(len(identity.tracks) > 1 for identity in self.identities.values())
            self._num_known = self._num_changes, known
        return self._num_known[1]

    def likeness(self, embedder: str) -> Likeness:
        """Return what similarities of an embedder mean here."""
        if embedder not in self._likeness:
            self._likeness[embedder] = Likeness(self.config.calibration(embedder))
        return self._likeness[embedder]

    def similarity(self, first: TrackMemory, second: TrackMemory) -> float | None:
        """Return the cosine similarity of two tracks, each without its camera's mean look.

        None when different embedders saw them.
        """
        if first.embedder != second.embedder:
            return None
        one_D, other_D = self._centred(first), self._centred(second)
        return None if one_D is None or other_D is None else float(one_D @ other_D)

    @property
    def means_version(self) -> int:
        """Return a number that changes whenever similarities do."""
        return sum(means.version for means in self._means.values())

    def _centred(self, track: TrackMemory) -> Vector | None:
        if track.vector_D is None:
            return None
        means = self._means[track.embedder]
        if track.centred_version != means.version or track.centred_D is None:
            track.centred_D = means.centred(track.camera, track.vector_D)
            track.centred_version = means.version
        return track.centred_D

    def nearest(self, tracks: Iterable[TrackMemory], num: int) -> dict[str, list[Appearance]]:
        """Return by track the appearances closest to its own, of the same embedder; all are searched together."""
        looks: dict[str, dict[str, Vector]] = {}
        for track in tracks:
            if track.vector_D is not None:
                looks.setdefault(track.embedder, {})[track.track] = track.vector_D
        found: dict[str, list[Appearance]] = {}
        for embedder, vectors in looks.items():
            batch_ND = np.stack(list(vectors.values()))
            found.update(zip(vectors, self._galleries.search_batch(embedder, batch_ND, num), strict=True))
        return found

    def recent(self, now_ns: int) -> Iterator[TrackMemory]:
        """Yield the tracks heard of lately, latest first."""
        horizon_ns = now_ns - round(RECENT_S * NS)
        for track in itertools.islice(reversed(self.tracks.values()), MAX_RECENT):
            if track.heard_ns < horizon_ns:
                return
            yield track

    def latest_identities(self) -> list[IdentityMemory]:
        """Return the identities of the tracks heard of last, and all that are in doubt."""
        tracks = itertools.islice(reversed(self.tracks.values()), MAX_RECENT)
        names = dict.fromkeys(track.identity for track in tracks)
        names.update((name, None) for name, identity in self.identities.items() if not identity.settled)
        return [self.identities[name] for name in names]

    def check(self, embedding: bytes, embedder: str) -> Vector:
        """Return an embedding as its gallery holds it.

        Raises:
            BadInput: it is not a finite vector of unit length and of the embedder's dimension.
        """
        if len(embedding) % 4 or not embedding:
            raise BadInput(
                f"an embedding of {len(embedding)} bytes is not one or more float32 values; expected 4 bytes each"
            )
        vector_D = np.frombuffer(embedding, "<f4")
        return self._galleries.checked(embedder, vector_D)

    def apply(self, record: IdentityDecision) -> None:
        """Change the state as the record says. Applying the same record again changes nothing.

        Raises:
            BadInput: an embedding that the gallery cannot hold; nothing is changed then.
        """
        vector_D = self.check(record.embedding, record.embedder) if record.embedding else None
        self.now_ns = max(self.now_ns, record.at_ns)
        self._expire(record.at_ns)
        known = self.tracks.get(record.track)
        if record.kind in (DecisionKind.UPDATE, DecisionKind.END):
            if known is not None and not known.over and record.at_ns >= known.heard_ns:
                self._learn(known, record, vector_D)
            return
        if known is None and vector_D is not None:
            self._learn(self._begin(record), record, vector_D)
        if record.kind is not DecisionKind.WAIT:
            self._move(record)

    def _begin(self, record: IdentityDecision) -> TrackMemory:
        self._num_tracks += 1
        name = own_identity(record.track) if record.kind is DecisionKind.WAIT else record.identity
        known = self.tracks[record.track] = TrackMemory(
            record.track, record.camera, record.label, name, self._num_tracks, record.start_ns,
            record.start_ns, record.at_ns,
        )  # fmt: skip
        identity = self.identities.setdefault(name, IdentityMemory(name))
        identity.tracks[record.track] = known
        identity.due_ns = record.at_ns + round(self.config.decide_within_s * NS)
        while len(self.tracks) > self.config.capacity:
            self._forget(next(iter(self.tracks.values())))
        return known

    def _learn(self, known: TrackMemory, record: IdentityDecision, vector_D: Vector | None) -> None:
        """Take in what a record tells of a track."""
        known.heard_ns = record.at_ns
        known.seen_ns = max(known.seen_ns, record.seen_ns or record.at_ns)
        known.over = known.over or record.kind is DecisionKind.END
        known.version += 1
        self.tracks.move_to_end(known.track)
        known.unlearned.update((name, None) for name in record.beside if name not in known.beside)
        known.beside.update(dict.fromkeys(record.beside))
        while len(known.beside) > MAX_BESIDE:
            known.beside.popitem(last=False)
        while len(known.unlearned) > MAX_BESIDE:
            known.unlearned.popitem(last=False)
        if vector_D is not None:
            if record.embedder not in self._means:
                self._means[record.embedder] = CameraMeans(len(vector_D))
            if known.embedder != record.embedder:  # so that each track counts once
                self._means[record.embedder].learn(known.camera, vector_D)
            known.vector_D, known.embedder, known.centred_D = vector_D.copy(), record.embedder, None
            self._galleries.put(record.embedder, known.track, vector_D, record.at_ns)
        self._learn_others(known)
        self._touch(known.identity)
        times_s = known.path.extend(record.path)
        if len(times_s):
            self._share(known, times_s)

    def _learn_others(self, known: TrackMemory) -> None:
        """Learn how alike two look that were seen side by side; two somebodies count once, however many their tracks."""
        mine = self.identities[known.identity]
        if not mine.settled:
            return
        for name in list(known.unlearned):
            other = self.tracks.get(name)
            if other is not None and not self.identities[other.identity].settled:
                continue
            known.unlearned.pop(name)
            if other is None or other.label != known.label:
                continue
            other.unlearned.pop(known.track, None)
            similarity = self.similarity(known, other)
            if similarity is not None:
                weight = 1 / (len(mine.tracks) * len(self.identities[other.identity].tracks))
                self.likeness(known.embedder).learn_other(similarity, weight)

    def _share(self, known: TrackMemory, times_s: NDArray[np.float64]) -> None:
        """Learn which places two cameras both see, from the tracks that other cameras have at these times."""
        for other in self.recent(known.heard_ns):
            if other.camera == known.camera or other.label != known.label or not len(other.path):
                continue
            if other.path.times_s[-1] < times_s[0] - SHARED_S:
                continue
            similarity = self.similarity(known, other)
            odds = 0.0 if similarity is None else self.likeness(known.embedder).weigh(similarity)
            self.topology.share(known, other, times_s, odds)

    def _move(self, record: IdentityDecision) -> None:
        """Give tracks another identity, and settle it."""
        moved = [self.tracks[name] for name in record.moved if name in self.tracks]
        moved = [track for track in moved if track.identity != record.identity]
        kept = self.identities.get(record.identity)
        joining = record.kind in (DecisionKind.MATCH, DecisionKind.MERGE)
        if joining and kept is not None and moved:
            self.topology.learn_join(moved, list(kept.tracks.values()))
            self._learn_apart(moved, (record.identity, record.absorbed))
        elif record.kind is DecisionKind.NEW and kept is not None and not kept.settled:
            self._learn_apart(list(kept.tracks.values()), (record.identity,))
        for track in moved:
            self._leave(track)
            track.identity = record.identity
            home = self.identities.setdefault(record.identity, IdentityMemory(record.identity))
            home.tracks[track.track] = track
            self._touch(record.identity)
        if kept is None or not joining:  # who joins somebody in doubt is in doubt with them
            self._settle(record.identity)

    def _settle(self, name: str) -> None:
        if name in self.identities:
            self.identities[name].settled = True

    def _learn_apart(self, tracks: list[TrackMemory], own: tuple[str, ...]) -> None:
        """Learn from who these tracks are not."""
        others = [list(one.tracks.values()) for one in self.latest_identities() if one.name not in own]
        self.topology.learn_apart(tracks, others)

    def _leave(self, track: TrackMemory) -> None:
        identity = self.identities[track.identity]
        del identity.tracks[track.track]
        self._touch(track.identity)
        if not identity.tracks:
            del self.identities[track.identity]

    def _touch(self, identity: str) -> None:
        self._num_changes += 1
        self.identities[identity].stamp = self._num_changes

    def _expire(self, now_ns: int) -> None:
        self._galleries.expire(now_ns)
        while self.tracks:
            oldest = next(iter(self.tracks.values()))
            if oldest.heard_ns + self._ttl_ns > now_ns:
                return
            self._forget(oldest)

    def _forget(self, track: TrackMemory) -> None:
        del self.tracks[track.track]
        self._leave(track)
        self._galleries.remove(track.track)


def own_identity(track: str) -> str:
    """Name the identity that begins with a track: like the track's, it derives from a frame, and is unique."""
    return f"id-{track}"
