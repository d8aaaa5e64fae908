"""Finds the nearest rows to queries exactly, the same bits on every machine, by a quick scan that is then proven.

A scan finds candidates from which the true nearest cannot be missing; `kernels.rank` scores these in double
precision. What is returned depends on the vectors alone: not on the scan, the batch, the threads or the row numbers.

The idea of searching with quantised codes and a guaranteed re-ranking is that of VA-Files (Weber, Schek and Blott,
VLDB 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.gallery.kernels import (
    BELOW_ALL,
    ROUNDING,
    Float32,
    Float64,
    Int32,
    Int64,
    collect,
    float32_error,
    quantise,
    rank,
    refine,
)
from pipeline.gallery.rows import Rows

S = TypeVar("S")
T = TypeVar("T")
Bool = NDArray[np.bool_]

UNIT_TOLERANCE: Final = 1e-3
"""How far the length of a vector may be from 1."""
BLOCK_ROWS: Final = 16_384
"""Rows scanned at once: few enough that the products stay in cache, enough that threads seldom wait for each other."""
MAX_THREADS: Final = 16
MIN_PART: Final = 8
"""Queries that make it worth while to wake a thread."""
MIN_CANDIDATES: Final = 8192
"""Candidates kept a query at least. Where vectors are so alike that more remain, float32 is the better scan."""
MIN_GROUPS: Final = 1024
"""Groups of rows whose best bounds tell what the nearest reach."""
GROUPS_PER_RESULT: Final = 8
"""So many that few of the nearest fall into one group."""
WIDEN: Final = 4
"""How many times more rows are asked for when those returned do not prove that none is missing."""


class Nearest(NamedTuple):
    """Is what was found: query n has rows and similarities from offsets[n] to offsets[n + 1], best first.

    All that tie for last place are there too, so that the caller can break ties by name.
    """

    offsets: Int64
    rows: Int32
    similarities: Float64


class Scan(Protocol):
    """Finds the nearest rows of each query."""

    def search(self, rows: Rows, queries_ND: Float32, num: int) -> Nearest:
        """Return the `num` nearest rows, or all when there are fewer."""


class CodeScan:
    """Scans 8-bit codes by integer matrix products; exact, and some 15 times faster than FAISS on a CPU with VNNI."""

    def __init__(self) -> None:
        self._float = FloatScan()
        self._workers: ThreadPoolExecutor | None = None

    @staticmethod
    def is_exact_here() -> bool:
        """Say whether this machine multiplies 8-bit matrices without saturating, and quickly enough to be used."""
        has_vnni = getattr(
            torch.cpu, "_is_vnni_supported", None
        )  # neither name is public: without them, float32
        if has_vnni is None or not has_vnni() or not hasattr(torch, "_int_mm"):
            return False
        worst = torch.full((2, 64), -127, dtype=torch.int8)
        products = torch._int_mm(worst, worst.T)
        return bool((products == 64 * 127 * 127).all())

    def search(self, rows: Rows, queries_ND: Float32, num: int) -> Nearest:
        """Return the `num` nearest rows, or all when there are fewer."""
        parts = _parts(len(queries_ND), torch.get_num_threads())
        asked = [_Asked(queries_ND, part, num, rows.num_rows) for part in parts]
        queries = torch.from_numpy(np.concatenate([part.codes_ND for part in asked]))
        codes = torch.from_numpy(rows.codes_RD)
        for blocks in _blocks(rows.num_rows, len(parts)):
            # A product is shared out by rows, since most of its time goes into reading them; all else by queries.
            products = self._each(lambda block: torch._int_mm(queries, codes[block].T).numpy(), blocks)
            seen = list(zip(blocks, products, strict=True))
            self._each(lambda part, seen=seen: part.collect(rows, seen), asked)  # type: ignore[misc]  # mypy infers no default
        done = self._each(lambda part: part.ranked(rows), asked)
        nearest = _joined([found for found, _ in done])
        again = np.nonzero(np.concatenate([crowded for _, crowded in done]))[0]
        if not len(again):
            return nearest
        return _replace(nearest, again, self._float.search(rows, queries_ND[again], num))

    def _each(self, run: Callable[[S], T], tasks: Sequence[S]) -> list[T]:
        """Do tasks side by side; no result depends on how the work was shared out.

        The threads are our own. Those of torch would wait for their next product at full speed, on the very cores that
        the candidates need.
        """
        if len(tasks) == 1:
            return [run(tasks[0])]
        num_threads = torch.get_num_threads()
        if self._workers is None:
            self._workers = ThreadPoolExecutor(MAX_THREADS, "gallery", torch.set_num_threads, (1,))
        try:
            others = self._workers.map(run, tasks[1:])
            torch.set_num_threads(1)
            # Were the caller idle, its core might be given to a worker, with another core left empty.
            return [run(tasks[0]), *others]
        finally:
            torch.set_num_threads(num_threads)  # which threads yet to come would else take from our newest


class _Asked:
    """Holds a part of a batch of queries and their candidates while the rows pass by."""

    def __init__(self, batch_ND: Float32, part: slice, num: int, num_rows: int) -> None:
        self.part = part
        queries_ND = batch_ND[part]
        num_queries = len(queries_ND)
        self.num = num
        self.queries_ND = queries_ND
        self.codes_ND = np.empty(queries_ND.shape, np.int8)
        self.query_N3 = np.empty((num_queries, 3), np.float32)
        scale_N, error_N = np.empty((2, num_queries), np.float32)
        quantise(queries_ND, self.codes_ND, scale_N, error_N)
        # |q.x - q'.x'| <= |q| |x - x'| + |q - q'| |x'|, and |x'| <= |x| + |x - x'|
        self.query_N3[:, 0] = scale_N
        self.query_N3[:, 1] = 1 + UNIT_TOLERANCE + error_N
        self.query_N3[:, 2] = (1 + UNIT_TOLERANCE) * error_N + ROUNDING
        self.best_NG = np.full((num_queries, max(MIN_GROUPS, GROUPS_PER_RESULT * num)), -np.inf, np.float32)
        self.lowest_N = np.full(num_queries, BELOW_ALL, np.float32)
        size = min(max(MIN_CANDIDATES, 2 * num), num_rows) + BLOCK_ROWS // MIN_GROUPS + 1  # one group more
        self.rows_NC = np.empty((num_queries, size), np.int32)
        self.upper_NC = np.empty((num_queries, size), np.float32)
        self.num_N = np.zeros(num_queries, np.int64)

    def collect(self, rows: Rows, seen: Iterable[tuple[slice, Int32]]) -> None:
        """Add the rows of some blocks, whose products with the whole batch are given, to the candidates."""
        for block, products_NR in seen:
            collect(
                products_NR[self.part], block.start, rows.scale_R[block], rows.error_R[block], self.query_N3, self.num,
                self.best_NG, self.lowest_N, self.rows_NC, self.upper_NC, self.num_N,
            )  # fmt: skip

    def ranked(self, rows: Rows) -> tuple[Nearest, Bool]:
        """Refine the candidates and score them; say also which queries had too many, for which nothing was found."""
        crowded_N = self.num_N < 0
        self.num_N[crowded_N] = 0
        candidates = self.rows_NC, self.upper_NC, self.num_N
        # |q.x - q.x'| <= |q| |x - x'|
        refine(
            self.queries_ND, rows.codes_RD, rows.scale_R, rows.error_R, 1 + UNIT_TOLERANCE, self.num,
            self.lowest_N, *candidates,
        )  # fmt: skip
        found = Nearest(*rank(self.queries_ND, rows.vectors_RD, *candidates, self.lowest_N, self.num))
        return found, crowded_N


class FloatScan:
    """Scans float32 rows with FAISS, and asks for more rows until none can be missing."""

    def search(self, rows: Rows, queries_ND: Float32, num: int) -> Nearest:
        """Return the `num` nearest rows, or all when there are fewer."""
        return prove(rows, rows.index.search, queries_ND, num)


def prove(rows: Rows, search: Any, queries_ND: Float32, num: int, widen: int = WIDEN) -> Nearest:
    """Return the `num` nearest rows by a FAISS search, asking again for more until the float32 error rules none out."""
    wanted = min(widen * num, rows.num_rows)
    similarities_NK, rows_NK = search(queries_ND, wanted)
    error = float32_error(rows.dimension)
    nothing_known_N = np.full(len(queries_ND), BELOW_ALL, np.float32)
    num_N = (rows_NK >= 0).sum(axis=1).astype(np.int64)
    rows_NK = rows_NK.astype(np.int32)
    upper_NK = similarities_NK + np.float32(error)
    nearest = Nearest(*rank(queries_ND, rows.vectors_RD, rows_NK, upper_NK, num_N, nothing_known_N, num))
    if wanted == rows.num_rows:
        return nearest
    last_N = np.array([nearest.similarities[end - 1] if end else -np.inf for end in nearest.offsets[1:]])
    unproven = np.nonzero((num_N == wanted) & (similarities_NK[:, -1] + error >= last_N))[0]
    if not len(unproven):
        return nearest
    return _replace(nearest, unproven, prove(rows, search, queries_ND[unproven], num, widen * WIDEN))


def _parts(num_queries: int, num_threads: int) -> list[slice]:
    """Cut a batch into at most as many parts as there are threads."""
    num_parts = max(1, min(num_threads, MAX_THREADS, num_queries // MIN_PART))
    edges = [num_queries * at // num_parts for at in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _blocks(num_rows: int, num_at_once: int) -> Iterator[list[slice]]:
    """Yield blocks of rows, so many at once, all of about the same size."""
    num_blocks = -(-num_rows // (BLOCK_ROWS * num_at_once)) * num_at_once
    edges = [num_rows * at // num_blocks for at in range(num_blocks + 1)]
    blocks = [slice(start, stop) for start, stop in pairwise(edges) if start < stop]
    return (blocks[at : at + num_at_once] for at in range(0, len(blocks), num_at_once))


def _joined(parts: list[Nearest]) -> Nearest:
    """Put the results of parts of a batch one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Nearest(
        np.cumsum(np.concatenate([np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)])),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.similarities for part in parts]),
    )


def _replace(nearest: Nearest, queries: Int64, better: Nearest) -> Nearest:
    """Put the results of some queries in the place of those they had."""
    sources = [(nearest, slice(start, stop)) for start, stop in pairwise(nearest.offsets)]
    for at, query in enumerate(queries):
        sources[query] = (better, slice(better.offsets[at], better.offsets[at + 1]))
    return Nearest(
        np.cumsum([0, *(part.stop - part.start for _, part in sources)]),
        np.concatenate([source.rows[part] for source, part in sources]),
        np.concatenate([source.similarities[part] for source, part in sources]),
    )
