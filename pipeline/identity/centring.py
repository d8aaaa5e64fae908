"""Learns what all looks in a camera have in common, so that it is not taken for likeness.

A camera's light, colours and sharpness shift the embeddings of everybody in it alike: two strangers in one dim
corridor resemble each other more than one person does in it and outside. So looks are compared without the mean of
their camera (camera-based normalisation, after Zhuang et al., "Rethinking the distribution gap of person
re-identification with camera-based batch normalization", ECCV 2020, but learned while running).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

PRIOR_COUNT: Final = 10.0
"""Tracks that weigh as much as knowing nothing: for a camera the whole site's mean, for the site none."""
MAX_COUNT: Final = 2000.0
"""From this many tracks on, those of a camera count half: light changes with the day."""
NEWS_SHARE: Final = 0.2
"""Means are worked out again when so many more tracks have been seen: then all that was compared is compared again."""


class CameraMeans:
    """Holds the mean look in each camera, for one embedder of dimension D."""

    def __init__(self, dimension: int) -> None:
        self.version = 0
        """Changes whenever the means do."""
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, float] = {}
        self._num_new = 0
        self._site_D = np.zeros(dimension)
        self._means: dict[str, NDArray[np.float64]] = {}

    def learn(self, camera: str, vector_D: Vector) -> None:
        """Learn from the look of one more track, of unit length."""
        self._sums[camera] = self._sums.get(camera, 0.0) + vector_D.astype(np.float64)
        self._counts[camera] = self._counts.get(camera, 0.0) + 1.0
        if self._counts[camera] > MAX_COUNT:
            self._sums[camera], self._counts[camera] = self._sums[camera] / 2, self._counts[camera] / 2
        self._num_new += 1
        if self._num_new >= NEWS_SHARE * sum(self._counts.values()):
            self._publish()

    def centred(self, camera: str, vector_D: Vector) -> Vector:
        """Return a look without what it shares with all in its camera, of unit length."""
        centred_D = vector_D - self._means.get(camera, self._site_D)
        return np.asarray(centred_D / max(float(np.linalg.norm(centred_D)), 1e-6), np.float32)

    def _publish(self) -> None:
        total = sum(self._counts.values())
        self._site_D = np.sum(list(self._sums.values()), axis=0) / (total + PRIOR_COUNT)
        self._means = {
            camera: (sum_D + PRIOR_COUNT * self._site_D) / (self._counts[camera] + PRIOR_COUNT)
            for camera, sum_D in self._sums.items()
        }
        self._num_new = 0
        self.version += 1
