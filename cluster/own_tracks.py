"""Makes a task of a camera's own past tracks: reads who was found where, and cuts them out of the frames in the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cluster.corrected import as_perceived
from cluster.explain.crops import cut_out
from cluster.explain.records import Records
from cluster.log.protocol import Log, TopicPartition
from pipeline.errors import BadInput, BadTask
from pipeline.identity import identities_of_tracks
from pipeline.pictures.moments import moments_of_tracks, sureness
from pipeline.records import FrameResult, IdentityDecision, TaskKind, TaskRecord
from pipeline.teaching import PastTrack, choose_tracks, make_task

_OTHERWISE: Final = "or say who is the same (--pairs or --corrections)"


def task_of_own_tracks(records: Records, camera: str, *, taught_ns: int) -> TaskRecord:
    """Make a task of what a site has seen and found itself; its labels are identities, and tracks of strangers.

    It holds pictures, which the learner embeds by the frozen network: it matters neither which embedder saw them at the
    time nor whether the camera had been taught before.

    Raises:
        BadTask: the camera has no tracks, none of their frames is kept, or too few identities were found in it and in
            another camera; says what to do.
        LogUnavailable: the log does not answer.
    """
    cameras = sorted({decision.camera for decision in records.decisions})
    if camera not in cameras:
        raise BadTask(
            f"{records.place} knows no track of camera {camera!r}, only of {', '.join(cameras) or 'none'}: let the site "
            f"run until it has seen somebody there, {_OTHERWISE}"
        )
    kept = {
        seen.track for result in _kept_results(records, cameras) for seen in result.observations if seen.track
    }
    tracks = [track for track in _past_tracks(records) if track.name in kept]
    if not any(track.camera == camera for track in tracks):
        raise BadTask(
            f"none of the frames that show tracks of {camera!r} is kept in the log of {records.place} any more: keep "
            f"frames for longer (frames_retention_bytes in the site file), {_OTHERWISE}"
        )
    chosen = choose_tracks(tracks, camera)
    sights = chosen.sights(moments_of_tracks(_kept_results(records, cameras), chosen.names, sureness))
    crops = cut_out(records.log, [sight.moment for sight in sights], as_perceived)
    pictures = chosen.pictures((sight, crops[sight.moment]) for sight in sights if sight.moment in crops)
    return make_task(TaskKind.CAMERA, camera, pictures, taught_ns=taught_ns)


def _past_tracks(records: Records) -> list[PastTrack]:
    """Return all tracks that were decided on, each with the identity that it has in the end."""
    last: dict[str, IdentityDecision] = {}
    for decision in sorted(records.decisions, key=lambda one: one.at_ns):
        last[decision.track] = decision
    identity_of = identities_of_tracks(records.decisions)
    return [
        PastTrack(track, one.camera, identity_of[track], one.label, one.seen_ns or one.start_ns)
        for track, one in last.items()
    ]


def _kept_results(records: Records, cameras: list[str]) -> Iterator[FrameResult]:
    """Yield the results of frames that the log still keeps."""
    begins: dict[str, dict[TopicPartition, int]] = {}
    for result in records.read_results(cameras):
        topic = result.frame.topic
        if topic not in begins:
            begins[topic] = _beginnings(records.log, topic)
        place = TopicPartition(topic, result.frame.partition)
        if place in begins[topic] and result.frame.offset >= begins[topic][place]:
            yield result


def _beginnings(log: Log | None, topic: str) -> dict[TopicPartition, int]:
    try:
        return log.beginning_offsets(topic) if log is not None else {}
    except BadInput:  # a log without the topic has no frames
        return {}
