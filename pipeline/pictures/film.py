"""Renders a run's film after the fact: the views again, with all that became known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from models.detector import ImageHW3
from pipeline.pictures.colours import Legend
from pipeline.pictures.cutouts import Cutouts
from pipeline.pictures.mosaic import Header, Layout, Mosaic, clock_time
from pipeline.pictures.trails import Trails
from pipeline.pictures.views import draw_view
from pipeline.records import FrameResult


class View(NamedTuple):
    """Is one camera's image, and which of its frames it is."""

    sequence: int
    image: ImageHW3


class FrameSink(Protocol):
    """Takes the pictures of a film, in order."""

    def write(self, image: ImageHW3) -> None:
        """Add one H x W x 3 BGR picture."""


ResultsByFrame = Mapping[tuple[str, int], FrameResult]
"""Results by (camera, sequence)."""


def index_results(results: Iterable[FrameResult]) -> dict[tuple[str, int], FrameResult]:
    """Index results by (camera, sequence); of a frame processed twice the later result stands."""
    return {(result.camera, result.sequence): result for result in results}


def film_layout(cameras: Sequence[str], results: ResultsByFrame, width: int = 1280) -> Layout:
    """Lay out the cameras in a grid whose cells have the shape of the first camera's frames."""
    for result in results.values():
        return Layout.grid(cameras, width, result.width / result.height)
    return Layout.grid(cameras, width)


def render_mosaic(
    views_at: Iterable[tuple[float, Mapping[str, View]]],
    results: ResultsByFrame,
    identity_of_track: Mapping[str, str],
    legend: Legend,
    writer: FrameSink,
    *,
    layout: Layout,
    site: str = "camweave",
    cutouts: Cutouts | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Draw each moment's views into one picture and write it; return how many pictures were written.

    Args:
        views_at: moments in order: seconds since the run's first frame, and each camera's view by camera id.
            A camera that is absent shows "no signal".
        results: what was seen in each frame, by (camera, sequence).
        identity_of_track: from `identity.identities_of_tracks`: a whole track has its latest identity's colour.
        legend: colours and names; make it from `journeys.first_seen`.
        writer: takes the pictures, each `layout.height` x `layout.width`.
        layout: where the cameras stand; `film_layout` makes one.
        site: the name in the header.
        cutouts: shown every frame before it is drawn into, to collect the chart's cut-outs.
        on_progress: told the number of pictures written after each.
    """
    picture = Mosaic(layout)
    trails = {camera: Trails() for camera in layout.cameras}
    num_written = 0
    for at_s, views in views_at:
        present: set[str] = set()
        for camera in layout.cameras:
            view = views.get(camera)
            cell = picture.place(camera, None if view is None else view.image)
            if view is not None:
                result = results.get((camera, view.sequence))
                _draw_cell(cell, at_s, camera, view, result, identity_of_track, legend, trails[camera])
                if cutouts is not None and result is not None:
                    cutouts.add(view.image, result, identity_of_track)
                present |= _identities(result, identity_of_track)
        picture.draw_header(Header(site=site, at_s=at_s, num_people=len(present)))
        writer.write(picture.image)
        num_written += 1
        on_progress(num_written)
    return num_written


def _draw_cell(
    cell: ImageHW3,
    at_s: float,
    camera: str,
    view: View,
    result: FrameResult | None,
    identity_of_track: Mapping[str, str],
    legend: Legend,
    trails: Trails,
) -> None:
    observations = () if result is None else result.observations
    frame_width, frame_height = _frame_size(result, view)
    trails.add(at_s, observations)
    draw_view(
        cell,
        observations,
        identity_of_track,
        legend,
        caption=f"{camera}  {clock_time(at_s)}",
        trails=trails,
        scale=(cell.shape[1] / frame_width, cell.shape[0] / frame_height),
    )


def _identities(result: FrameResult | None, identity_of_track: Mapping[str, str]) -> set[str]:
    tracks = () if result is None else (seen.track for seen in result.observations)
    return {identity_of_track[track] for track in tracks if track is not None and track in identity_of_track}


def _frame_size(result: FrameResult | None, view: View) -> tuple[int, int]:
    if result is None:
        return view.image.shape[1], view.image.shape[0]
    return result.width, result.height
