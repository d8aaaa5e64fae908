"""Collects one good cut-out of each identity from each camera, for the chart of journeys."""

from __future__ import annotations

from collections.abc import Mapping

from models.detector import ImageHW3
from pipeline.pictures.moments import worth
from pipeline.records import FrameResult, Observation


class Cutouts:
    """Keeps, by identity and camera, the cut-out of the largest, surest box that the frame does not cut off."""

    def __init__(self) -> None:
        self._best: dict[tuple[str, str], tuple[float, ImageHW3]] = {}

    def add(self, image: ImageHW3, result: FrameResult, identity_of_track: Mapping[str, str]) -> None:
        """Look at one frame, as yet without drawings; `image` may have another size than the frame analysed."""
        for seen in result.observations:
            identity = identity_of_track.get(seen.track or "")
            if identity is None:
                continue
            key, value = (identity, result.camera), worth(seen, result)
            if key not in self._best or value > self._best[key][0]:
                crop = _cut(image, seen, result)
                if crop.size:
                    self._best[key] = value, crop

    def by_identity(self) -> dict[str, list[tuple[str, ImageHW3]]]:
        """Return each identity's (camera, cut-out) pairs, by camera."""
        found: dict[str, list[tuple[str, ImageHW3]]] = {}
        for (identity, camera), (_, crop) in sorted(self._best.items(), key=lambda item: item[0]):
            found.setdefault(identity, []).append((camera, crop))
        return found


def _cut(image: ImageHW3, seen: Observation, result: FrameResult) -> ImageHW3:
    scale_x, scale_y = image.shape[1] / result.width, image.shape[0] / result.height
    left, right = (max(0, round(x * scale_x)) for x in seen.box[::2])
    top, bottom = (max(0, round(y * scale_y)) for y in seen.box[1::2])
    return image[top:bottom, left:right].copy()
