"""Knows how a site's cameras hang together, as far as it was learned: views in common, and ways between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.identity.config import NS
from pipeline.identity.covisibility import SAME_CAMERA, FloorMap, PointPairs, SharedView
from pipeline.identity.motion import MotionEvidence, weigh_motion
from pipeline.identity.transit import Delay, TransitTimes

if TYPE_CHECKING:
    from pipeline.identity.memory import TrackMemory

Floats = NDArray[np.float64]

VELOCITY_STEP_S: Final = 0.5
MIN_ODDS: Final = -4.0
"""Two tracks that look less alike than this teach nothing about what two cameras have in common."""
MOMENTS_A_SECOND: Final = 1000
MAX_DELAYED: Final = 8
"""Tracks of an identity whose times are compared, the latest."""
MAX_CAMERA_PAIRS: Final = 4096
"""Pairs of cameras whose common view is learned."""


class Topology:
    """Learns from tracks and decisions; asked about pairs of tracks."""

    def __init__(self) -> None:
        self.views: dict[tuple[str, str], SharedView] = {}
        self.transit = TransitTimes()
        self.changed_ns = -1
        """When a map between two cameras was last found or corrected."""

    @property
    def version(self) -> int:
        """Return a number that changes whenever a map between two cameras does."""
        return sum(view.version for view in self.views.values())

    def share(self, known: TrackMemory, other: TrackMemory, times_s: Floats, odds: float) -> None:
        """Learn from the places where two tracks were at some times of `known`, which look alike by `odds`."""
        if odds < MIN_ODDS:
            return
        first, second = (known, other) if known.camera < other.camera else (other, known)
        mine_K2, other_K2 = known.path.at(times_s)[:, :2], other.path.at(times_s)[:, :2]
        firsts_K2, seconds_K2 = (mine_K2, other_K2) if first is known else (other_K2, mine_K2)
        use = np.flatnonzero(np.isfinite(mine_K2).all(axis=1) & np.isfinite(other_K2).all(axis=1))
        key = (first.camera, second.camera)
        if not len(use) or (key not in self.views and len(self.views) >= MAX_CAMERA_PAIRS):
            return
        view = self.views.setdefault(key, SharedView())
        version = view.version
        view.add(
            PointPairs(
                firsts_K2[use], seconds_K2[use], _velocity(second, times_s[use]),
                np.full(len(use), 1 / (1 + np.exp(-odds))),
                np.full(len(use), (first.number << 31) + second.number, np.int64),
                (times_s[use] * MOMENTS_A_SECOND).astype(np.int64) * 4099 + first.number,
            )
        )  # fmt: skip
        if view.version != version:
            self.changed_ns = known.heard_ns

    def floor_map(self, first: str, second: str) -> FloorMap | None:
        """Return the map from one camera's picture to another's, if it is known; `first` <= `second`."""
        if first == second:
            return SAME_CAMERA
        view = self.views.get((first, second))
        return None if view is None else view.floor_map

    def weigh_motion(self, one: TrackMemory, other: TrackMemory, max_gap_s: float) -> MotionEvidence | None:
        """Compare two tracks' ways; None where nothing is known or they are far apart in time."""
        if gap_s(one, other) > max_gap_s:
            return None
        first, second = (one, other) if one.camera <= other.camera else (other, one)
        found = self.floor_map(first.camera, second.camera)
        return None if found is None else weigh_motion(first.path, second.path, found, max_gap_s)

    def learn_join(self, moved: Sequence[TrackMemory], kept: Sequence[TrackMemory]) -> None:
        """Learn the times between the tracks of two groups that are one somebody."""
        self.transit.learn_same(delays(moved, kept))

    def learn_apart(self, moved: Sequence[TrackMemory], others: Sequence[Sequence[TrackMemory]]) -> None:
        """Learn the same of groups that are different ones."""
        for tracks in others:
            self.transit.learn_other(delays(moved, tracks))


def gap_s(one: TrackMemory, other: TrackMemory) -> float:
    """Return the seconds between two tracks; negative where they overlap in time."""
    return (max(one.start_ns, other.start_ns) - min(one.seen_ns, other.seen_ns)) / NS


def delays(some: Sequence[TrackMemory], others: Sequence[TrackMemory]) -> list[Delay]:
    """Return the signed times between the tracks of two groups, of the latest tracks of each."""
    return [delay_of(one, other) for one in some[-MAX_DELAYED:] for other in others[-MAX_DELAYED:]]


def delay_of(one: TrackMemory, other: TrackMemory) -> Delay:
    """Return the time from the one track's end to the other's start, whichever comes first by its camera's clock."""
    first, second = (
        (one, other) if (one.camera, one.start_ns) <= (other.camera, other.start_ns) else (other, one)
    )
    if first.start_ns <= second.start_ns:
        elapsed_ns = second.start_ns - first.seen_ns
    else:
        elapsed_ns = second.seen_ns - first.start_ns
    return Delay((first.camera, second.camera), elapsed_ns / NS)


def _velocity(track: TrackMemory, times_s: Floats) -> Floats:
    """Return a track's velocity at some times, K x 2; 0 where the path does not tell."""
    before, after = track.path.at(times_s - VELOCITY_STEP_S), track.path.at(times_s + VELOCITY_STEP_S)
    here = track.path.at(times_s)
    central = (after - before) / (2 * VELOCITY_STEP_S)
    backward = (here - before) / VELOCITY_STEP_S
    forward = (after - here) / VELOCITY_STEP_S
    found = np.where(np.isfinite(central), central, np.where(np.isfinite(backward), backward, forward))
    return np.asarray(np.nan_to_num(found[:, :2]))
