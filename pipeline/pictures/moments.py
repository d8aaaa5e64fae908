"""Chooses the moments of a track that are worth looking at, and cuts the person out of their frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from models.detector import ImageHW3
from pipeline.detections import Box, lies_inside
from pipeline.records import FrameRef, FrameResult, Observation

_AT_THE_EDGE: Final = 0.2  # a person cut off by the frame's edge is worth this much of a whole one
_MARGIN: Final = 0.08  # of the box, left around it: a person is told by an outline too


class Moment(NamedTuple):
    """Is one sight of a track."""

    frame: FrameRef
    camera: str
    at_ns: int
    box: Box
    width: int  # of the source frame
    height: int
    worth: float  # how much there is to see


def worth(seen: Observation, result: FrameResult) -> float:
    """Return how much there is to see of an object: large, sure, and not cut off by the frame's edge."""
    left, top, right, bottom = seen.box
    return max(right - left, 0.0) * max(bottom - top, 0.0) * sureness(seen, result)


def sureness(seen: Observation, result: FrameResult) -> float:
    """Return how sure it is that an object is what it was taken for, whole, and no more than it: of any size.

    To learn from, since the largest box of a track is often one around two people.
    """
    whole = 1.0 if lies_inside(seen.box, (result.width, result.height)) else _AT_THE_EDGE
    return seen.score * whole


def moment_of(
    seen: Observation, result: FrameResult, value: Callable[[Observation, FrameResult], float] = worth
) -> Moment:
    """Return an observation as a moment, worth what `value` says."""
    size = (result.width, result.height)
    return Moment(result.frame, result.camera, result.captured_ns, seen.box, *size, value(seen, result))


def moments_of_tracks(
    results: Iterable[FrameResult],
    tracks: Collection[str],
    value: Callable[[Observation, FrameResult], float] = worth,
) -> dict[str, list[Moment]]:
    """Collect each track's moments, worth what `value` says, in order of time; a track that no frame shows is absent."""
    found: dict[str, list[Moment]] = {}
    for result in results:
        for seen in result.observations:
            if seen.track is not None and seen.track in tracks:
                found.setdefault(seen.track, []).append(moment_of(seen, result, value))
    return {track: sorted(moments, key=lambda moment: moment.at_ns) for track, moments in found.items()}


def best_moments(moments: Iterable[Moment], num: int) -> list[Moment]:
    """Return the most worthwhile moment of each of `num` equal stretches of time, in order of time."""
    ordered = sorted(moments, key=lambda moment: moment.at_ns)
    if not ordered:
        return []
    start_ns, span_ns = ordered[0].at_ns, ordered[-1].at_ns - ordered[0].at_ns + 1
    best: dict[int, Moment] = {}
    for moment in ordered:
        stretch = (moment.at_ns - start_ns) * num // span_ns
        if stretch not in best or moment.worth > best[stretch].worth:
            best[stretch] = moment
    return [best[stretch] for stretch in sorted(best)]


def cut(image: ImageHW3, moment: Moment) -> ImageHW3:
    """Cut the person out with a little margin; `image` is the frame, of any size."""
    left, top, right, bottom = moment.box
    margin_x, margin_y = (right - left) * _MARGIN, (bottom - top) * _MARGIN
    scale_x, scale_y = image.shape[1] / moment.width, image.shape[0] / moment.height
    x0, x1 = (max(0, round(x * scale_x)) for x in (left - margin_x, right + margin_x))
    y0, y1 = (max(0, round(y * scale_y)) for y in (top - margin_y, bottom + margin_y))
    return image[y0:y1, x0:x1].copy()
