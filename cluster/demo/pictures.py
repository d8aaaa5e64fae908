"""Draws what a demo run found: the mosaic film and the chart of journeys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import av
import numpy as np

from cluster.demo.report import Results, embedder_version
from cluster.progress import DemoProgress
from cluster.video_writer import VideoWriter
from models.files import write_atomically
from pipeline.identity import identities_of_tracks
from pipeline.journeys import first_seen, sightings
from pipeline.pictures import Legend, View, journeys_png, render_mosaic
from pipeline.pictures.cutouts import Cutouts
from pipeline.pictures.film import film_layout, index_results
from pipeline.virtual_cameras import VirtualCamera, render

MOSAIC = "mosaic.mp4"
JOURNEYS = "journeys.png"


def draw_pictures(
    out: Path,
    video: Path,
    fps: float,
    cameras: Sequence[VirtualCamera],
    results: Results,
    progress: DemoProgress,
) -> None:
    """Write `mosaic.mp4` and `journeys.png` into `out`."""
    seen = sightings(
        results.tracks, results.decisions, clock_offsets_s={c.camera: c.clock_offset_s for c in cameras}
    )
    legend = Legend.of(first_seen(seen))
    names = [camera.camera for camera in cameras]
    by_frame = index_results(results.tracks)
    identity_of = identities_of_tracks(results.decisions)
    num_frames = 1 + max((result.sequence for result in results.tracks), default=-1)
    layout = film_layout(names, by_frame)
    cutouts = Cutouts()
    with VideoWriter(out / MOSAIC, fps, layout.width, layout.height) as writer:
        render_mosaic(
            _views(video, fps, cameras, num_frames), by_frame, identity_of, legend, writer, layout=layout,
            cutouts=cutouts,
            on_progress=lambda done: progress.rendering(done, num_frames),
        )  # fmt: skip
    embedder = embedder_version(results)
    chart = journeys_png(
        seen, legend, cameras=names, crops=cutouts.by_identity(), note=f"told apart by {embedder}" if embedder else ""
    )  # fmt: skip
    write_atomically(out / JOURNEYS, chart)


def _views(
    video: Path, fps: float, cameras: Sequence[VirtualCamera], num_frames: int
) -> Iterator[tuple[float, Mapping[str, View]]]:
    with av.open(str(video)) as container:
        for sequence, frame in enumerate(container.decode(video=0)):
            if sequence >= num_frames:
                return
            image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            yield sequence / fps, {c.camera: View(sequence, render(c, image)) for c in cameras}
