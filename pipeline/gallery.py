"""Keeps the appearances of a site's tracks in a FAISS index, bounded in number and in age.

A row is one track's appearance. Rows are overwritten in place: removing from a flat FAISS index copies all
that follows (22 ms at 100,000 rows), overwriting one row costs microseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput


class Appearance(NamedTuple):
    """Is one stored row that a query came close to."""

    track: str
    similarity: float  # cosine, in [-1, 1]


class Gallery:
    """Holds at most `capacity` unit vectors of length `dimension`, one a track, for `ttl_ns` after they were last put."""

    def __init__(self, dimension: int, capacity: int, ttl_ns: int) -> None:
        if dimension < 1 or capacity < 1 or ttl_ns < 1:
            raise BadInput(
                f"a gallery of dimension {dimension}, capacity {capacity}, time to live {ttl_ns} ns cannot be; "
                "each must be at least 1"
            )
        self.dimension = dimension
        self.capacity = capacity
        self.ttl_ns = ttl_ns
        self._index = faiss.IndexFlatIP(dimension)
        self._row_of: OrderedDict[str, int] = OrderedDict()  # least recently put first
        self._put_ns: dict[str, int] = {}
        self._track_of: list[str | None] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._row_of)

    def put(self, track: str, embedding_D: NDArray[np.float32], at_ns: int) -> list[str]:
        """Store or overwrite a track's appearance; return the tracks forgotten to make room (at most one).

        Raises:
            BadInput: another dimension than the gallery's, or a vector that is not finite or not of unit length.
        """
        row_D = self.checked(embedding_D)
        evicted: list[str] = []
        if track not in self._row_of and len(self._row_of) >= self.capacity:
            oldest = next(iter(self._row_of))
            self.remove(oldest)
            evicted.append(oldest)
        self._write(self._row(track), row_D)
        self._row_of.move_to_end(track)
        self._put_ns[track] = max(at_ns, self._put_ns.get(track, at_ns))
        return evicted

    def checked(self, embedding_D: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vector as the gallery stores it.

        Raises:
            BadInput: another dimension than the gallery's, or a vector that is not finite or not of unit length.
        """
        vector = np.ascontiguousarray(embedding_D, dtype=np.float32)
        if vector.shape != (self.dimension,):
            raise BadInput(
                f"embedding has shape {vector.shape}, the gallery holds vectors of length {self.dimension}; "
                "a gallery belongs to one embedder"
            )
        norm = float(np.linalg.norm(vector))
        if not abs(norm - 1.0) < 1e-3:  # also true for NaN
            raise BadInput(f"embedding has length {norm:.4g}, expected a finite vector of unit length")
        return vector

    def search(self, embedding_D: NDArray[np.float32], num: int) -> list[Appearance]:
        """Return the `num` closest appearances, best first; equal ones in order of track name."""
        query = self.checked(embedding_D)[None]
        if not self._row_of:
            return []
        wanted = min(num + len(self._free), self._index.ntotal)
        similarities, rows = self._index.search(query, wanted)
        found = [
            Appearance(track, float(similarity))
            for similarity, row in zip(similarities[0], rows[0], strict=True)
            if row >= 0 and (track := self._track_of[row]) is not None
        ]
        found.sort(key=lambda appearance: (-appearance.similarity, appearance.track))
        return found[:num]

    def remove(self, track: str) -> None:
        """Forget a track; unknown ones are ignored."""
        row = self._row_of.pop(track, None)
        if row is None:
            return
        del self._put_ns[track]
        self._write(row, np.zeros(self.dimension, np.float32))
        self._track_of[row] = None
        self._free.append(row)

    def expire(self, now_ns: int) -> list[str]:
        """Forget and return the tracks whose time to live has passed at `now_ns`."""
        expired = []
        for track in self._row_of:
            if self._put_ns[track] + self.ttl_ns > now_ns:
                break
            expired.append(track)
        for track in expired:
            self.remove(track)
        return expired

    def _row(self, track: str) -> int:
        if track in self._row_of:
            return self._row_of[track]
        if self._free:
            row = self._free.pop()
        else:
            row = self._index.ntotal
            self._index.add(np.zeros((1, self.dimension), np.float32))
            self._track_of.append(None)
        self._row_of[track] = row
        self._track_of[row] = track
        return row

    def _write(self, row: int, vector_D: NDArray[np.float32]) -> None:
        # The view is taken anew each time: adding a row may move the index's memory.
        rows = faiss.rev_swig_ptr(self._index.get_xb(), self._index.ntotal * self.dimension)
        rows[row * self.dimension : (row + 1) * self.dimension] = vector_D
