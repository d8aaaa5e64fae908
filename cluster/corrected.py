"""Makes tasks of corrections of past results: finds the tracks that they speak of, and cuts them out of their frames."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from cluster.explain.crops import cut_out
from cluster.explain.records import Records
from models.detector import ImageHW3
from pipeline import perception
from pipeline.errors import BadTask
from pipeline.pictures.moments import Moment, best_moments, moments_of_tracks, sureness
from pipeline.records import TaskKind, TaskRecord
from pipeline.teaching import MAX_EXAMPLES, Corrections, TrackCrop, make_task

CROPS_A_TRACK: Final = 6
"""Of as many stretches of its time the best; a track shows one somebody, so that more of it says little more."""


def crops_of_tracks(records: Records, tracks: Collection[str]) -> dict[str, list[TrackCrop]]:
    """Cut tracks out of the frames that the log still keeps, as the networks see them.

    Raises:
        BadTask: nothing is known of a track, or none of its frames is kept; names it.
        LogUnavailable: the log does not answer.
    """
    cameras = {track.rpartition(":")[0] for track in tracks}
    moments = moments_of_tracks(records.read_results(cameras), tracks, sureness)
    for track in sorted(tracks):
        if track not in moments:
            raise BadTask(
                f"no result in {records.place} shows a track {track!r}; give its name as results have it, such as "
                "door:3-17-0 (camera:partition-offset-number)"
            )
    num_each = max(1, min(CROPS_A_TRACK, MAX_EXAMPLES // max(1, len(tracks))))
    best = {track: best_moments(moments[track], num_each) for track in tracks}
    crops = cut_out(records.log, [moment for chosen in best.values() for moment in chosen], as_perceived)
    found = {
        track: [TrackCrop(moment.camera, crops[moment]) for moment in chosen if moment in crops]
        for track, chosen in best.items()
    }
    for track in sorted(found):
        if not found[track]:
            raise BadTask(
                f"none of the frames that show track {track!r} is kept in the log of {records.place} any more: correct "
                "newer results, or keep frames for longer (frames_retention_bytes in the site file)"
            )
    return found


def tasks_of_classes(
    corrections: Corrections, crops: Mapping[str, Sequence[TrackCrop]], *, taught_ns: int
) -> list[TaskRecord]:
    """Make a task of each class that was corrected; the tracks of the others show what is not it.

    Raises:
        BadTask: there are too few tracks of something; see `make_task`.
    """
    pictures = corrections.class_pictures(crops)
    return [make_task(TaskKind.CLASS, name, pictures, taught_ns=taught_ns) for name in corrections.classes]


def task_of_camera(
    corrections: Corrections, camera: str, crops: Mapping[str, Sequence[TrackCrop]], *, taught_ns: int
) -> TaskRecord:
    """Make a task of a camera from those who were said to be the same in it and in others.

    Raises:
        BadTask: there are too few; see `make_task`.
    """
    pictures = corrections.camera_pictures(camera, crops)
    if not pictures:
        raise BadTask(
            f"no line says of a track in {camera!r} and of one in another camera that they are the same; give at least "
            'two such lines, {"same": ["' + camera + ':3-17-0", "yard:1-5-0"]}'
        )
    return make_task(TaskKind.CAMERA, camera, pictures, taught_ns=taught_ns)


def cameras_of(corrections: Corrections) -> list[str]:
    """Return the cameras whose tracks were said to be somebody seen elsewhere."""
    return sorted({track.rpartition(":")[0] for tracks in corrections.somebodies for track in tracks})


def as_perceived(image: ImageHW3, moment: Moment) -> ImageHW3:
    """Cut without a margin; the image may be smaller than the frame was."""
    box_4 = np.array(moment.box, np.float32) * (image.shape[1] / moment.width)
    (crop,) = perception.cut(image, box_4[np.newaxis])
    return crop
