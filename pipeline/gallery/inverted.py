"""Searches only the part of a large gallery that lies near a query: FAISS inverted lists, built the same every time.

Which list a vector is in, and which lists a query looks at, is decided by exact search among the centroids; the
k-means that places these sums in one order. So the same history gives the same lists on every machine. What is
found may miss a neighbour in a list that was not looked at: this is the price, and the only one.

Inverted file: Sivic and Zisserman, ICCV 2003; for vectors Jégou, Douze and Schmid, PAMI 2011. Spherical k-means:
Dhillon and Modha, Machine Learning 2001.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch  # noqa: F401  # before faiss

import faiss  # isort: skip

from pipeline.gallery.kernels import Float32, Int64, mean_directions
from pipeline.gallery.nearest import Nearest, Scan, prove
from pipeline.gallery.rows import Rows

SAMPLES_PER_LIST: Final = 39
"""Vectors that place one centroid; FAISS warns below this number."""
ROUNDS: Final = 6
"""Rounds of k-means; few do, since a centroid need only be near its vectors."""
BATCH: Final = 256
"""Vectors assigned at once."""


def train(vectors_ND: Float32, num_lists: int, scan: Scan) -> Float32:
    """Return centroids of shape (num_lists, D), placed by spherical k-means on evenly spaced vectors."""
    step = max(1, len(vectors_ND) // (num_lists * SAMPLES_PER_LIST))
    sample_ND = np.ascontiguousarray(vectors_ND[::step])
    centroids_LD = sample_ND[:: max(1, len(sample_ND) // num_lists)][:num_lists].copy()
    for _ in range(ROUNDS):
        mean_directions(sample_ND, _assign(sample_ND, _rows_of(centroids_LD), scan), centroids_LD)
    return centroids_LD


class InvertedLists:
    """Keeps every stored row in the list of its nearest centroid, and searches the lists nearest to a query."""

    def __init__(self, centroids_LD: Float32, num_probes: int, scan: Scan) -> None:
        self.centroids_LD = centroids_LD
        self._centroids = _rows_of(centroids_LD)
        self.num_probes = min(num_probes, len(centroids_LD))
        self._scan = scan
        dimension = centroids_LD.shape[1]
        self._quantizer: Any = faiss.IndexFlatIP(dimension)  # must outlive the index, which only points to it
        self._quantizer.add(centroids_LD)
        self._index: Any = faiss.IndexIVFFlat(
            self._quantizer, dimension, len(centroids_LD), faiss.METRIC_INNER_PRODUCT
        )
        self._index.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]  # made by SWIG

    def add(self, rows_N: Int64, vectors_ND: Float32) -> None:
        """Put rows into the lists of their vectors."""
        lists_N = _assign(vectors_ND, self._centroids, self._scan)
        self._index.add_core(
            len(rows_N), faiss.swig_ptr(np.ascontiguousarray(vectors_ND)), faiss.swig_ptr(rows_N),
            faiss.swig_ptr(lists_N),
        )  # fmt: skip

    def remove(self, rows_N: Int64) -> None:
        """Take rows out of their lists."""
        self._index.remove_ids(faiss.IDSelectorArray(len(rows_N), faiss.swig_ptr(rows_N)))

    def search(self, rows: Rows, queries_ND: Float32, num: int) -> Nearest:
        """Return the `num` nearest rows among the lists nearest to each query."""
        return prove(rows, self._search_lists, queries_ND, num)

    def _search_lists(self, queries_ND: Float32, num: int) -> tuple[Float32, Int64]:
        nearest = self._scan.search(self._centroids, queries_ND, self.num_probes)
        lists_NP = np.empty((len(queries_ND), self.num_probes), np.int64)
        closeness_NP = np.empty((len(queries_ND), self.num_probes), np.float32)
        for n, (start, stop) in enumerate(pairwise(nearest.offsets)):
            best = np.lexsort((nearest.rows[start:stop], -nearest.similarities[start:stop]))[
                : self.num_probes
            ]
            lists_NP[n] = nearest.rows[start:stop][best]
            closeness_NP[n] = nearest.similarities[start:stop][best]
        self._index.nprobe = self.num_probes
        found: tuple[Float32, Int64] = self._index.search_preassigned(
            queries_ND, num, Iq=lists_NP, Dq=closeness_NP
        )
        return found


def _rows_of(vectors_ND: Float32) -> Rows:
    rows = Rows(vectors_ND.shape[1])
    for vector_D in vectors_ND:
        rows.add(vector_D)
    return rows


def _assign(vectors_ND: Float32, centroids: Rows, scan: Scan) -> Int64:
    """Return the nearest centroid of each vector; of equally near ones the first."""
    parts = []
    for start in range(0, len(vectors_ND), BATCH):
        nearest = scan.search(centroids, vectors_ND[start : start + BATCH], 1)
        parts.append(np.minimum.reduceat(nearest.rows, nearest.offsets[:-1]))
    return np.concatenate(parts).astype(np.int64)
