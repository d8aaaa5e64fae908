"""Scans with faiss-gpu where it is installed and sees a GPU. No GPU was at hand: only its logic has been tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch  # noqa: F401  # before faiss

import faiss  # isort: skip

from pipeline.gallery.kernels import Float32, Int64
from pipeline.gallery.nearest import Nearest, prove
from pipeline.gallery.rows import Rows

MAX_ASKED: Final = 2048
"""Neighbours that faiss-gpu returns at most."""


def num_gpus() -> int:
    """Return how many GPUs FAISS can use; 0 with faiss-cpu."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def gpu_index(dimension: int) -> Any:
    """Return an empty flat index on the first GPU."""
    return faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), dimension)


class GpuScan:
    """Scans a copy of the rows on a GPU, renewed before the first search after a change."""

    def __init__(self, make_index: Callable[[int], Any] = gpu_index) -> None:
        self._make_index = make_index
        self._copied: tuple[Rows, int] | None = None
        self._index: Any = None
        self._live_rows: Int64 = np.empty(0, np.int64)

    def search(self, rows: Rows, queries_ND: Float32, num: int) -> Nearest:
        """Return the `num` nearest rows, or all when there are fewer."""
        if self._copied is None or self._copied[0] is not rows or self._copied[1] != rows.num_changes:
            self._live_rows = np.nonzero(rows.error_R[: rows.num_rows] >= 0)[0]
            self._index = self._make_index(rows.dimension)
            self._index.add(rows.vectors_RD[self._live_rows])
            self._copied = (rows, rows.num_changes)
        return prove(rows, lambda queries, wanted: self._ask(rows, queries, wanted), queries_ND, num)

    def _ask(self, rows: Rows, queries_ND: Float32, wanted: int) -> tuple[Float32, Int64]:
        if wanted > MAX_ASKED:
            found: tuple[Float32, Int64] = rows.index.search(queries_ND, wanted)
            return found
        similarities_NK, at_NK = self._index.search(queries_ND, wanted)
        return similarities_NK, np.where(at_NK >= 0, self._live_rows[at_NK], -1)
