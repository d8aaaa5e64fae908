"""Keeps the appearances of a site's tracks, bounded in number and in age, and finds those nearest to a query."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.gallery.inverted import InvertedLists, train
from pipeline.gallery.kernels import Float32, Int64
from pipeline.gallery.nearest import UNIT_TOLERANCE, Nearest
from pipeline.gallery.rows import Rows
from pipeline.gallery.scans import SearchConfig, build_scan

MAX_BATCH: Final = 256
"""Queries searched at once; bounds the memory of a search."""


class Appearance(msgspec.Struct, frozen=True, gc=False):
    """Is one stored row that a query came close to. A batch has thousands: a struct is the quickest to make."""

    track: str
    similarity: float
    """Cosine, in [-1, 1], in double precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GallerySnapshot:
    """Is all that a gallery knows, in the order in which tracks were last put."""

    capacity: int
    ttl_ns: int
    tracks: tuple[str, ...]
    put_ns_N: Int64
    embeddings_ND: Float32
    centroids_LD: Float32
    """Centroids of the inverted lists; of shape (0, D) while there are none."""


class Gallery:
    """Holds at most `capacity` unit vectors of length `dimension`, one a track, for `ttl_ns` after they were last put.

    What a search returns depends on what was put, removed and expired, and on nothing else: not on the machine, the
    number of threads, the size of the batch or a restart between. One thread at a time may use it.
    """

    def __init__(
        self, dimension: int, capacity: int, ttl_ns: int, search: SearchConfig | None = None
    ) -> None:
        if dimension < 1 or capacity < 1 or ttl_ns < 1:
            raise BadInput(
                f"a gallery of dimension {dimension}, capacity {capacity}, time to live {ttl_ns} ns cannot be; "
                "each must be at least 1"
            )
        self.dimension = dimension
        self.capacity = capacity
        self.ttl_ns = ttl_ns
        self.search_config = search or SearchConfig()
        self._scan = build_scan(self.search_config)
        self._rows = Rows(dimension)
        self._lists: InvertedLists | None = None
        self._row_of: OrderedDict[str, int] = OrderedDict()  # least recently put first
        self._track_of: list[str] = []  # by row; holes keep the last
        self._put_ns: dict[str, int] = {}
        self._num_puts = 0
        self._last_put: dict[str, int] = {}
        self._by_age: list[tuple[int, float, str]] = []  # (put_ns, number of the put, track), stale ones too

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, track: object) -> bool:
        return track in self._row_of

    def put(self, track: str, embedding_D: ArrayLike, at_ns: int) -> list[str]:
        """Store or overwrite a track's appearance; return the tracks forgotten to make room (at most one).

        Raises:
            BadInput: another dimension than the gallery's, or a vector that is not finite or not of unit length.
        """
        vector_D = self.checked(embedding_D)
        evicted: list[str] = []
        if track not in self._row_of and len(self._row_of) >= self.capacity:
            evicted.append(next(iter(self._row_of)))
            self._forget(evicted)
        known = track in self._row_of
        self._store(track, vector_D, at_ns)
        if self._lists:
            row_1 = np.array([self._row_of[track]])
            if known:
                self._lists.remove(row_1)
            self._lists.add(row_1, vector_D[None])
        self._choose_lists()
        return evicted

    def checked(self, embedding_D: ArrayLike) -> Float32:
        """Return the vector as the gallery stores it.

        Raises:
            BadInput: another dimension than the gallery's, or a vector that is not finite or not of unit length.
        """
        vector_D = np.ascontiguousarray(embedding_D, dtype=np.float32)
        if vector_D.shape != (self.dimension,):
            raise BadInput(
                f"embedding has shape {vector_D.shape}, the gallery holds vectors of length {self.dimension}; "
                "a gallery belongs to one embedder"
            )
        self._check_lengths(vector_D[None])
        return vector_D

    def search(self, embedding_D: ArrayLike, num: int) -> list[Appearance]:
        """Return the `num` closest appearances, best first; equal ones in order of track name.

        Raises:
            BadInput: a vector that `checked` refuses, or `num` below 1.
        """
        return self.search_batch(self.checked(embedding_D)[None], num)[0]

    def search_batch(self, embeddings_ND: ArrayLike, num: int) -> list[list[Appearance]]:
        """Return for each embedding what `search` returns for it alone, in a fraction of the time.

        Raises:
            BadInput: embeddings not of shape (N, dimension), a vector that `checked` refuses, or `num` below 1.
        """
        queries_ND = np.ascontiguousarray(embeddings_ND, dtype=np.float32)
        if queries_ND.ndim != 2 or queries_ND.shape[1] != self.dimension:
            raise BadInput(
                f"embeddings have shape {queries_ND.shape}, expected (N, {self.dimension}); "
                "a gallery belongs to one embedder"
            )
        if num < 1:
            raise BadInput(f"asked for the {num} closest, expected at least 1")
        self._check_lengths(queries_ND)
        if not self._row_of:
            return [[] for _ in queries_ND]
        asked = min(num, len(self._row_of))
        found: list[list[Appearance]] = []
        for start in range(0, len(queries_ND), MAX_BATCH):
            part_ND = queries_ND[start : start + MAX_BATCH]
            found += self._named((self._lists or self._scan).search(self._rows, part_ND, asked), num)
        return found

    def remove(self, track: str) -> None:
        """Forget a track; unknown ones are ignored."""
        if track in self._row_of:
            self._forget([track])

    def expire(self, now_ns: int) -> list[str]:
        """Forget and return the tracks whose time to live has passed at `now_ns`, the one put longest ago first."""
        end = bisect_right(self._by_age, (now_ns - self.ttl_ns, math.inf, ""))
        if not end:
            return []
        expired = [track for _, put, track in self._by_age[:end] if self._last_put.get(track) == put]
        del self._by_age[:end]
        if expired:
            self._forget(expired)
        return expired

    def snapshot(self) -> GallerySnapshot:
        """Return all that is needed to go on elsewhere as if nothing had happened."""
        no_centroids_LD = np.empty((0, self.dimension), np.float32)
        return GallerySnapshot(
            capacity=self.capacity,
            ttl_ns=self.ttl_ns,
            tracks=tuple(self._row_of),
            put_ns_N=np.array([self._put_ns[track] for track in self._row_of], np.int64),
            embeddings_ND=self._rows.vectors_RD[list(self._row_of.values())],
            centroids_LD=self._lists.centroids_LD.copy() if self._lists else no_centroids_LD,
        )

    @classmethod
    def restore(cls, snapshot: GallerySnapshot, search: SearchConfig | None = None) -> Gallery:
        """Return a gallery that answers, expires and evicts as the one that was snapshotted.

        Raises:
            BadInput: a vector in it that a gallery would refuse.
        """
        gallery = cls(snapshot.embeddings_ND.shape[1], snapshot.capacity, snapshot.ttl_ns, search)
        gallery._check_lengths(snapshot.embeddings_ND)
        for track, at_ns, vector_D in zip(
            snapshot.tracks, snapshot.put_ns_N.tolist(), snapshot.embeddings_ND, strict=True
        ):
            gallery._store(track, vector_D, at_ns)
        if len(snapshot.centroids_LD):
            gallery._use_lists(snapshot.centroids_LD)
        return gallery

    def _check_lengths(self, vectors_ND: Float32) -> None:
        lengths_N = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))
        wrong = np.nonzero(~(np.abs(lengths_N - 1.0) < UNIT_TOLERANCE))[0]  # also true for NaN
        if len(wrong):
            raise BadInput(
                f"embedding has length {lengths_N[wrong[0]]:.4g}, expected a finite vector of unit length"
            )

    def _named(self, nearest: Nearest, num: int) -> list[list[Appearance]]:
        tracks = map(self._track_of.__getitem__, nearest.rows.tolist())
        appearances = list(map(Appearance, tracks, nearest.similarities.tolist()))
        ties = bool((np.diff(nearest.similarities) == 0).any())
        named = []
        for start, stop in pairwise(nearest.offsets.tolist()):
            found = appearances[start:stop]
            if ties:
                found.sort(key=lambda appearance: (-appearance.similarity, appearance.track))
            named.append(found[:num])
        return named

    def _store(self, track: str, vector_D: Float32, at_ns: int) -> None:
        row = self._row_of.get(track)
        if row is None:
            row = self._rows.add(vector_D)
            self._row_of[track] = row
            self._track_of[row : row + 1] = [track]
        else:
            self._rows.write(row, vector_D)
            self._row_of.move_to_end(track)
        self._put_ns[track] = max(at_ns, self._put_ns.get(track, at_ns))
        self._num_puts += 1
        self._last_put[track] = self._num_puts
        insort(self._by_age, (self._put_ns[track], self._num_puts, track))
        if len(self._by_age) > 2 * self.capacity:  # else tracks put again and again would fill it
            self._by_age = [entry for entry in self._by_age if self._last_put.get(entry[2]) == entry[1]]

    def _forget(self, tracks: list[str]) -> None:
        rows = [self._row_of.pop(track) for track in tracks]
        for track in tracks:
            del self._put_ns[track], self._last_put[track]
        self._rows.clear(rows)
        if self._lists:
            self._lists.remove(np.array(rows))
            self._choose_lists()

    def _choose_lists(self) -> None:
        """Build the lists when the gallery has become large; drop them once it has shrunk to half of that."""
        config = self.search_config
        if self._lists and len(self) < config.ivf_above // 2:
            self._lists = None
        elif not self._lists and len(self) > config.ivf_above:
            vectors_ND = self._rows.vectors_RD[list(self._row_of.values())]  # in order of putting
            self._use_lists(train(vectors_ND, config.ivf_lists, self._scan))

    def _use_lists(self, centroids_LD: Float32) -> None:
        self._lists = InvertedLists(centroids_LD, self.search_config.ivf_probes, self._scan)
        rows_N = np.array(list(self._row_of.values()), np.int64)
        self._lists.add(rows_N, self._rows.vectors_RD[rows_N])


def warm_up(dimension: int) -> None:
    """Load the compiled search, or compile it the first time on a machine, so that the first decision need not wait."""
    gallery = Gallery(dimension, 2, 1)
    look_D = np.zeros(dimension, np.float32)
    look_D[0] = 1.0
    gallery.put("warm-up", look_D, 0)
    gallery.search(look_D, 1)
