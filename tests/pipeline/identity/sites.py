"""Plays a small site: looks are unit vectors, events are told to a book as the gallery's writer does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.identity import IdentityBook, IdentityConfig
from pipeline.records import IdentityDecision, PathPoint, TrackletEvent, TrackletPhase

D = 8
NS = 1_000_000_000
LOOKS = np.eye(D, dtype=np.float32)
RED, BLUE, GREEN = LOOKS[:3]
EMBEDDER = "e@1"


def mix(share: float, other: np.ndarray = BLUE) -> np.ndarray:
    """Return a unit vector whose cosine with RED is `share`."""
    return (share * RED + np.sqrt(1 - share**2) * other).astype(np.float32)


def event(
    track: str,
    look: np.ndarray | None,
    at_s: float,
    phase: str = "confirmed",
    *,
    start_s: float | None = None,
    seen_s: float | None = None,
    label: str = "person",
    beside: tuple[str, ...] = (),
    path: Iterable[tuple[float, float, float]] = (),
    embedder: str = EMBEDDER,
) -> TrackletEvent:
    """Build an event; `path` holds (time in s, x, y)."""
    return TrackletEvent(
        track=track, phase=TrackletPhase(phase), at_ns=round(at_s * NS),
        start_ns=round((at_s - 1 if start_s is None else start_s) * NS), seen_ns=round((seen_s or at_s) * NS),
        label=label, box=(0, 0, 1, 1), num_samples=3, beside=beside,
        path=tuple(PathPoint(round(s * NS), x, y, 0.2) for s, x, y in path),
        embedding=b"" if look is None else look.astype("<f4").tobytes(), embedder="" if look is None else embedder,
    )  # fmt: skip


class Site:
    """Tells events to a book and keeps the log."""

    def __init__(self, book: IdentityBook | None = None, **config: object) -> None:
        self.book = book or IdentityBook(IdentityConfig(**config), EMBEDDER, D)  # type: ignore[arg-type]
        self.log: list[IdentityDecision] = []

    def tell(self, camera: str, news: TrackletEvent) -> list[IdentityDecision]:
        records = self.book.hear(camera, news)
        self.log.extend(records)
        return records

    def wait(self, until_s: float) -> list[IdentityDecision]:
        records = self.book.advance(round(until_s * NS))
        self.log.extend(records)
        return records

    def see(self, camera: str, track: str, look: np.ndarray, start_s: float, end_s: float) -> None:
        """Tell of a track that is confirmed after a second, and over a second after it was last seen."""
        self.tell(camera, event(track, look, start_s + 1, start_s=start_s))
        self.tell(camera, event(track, look, end_s + 1, "ended", start_s=start_s, seen_s=end_s))

    def identity(self, track: str) -> str:
        return self.book.memory.tracks[track].identity

    def groups(self) -> set[frozenset[str]]:
        return {frozenset(identity.tracks) for identity in self.book.memory.identities.values()}


def rebuilt(log: Sequence[IdentityDecision], config: IdentityConfig) -> IdentityBook:
    book = IdentityBook(config, EMBEDDER, D)
    for record in log:
        book.apply(record)
    return book
