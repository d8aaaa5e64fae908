"""Remembers what each track of a camera looks like, for trackers that are given embeddings.

Legend of shape suffixes: T tracks, N detections of the frame, D numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput

Floats = NDArray[np.float64]

UNKNOWN_TN: Final = np.zeros((0, 0))
"""Stands for no similarity at all."""


class TrackLooks:
    """Holds one unit vector for each track that was ever seen with an embedding.

    A look moves towards each new embedding by 1 - `memory` (exponential moving average, as in Wang et al., "Towards
    real-time multi-object tracking", ECCV 2020).
    """

    def __init__(self, memory: float, looks: Mapping[str, Sequence[float]] | None = None) -> None:
        self._memory = memory
        self._looks = {track: np.array(look, np.float64) for track, look in (looks or {}).items()}

    def likeness(self, ids: Sequence[str], units_ND: Floats) -> Floats:
        """Compare every track with every detection; returns T x N cosines, NaN where either is not known."""
        looks_TD = np.full((len(ids), units_ND.shape[1]), np.nan)
        for row, track in enumerate(ids):
            look_D = self._looks.get(track)
            if look_D is not None and len(look_D) == len(looks_TD[row]):  # else another network's
                looks_TD[row] = look_D
        likeness_TN: Floats = looks_TD @ units_ND.T
        return np.ascontiguousarray(likeness_TN)

    def learn(self, track_ids: Iterable[str | None], units_ND: Floats) -> None:
        """Take in what the detections of a frame look like, each told of its track."""
        for track, unit_D in zip(track_ids, units_ND, strict=True):
            if track is None or np.isnan(unit_D).any():
                continue
            known_D = self._looks.get(track)
            if known_D is not None and len(known_D) == len(unit_D):
                unit_D = self._memory * known_D + (1.0 - self._memory) * unit_D
            self._looks[track] = unit_D / max(float(np.linalg.norm(unit_D)), np.finfo(np.float64).tiny)

    def forget(self, track_ids: Iterable[str]) -> None:
        """Drop tracks that are over."""
        for track in track_ids:
            self._looks.pop(track, None)

    def of(self, track: str) -> tuple[float, ...]:
        """Return the look of a track as plain numbers, none where it is not known."""
        look_D = self._looks.get(track)
        return () if look_D is None else tuple(look_D.tolist())


def to_units(embeddings_ND: NDArray[np.floating], num_detections: int) -> Floats:
    """Scale embeddings to unit length; those that are zero or not finite become NaN, which means unknown.

    Raises:
        BadInput: when there is not one row for each detection.
    """
    if embeddings_ND.ndim != 2 or len(embeddings_ND) != num_detections:
        raise BadInput(
            f"got embeddings of shape {embeddings_ND.shape} for {num_detections} detections; "
            "expected one row for each, NaN where an embedding is not known"
        )
    values_ND = embeddings_ND.astype(np.float64)
    lengths_N1 = np.linalg.norm(values_ND, axis=1, keepdims=True)
    usable_N1 = np.isfinite(lengths_N1) & (lengths_N1 > 0.0)
    return np.where(usable_N1, values_ND / np.where(usable_N1, lengths_N1, 1.0), np.nan)
