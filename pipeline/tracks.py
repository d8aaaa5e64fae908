"""Holds the tracks of one camera: as arrays between two frames, and as plain values in a snapshot.

Legend of shape suffixes: T tracks, 54 = filter rows x box coordinates (pipeline.kalman).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class TrackSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Holds one track as a plain value; a filter as 20 numbers, row by row."""

    id: str
    label: int
    filter: tuple[float, ...]
    hits: int
    confirmed: bool
    visible: bool
    seen_ns: int


class TrackerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Holds all that a camera's tracker knows between two frames, as a plain value that JSON keeps exactly."""

    camera: str
    captured_ns: int | None
    clock_ns: int
    num_clock_steps_back: int
    tracks: tuple[TrackSnapshot, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tracks:
    """Holds T tracks, each array one property of all of them."""

    ids: tuple[str, ...]
    filters_T54: Floats  # as of the last sighting
    labels_T: Integers
    hits_T: Integers
    confirmed_T: Flags
    visible_T: Flags  # seen in the latest frame
    seen_ns_T: Integers  # of the tracker's own clock

    def __len__(self) -> int:
        return len(self.ids)

    def kept(self, keep_T: Flags) -> Tracks:
        """Return only the tracks asked for."""
        if keep_T.all():
            return self
        return Tracks(
            ids=self.named(keep_T),
            filters_T54=self.filters_T54[keep_T],
            labels_T=self.labels_T[keep_T],
            hits_T=self.hits_T[keep_T],
            confirmed_T=self.confirmed_T[keep_T],
            visible_T=self.visible_T[keep_T],
            seen_ns_T=self.seen_ns_T[keep_T],
        )

    def named(self, flags_T: Flags) -> tuple[str, ...]:
        """Return the ids of the tracks asked for."""
        return tuple([self.ids[index] for index in np.flatnonzero(flags_T).tolist()])

    def joined(self, other: Tracks) -> Tracks:
        """Return these tracks followed by `other`."""
        if not len(other):
            return self
        return Tracks(
            ids=self.ids + other.ids,
            filters_T54=np.concatenate((self.filters_T54, other.filters_T54)),
            labels_T=np.concatenate((self.labels_T, other.labels_T)),
            hits_T=np.concatenate((self.hits_T, other.hits_T)),
            confirmed_T=np.concatenate((self.confirmed_T, other.confirmed_T)),
            visible_T=np.concatenate((self.visible_T, other.visible_T)),
            seen_ns_T=np.concatenate((self.seen_ns_T, other.seen_ns_T)),
        )

    def packed(self) -> tuple[TrackSnapshot, ...]:
        """Return the tracks as plain values."""
        return tuple(
            TrackSnapshot(
                id=self.ids[index],
                label=int(self.labels_T[index]),
                filter=tuple(self.filters_T54[index].ravel().tolist()),
                hits=int(self.hits_T[index]),
                confirmed=bool(self.confirmed_T[index]),
                visible=bool(self.visible_T[index]),
                seen_ns=int(self.seen_ns_T[index]),
            )
            for index in range(len(self))
        )

    @classmethod
    def unpacked(cls, tracks: tuple[TrackSnapshot, ...] = ()) -> Self:
        """Return the tracks that plain values describe.

        Raises:
            BadInput: when a filter does not hold 20 numbers.
        """
        wrong = [track.id for track in tracks if len(track.filter) != 20]
        if wrong:
            raise BadInput(
                f"the snapshot of track {wrong[0]} does not hold 20 numbers of a filter; it was written by "
                "another version: start without it"
            )
        return cls(
            ids=tuple(track.id for track in tracks),
            filters_T54=np.array([track.filter for track in tracks], np.float64).reshape(-1, 5, 4),
            labels_T=np.array([track.label for track in tracks], np.int64),
            hits_T=np.array([track.hits for track in tracks], np.int64),
            confirmed_T=np.array([track.confirmed for track in tracks], np.bool_),
            visible_T=np.array([track.visible for track in tracks], np.bool_),
            seen_ns_T=np.array([track.seen_ns for track in tracks], np.int64),
        )
