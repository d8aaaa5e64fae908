"""Follows one camera: its tracker and its tracklets, one frame after the other."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.frames import FrameHeader
from pipeline.looks import Looks
from pipeline.perception import Seen
from pipeline.records import FrameRef, FrameResult, Observation, TrackletEvent
from pipeline.tracker import CameraTracker, TrackerConfig
from pipeline.tracklets import CameraTracklets, SampleRequest, TrackletConfig


class FollowedFrame(NamedTuple):
    """Is a frame whose objects have been tracked, waiting for the embeddings that it asks for."""

    result: FrameResult
    samples: list[SampleRequest]
    sample_boxes_N4: NDArray[np.float32]  # pixels of the source frame
    ended: tuple[str, ...]


class CompleteFrame(NamedTuple):
    """Is a frame after which nothing more is learned of it, and what the gallery must hear."""

    result: FrameResult
    events: tuple[TrackletEvent, ...]


class Camera:
    """Holds all that is known of one camera's present. Frames come in order."""

    def __init__(
        self,
        camera: str,
        tracker: TrackerConfig,
        tracklets: TrackletConfig,
        embedder: str,
    ) -> None:
        self.camera = camera
        self.watermark_ns = 0
        self._tracker = CameraTracker(camera, tracker)
        self._tracklets = CameraTracklets(tracklets, embedder)

    def follow(self, header: FrameHeader, ref: FrameRef, seen: Seen) -> FollowedFrame:
        """Associate a frame's detections with the tracks."""
        detections, models = seen
        update = self._tracker.update(detections, header.captured_ns, ref)
        size = (header.width, header.height)
        samples = self._tracklets.observe(update, seen, header.captured_ns, size)
        observations = tuple(
            Observation(
                box=tuple(round(float(v), 2) for v in box_4),  # type: ignore[arg-type]  # four by shape
                score=round(float(score), 4),
                label=models.class_names[int(label)],
                track=track,
                confirmed=confirmed,
            )
            for box_4, score, label, track, confirmed in zip(
                detections.boxes_N4, detections.scores_N, detections.labels_N, update.track_ids, update.confirmed,
                strict=True,
            )
        )  # fmt: skip
        result = FrameResult(
            frame=ref, camera=self.camera, sequence=header.sequence, captured_ns=header.captured_ns,
            width=header.width, height=header.height, model_version=models.version, observations=observations,
        )  # fmt: skip
        rows = [sample.detection for sample in samples]
        return FollowedFrame(result, samples, detections.boxes_N4[rows], update.ended + update.abandoned)

    def learn_appearance(self, frame: FollowedFrame, looks: Looks) -> CompleteFrame:
        """Take in the looks that a followed frame asked for; return all that is known after it."""
        self._tracklets.add_samples(frame.samples, looks)
        self.watermark_ns = max(self.watermark_ns, frame.result.captured_ns)
        result = self._with_taught_classes(frame.result)
        return CompleteFrame(result, self._tracklets.news(frame.ended, frame.result.captured_ns))

    def _with_taught_classes(self, result: FrameResult) -> FrameResult:
        beliefs = [self._tracklets.taught(observation.track) for observation in result.observations]
        if not any(beliefs):
            return result
        observations = tuple(
            msgspec.structs.replace(observation, taught=belief) if belief else observation
            for observation, belief in zip(result.observations, beliefs, strict=True)
        )
        return msgspec.structs.replace(result, observations=observations)

    def finish(self) -> tuple[TrackletEvent, ...]:
        """End all tracks, because the stream is over."""
        return self._tracklets.news(self._tracker.finish(), self.watermark_ns)
