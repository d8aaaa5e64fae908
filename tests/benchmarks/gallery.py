"""Measures the gallery against a flat FAISS index with FAISS's defaults: batched search, recall, expiry.

Usage: python -m tests.benchmarks.gallery [--lists SIZE ...]

Vectors are drawn evenly from all directions: the hardest case, since no quantisation and no index finds any order in
them to use. `--lists` measures instead, on clustered vectors, where inverted lists begin to pay.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.gallery import Gallery, SearchConfig
from pipeline.gallery.inverted import InvertedLists, train
from pipeline.gallery.nearest import Nearest, Scan
from pipeline.gallery.rows import Rows
from pipeline.gallery.scans import build_scan
from tests.benchmarks.bench_lines import write_header, write_line

import faiss  # isort: skip  # after torch

DIMENSION = 512
BATCH = 64
NUM_NEIGHBOURS = 32  # what identities ask for
NUMS = (10, NUM_NEIGHBOURS)
SIZES = (10_000, 100_000)
THREADS = (1, 2)
NUM_LISTED = 10  # half of what the drawn identities have: beyond them, neighbours are chance
ROUNDS = 7
NUM_EXPIRED = 64
GOAL_SEARCH = 4.0
GOAL_EXPIRY = 100.0
NEVER_NS = 10**18
PAUSE_S = 0.02
CALLS = 5
CLUSTERED_APPEARANCES = 20  # of one identity
CLUSTERED_SPREAD = 0.7  # length of the deviation from the identity's mean: similarity within one about 0.67

Float32 = NDArray[np.float32]


def bench_gallery() -> None:
    """Write a line for each size, number of neighbours and number of threads, and one for expiry."""
    threads_before = torch.get_num_threads(), faiss.omp_get_max_threads()
    for size in SIZES:
        vectors_RD, queries_ND = unit_vectors(size, seed=0), unit_vectors(BATCH, seed=1)
        index = faiss.IndexFlatIP(DIMENSION)
        index.add(vectors_RD)
        gallery = filled(vectors_RD, SearchConfig())
        compare_recall(f"gallery_recall_{size // 1000}k", gallery, index, vectors_RD, queries_ND)
        for threads in THREADS:
            torch.set_num_threads(threads)
            faiss.omp_set_num_threads(threads)
            for num in NUMS:
                compare_search(
                    f"gallery_{size // 1000}k_top{num}_{threads}t", gallery, index, queries_ND, num
                )
    compare_expiry("gallery_expire_64_of_100k", gallery, index)
    torch.set_num_threads(threads_before[0])
    faiss.omp_set_num_threads(threads_before[1])


def compare_search(
    name: str, gallery: Gallery, index: faiss.IndexFlatIP, queries_ND: Float32, num: int
) -> None:
    """Time whole batches, ours and FAISS in turn, so that both meet the same disturbances."""
    ours_ms, faiss_ms = in_turn(
        lambda: gallery.search_batch(queries_ND, num), lambda: index.search(queries_ND, num)
    )
    write_line(name, ours_ms, faiss_ms, faiss_ms / ours_ms, GOAL_SEARCH, "ms")


def compare_recall(
    name: str, gallery: Gallery, index: faiss.IndexFlatIP, vectors_RD: Float32, queries_ND: Float32
) -> None:
    """Count how many of the true nearest, in double precision, are found."""
    truth = true_nearest(vectors_RD, queries_ND)
    ours = [[int(a.track) for a in found] for found in gallery.search_batch(queries_ND, NUM_NEIGHBOURS)]
    ours_recall, faiss_recall = (
        recall(ours, truth),
        recall(index.search(queries_ND, NUM_NEIGHBOURS)[1].tolist(), truth),
    )
    write_line(name, ours_recall, faiss_recall, ours_recall, 1.0, "recall")


def compare_expiry(name: str, gallery: Gallery, index: faiss.IndexFlatIP) -> None:
    """Time forgetting the oldest 64 of what remains, again and again."""
    now_ns = iter(range(NEVER_NS + NUM_EXPIRED - 1, NEVER_NS + 10**6, NUM_EXPIRED))
    ours_ms, faiss_ms = in_turn(
        lambda: gallery.expire(next(now_ns)), lambda: index.remove_ids(faiss.IDSelectorRange(0, NUM_EXPIRED))
    )
    write_line(name, ours_ms, faiss_ms, faiss_ms / ours_ms, GOAL_EXPIRY, "ms")


def bench_lists(sizes: Sequence[int]) -> None:
    """Print, for each size, time a batch and recall of exhaustive search and of inverted lists."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    config = SearchConfig()
    scan = build_scan(config)
    for size in sizes:
        vectors_RD, queries_ND = clustered_vectors(size)
        rows = Rows(DIMENSION)
        for vector_D in vectors_RD:
            rows.add(vector_D)
        exact = scan.search(rows, queries_ND, NUM_LISTED)
        exact_ms = median_ms(scan, rows, queries_ND)
        start = time.perf_counter()
        centroids_LD = train(vectors_RD, config.ivf_lists, scan)
        lists = InvertedLists(centroids_LD, 1, scan)
        lists.add(np.arange(size), vectors_RD)
        built_s = time.perf_counter() - start
        sys.stdout.write(
            f"{size:>9,} rows  exhaustive {exact_ms:7.1f} ms a batch, "
            f"{median_ms(scan, rows, queries_ND[:1]):6.1f} ms a single query; building lists {built_s:.1f} s\n"
        )
        for probes in (8, 16, 32, 64, 128):
            lists.num_probes = probes
            found = lists.search(rows, queries_ND, NUM_LISTED)
            sys.stdout.write(
                f"{probes:>9} of {config.ivf_lists} lists {median_ms(lists, rows, queries_ND):7.1f} ms a batch, "
                f"{median_ms(lists, rows, queries_ND[:1]):6.1f} ms a single query, "
                f"recall of {NUM_LISTED} {recall(by_query(found), by_query(exact)):.4f}\n"
            )
            sys.stdout.flush()


