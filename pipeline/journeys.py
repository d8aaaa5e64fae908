"""Tells who was where when, from the result records of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pipeline.errors import BadInput
from pipeline.identity import identities_of_tracks
from pipeline.records import FrameResult, IdentityDecision

MERGE_GAP_S: Final = 2.0
"""An identity unseen by a camera for at most this long has not left its view."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Sighting:
    """Is a stretch of time in which one camera saw one identity; sorts by time.

    Raises:
        BadInput: it ends before it starts.
    """

    start_s: float
    """Seconds since the run's first frame, camera clocks aligned."""
    end_s: float
    camera: str
    identity: str

    def __post_init__(self) -> None:
        if not self.start_s <= self.end_s:
            raise BadInput(f"a sighting lasts from {self.start_s} to {self.end_s} s; expected start <= end")


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneySummary:
    """Counts journeys, and lists the cameras of each in the order of its visits."""

    num_identities: int
    num_cross_camera: int
    """Identities seen by two cameras or more."""
    cameras_of: Mapping[str, tuple[str, ...]]
    """By identity, in order of first sighting; going back to a camera lists it again."""


def sightings(
    frame_results: Iterable[FrameResult],
    decisions: Iterable[IdentityDecision],
    *,
    merge_gap_s: float = MERGE_GAP_S,
    clock_offsets_s: Mapping[str, float] | None = None,
) -> list[Sighting]:
    """Join the moments at which a camera saw an identity into stretches, sorted by time.

    Moments at most `merge_gap_s` apart belong to one stretch, whichever tracks they come from. A camera's
    clock offset is how far its clock runs ahead of the site's; it is taken off. A whole track belongs to the
    identity that it has in the end, also before that was decided. Time starts at the earliest frame, empty ones included.
    """
    offsets_ns = {camera: round(offset * 1e9) for camera, offset in (clock_offsets_s or {}).items()}
    identity_of = identities_of_tracks(decisions)
    moments: set[tuple[str, str, int]] = set()
    first_ns: int | None = None
    for result in frame_results:
        at_ns = result.captured_ns - offsets_ns.get(result.camera, 0)
        first_ns = at_ns if first_ns is None else min(first_ns, at_ns)
        for seen in result.observations:
            if seen.track is not None and seen.track in identity_of:
                moments.add((identity_of[seen.track], result.camera, at_ns))
    found: list[Sighting] = []
    for (identity, camera), group in groupby(sorted(moments), key=lambda moment: moment[:2]):
        times_s = [(at_ns - (first_ns or 0)) / 1e9 for _, _, at_ns in group]
        found.extend(
            Sighting(identity=identity, camera=camera, start_s=start_s, end_s=end_s)
            for start_s, end_s in stretches(times_s, merge_gap_s)
        )
    return sorted(found)


def stretches(times_s: Iterable[float], merge_gap_s: float) -> list[tuple[float, float]]:
    """Join ascending times into (start, end) stretches that are more than `merge_gap_s` apart."""
    joined: list[tuple[float, float]] = []
    for time_s in times_s:
        if joined and time_s - joined[-1][1] <= merge_gap_s:
            joined[-1] = joined[-1][0], time_s
        else:
            joined.append((time_s, time_s))
    return joined


def first_seen(seen: Iterable[Sighting]) -> list[str]:
    """List identities by order of first sighting: the order in which pictures name and colour them."""
    return list(dict.fromkeys(sighting.identity for sighting in sorted(seen)))


def summarise_journeys(seen: Iterable[Sighting]) -> JourneySummary:
    """Count identities and list each one's cameras in the order of its visits."""
    visits: dict[str, list[str]] = {}
    for sighting in sorted(seen):
        cameras = visits.setdefault(sighting.identity, [])
        if not cameras or cameras[-1] != sighting.camera:
            cameras.append(sighting.camera)
    return JourneySummary(
        num_identities=len(visits),
        num_cross_camera=sum(len(set(cameras)) >= 2 for cameras in visits.values()),
        cameras_of={identity: tuple(cameras) for identity, cameras in visits.items()},
    )
