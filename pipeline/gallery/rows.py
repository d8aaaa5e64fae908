"""Stores vectors in numbered rows that are overwritten in place: in a flat FAISS index, and as 8-bit codes beside it.

Removing from a flat FAISS index copies all that follows (22 ms at 100,000 rows); here a removed row becomes a hole
that no search returns and the next vector fills.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch  # noqa: F401  # must be loaded before faiss: the other way round their OpenMP runtimes clash
from numpy.typing import NDArray

import faiss  # isort: skip

from pipeline.gallery.kernels import Float32, Int8, quantise

FIRST_ROWS: Final = 1024
"""Rows made at first; their number doubles when they are full, so that adding costs the same on average."""
HOLE_ERROR: Final = np.float32(-np.inf)
"""Makes the upper bound of a hole minus infinity. In FAISS a hole is NaN, which compares as nearer than nothing."""


class Rows:
    """Holds float32 vectors of one dimension by row number, ready to be searched."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.index: Any = faiss.IndexFlatIP(dimension)
        self.num_rows = 0
        """Rows there are, holes included; the arrays have room for more."""
        self.num_changes = 0
        self._free: list[int] = []
        self._vectors_RD: Float32 = np.empty((0, dimension), np.float32)
        self._codes_RD: Int8 = np.empty((0, dimension), np.int8)
        self.scale_R: Float32 = np.empty(0, np.float32)
        self.error_R: Float32 = np.empty(0, np.float32)

    @property
    def vectors_RD(self) -> Float32:  # noqa: N802  # shape suffix
        """Return a view of the rows as stored; holes are NaN."""
        return self._vectors_RD[: self.num_rows]

    @property
    def codes_RD(self) -> Int8:  # noqa: N802  # shape suffix
        """Return a view of the rows' 8-bit codes."""
        return self._codes_RD[: self.num_rows]

    def add(self, vector_D: Float32) -> int:
        """Store a vector in a hole or in a new row; return its number."""
        if self._free:
            row = self._free.pop()
        else:
            row = self.num_rows
            if row == len(self._vectors_RD):
                self._resize(max(FIRST_ROWS, 2 * row))
            self.num_rows = self.index.ntotal = row + 1
        self.write(row, vector_D)
        return row

    def write(self, row: int, vector_D: Float32) -> None:
        """Overwrite one row."""
        self._vectors_RD[row] = vector_D
        part = slice(row, row + 1)
        quantise(self._vectors_RD[part], self._codes_RD[part], self.scale_R[part], self.error_R[part])
        self.num_changes += 1

    def clear(self, rows: list[int]) -> None:
        """Make holes of rows."""
        self._vectors_RD[rows] = np.nan
        self.error_R[rows] = HOLE_ERROR
        self.scale_R[rows] = 0.0
        self._free.extend(rows)
        self.num_changes += 1

    def _resize(self, room: int) -> None:
        """Make room for so many rows. FAISS owns the memory of the vectors, and may move it only here."""
        used = self.num_rows
        self.index.add(np.zeros((room - used, self.dimension), np.float32))
        flat: NDArray[np.float32] = faiss.rev_swig_ptr(self.index.get_xb(), room * self.dimension)
        self._vectors_RD = flat.reshape(room, self.dimension)
        self.index.ntotal = used
        codes_RD = np.zeros((room, self.dimension), np.int8)
        scale_R, error_R = np.zeros(room, np.float32), np.full(room, HOLE_ERROR)
        codes_RD[:used], scale_R[:used], error_R[:used] = self.codes_RD, self.scale_R, self.error_R
        self._codes_RD, self.scale_R, self.error_R = codes_RD, scale_R, error_R