def median_ms(search: Scan, rows: Rows, queries_ND: Float32) -> float:
    """Return the median time of a batch."""
    return 1e3 * statistics.median(
        seconds(lambda: search.search(rows, queries_ND, NUM_LISTED)) for _ in range(ROUNDS)
    )


def by_query(nearest: Nearest) -> list[list[int]]:
    """Return the rows found for each query."""
    return [part[:NUM_LISTED].tolist() for part in np.split(nearest.rows, nearest.offsets[1:-1])]


def in_turn(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """Return the median times in ms of two callables run alternately, after one run of each."""
    pairs = [(seconds(ours), seconds(peer)) for _ in range(ROUNDS + 1)][1:]
    return tuple(1e3 * statistics.median(times) for times in zip(*pairs, strict=True))


def seconds(run: Callable[[], object]) -> float:
    """Return how long a call takes among several, one after the other, as on a site that has much to search.

    Before them the threads of the other library must have stopped waiting at full speed, as OpenMP's do for some 5 ms
    after a search on the cores that are to be measured. The first call after a pause wakes the cores and is not counted.
    """
    time.sleep(PAUSE_S)
    run()
    start = time.perf_counter()
    for _ in range(CALLS):
        run()
    return (time.perf_counter() - start) / CALLS


def filled(vectors_RD: Float32, search: SearchConfig) -> Gallery:
    """Return a gallery that holds the vectors under their numbers, each a nanosecond older than the next."""
    gallery = Gallery(vectors_RD.shape[1], len(vectors_RD), NEVER_NS, search)
    for row, vector_D in enumerate(vectors_RD):
        gallery.put(str(row), vector_D, row)
    return gallery


def true_nearest(vectors_RD: Float32, queries_ND: Float32) -> list[list[int]]:
    """Return the nearest rows of each query by double precision."""
    similarities_NR = queries_ND.astype(np.float64) @ vectors_RD.astype(np.float64).T
    nearest: list[list[int]] = np.argsort(-similarities_NR, axis=1)[:, :NUM_NEIGHBOURS].tolist()
    return nearest


def recall(found: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> float:
    """Return the share of the true nearest that were found."""
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True))
    return hits / sum(len(b) for b in truth)


def unit_vectors(num: int, seed: int) -> Float32:
    """Draw unit vectors evenly from all directions."""
    vectors_ND = np.random.default_rng(seed).standard_normal((num, DIMENSION), dtype=np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND


def clustered_vectors(num: int) -> tuple[Float32, Float32]:
    """Draw appearances of identities, and as queries one more appearance of some of them."""
    num_identities = max(1, num // CLUSTERED_APPEARANCES)
    means = unit_vectors(num_identities, seed=0)
    vectors_RD = unit_vectors(num, seed=1)
    vectors_RD *= CLUSTERED_SPREAD
    identity_R = (
        np.random.default_rng(3).permutation(num) % num_identities
    )  # in no order that a sample could meet
    for start in range(0, num, num_identities):  # in parts, for the memory's sake
        part = slice(start, start + num_identities)
        vectors_RD[part] += means[identity_R[part]]
    vectors_RD /= np.linalg.norm(vectors_RD, axis=1, keepdims=True)
    queries_ND = means[:BATCH] + CLUSTERED_SPREAD * unit_vectors(BATCH, seed=2)
    return vectors_RD, queries_ND / np.linalg.norm(queries_ND, axis=1, keepdims=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lists", type=int, nargs="+", metavar="SIZE", help="measure inverted lists instead")
    options = parser.parse_args()
    if options.lists:
        bench_lists(options.lists)
    else:
        write_header()
        bench_gallery()


if __name__ == "__main__":
    main()
