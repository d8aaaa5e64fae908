"""Holds the tracks of one camera: as arrays between two frames, and as plain values in a snapshot.

Legend of shape suffixes: T tracks, N detections, 54 = filter rows x box coordinates (pipeline.tracking.kernel).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from pipeline.errors import BadInput
from pipeline.tracking.appearance import TrackLooks
from pipeline.tracking.kernel import ALIVE, NUM_TRACK_ROWS, Floats, Indices

_FILTER_SIZE: Final = 20


class TrackSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Holds one track as a plain value; a filter as 20 numbers, row by row."""

    id: str
    label: int
    filter: tuple[float, ...]
    hits: int
    confirmed: bool
    seen_ns: int
    look: tuple[float, ...] = ()
    """What it looks like, a unit vector; empty where no embedding was given."""


class TrackerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Holds all that a camera's tracker knows between two frames, as a plain value that JSON keeps exactly."""

    camera: str
    captured_ns: int | None
    clock_ns: int
    num_clock_steps_back: int
    tracks: tuple[TrackSnapshot, ...]


class TrackRows(NamedTuple):
    """Holds tracks row by row; there may be more rows than tracks."""

    filters_T54: Floats  # as of the last sighting
    tracks_5T: (
        Indices  # label, hits, whether confirmed, when seen in ns of the tracker's clock, fate in the frame
    )


def room_for_tracks(num_rows: int, old: TrackRows | None = None) -> TrackRows:
    """Make arrays with room for `num_rows` tracks, those of `old` first."""
    rows = TrackRows(np.zeros((num_rows, 5, 4)), np.zeros((NUM_TRACK_ROWS, num_rows), np.int64))
    if old is not None:
        rows.filters_T54[: len(old.filters_T54)] = old.filters_T54
        rows.tracks_5T[:, : len(old.filters_T54)] = old.tracks_5T
    return rows


def packed(ids: Sequence[str], rows: TrackRows, looks: TrackLooks) -> tuple[TrackSnapshot, ...]:
    """Return the tracks `ids`, which stand in the first rows, as plain values."""
    return tuple(
        TrackSnapshot(
            id=track, label=label, filter=tuple(filter_54.ravel().tolist()), hits=hits, confirmed=bool(confirmed),
            seen_ns=seen_ns, look=looks.of(track),
        )
        for track, filter_54, (label, hits, confirmed, seen_ns, _) in zip(
            ids, rows.filters_T54, rows.tracks_5T.T.tolist(), strict=False
        )
    )  # fmt: skip


def unpacked(tracks: tuple[TrackSnapshot, ...]) -> TrackRows:
    """Return the arrays that plain values describe.

    Raises:
        BadInput: when a filter does not hold 20 numbers.
    """
    wrong = [track.id for track in tracks if len(track.filter) != _FILTER_SIZE]
    if wrong:
        raise BadInput(
            f"the snapshot of track {wrong[0]} does not hold 20 numbers of a filter; it was written by "
            "another version: start without it"
        )
    rows = room_for_tracks(len(tracks))
    for row, track in enumerate(tracks):
        rows.filters_T54[row] = np.array(track.filter).reshape(5, 4)
        rows.tracks_5T[:, row] = (track.label, track.hits, track.confirmed, track.seen_ns, ALIVE)
    return rows
