"""Holds the compiled inner loops of exact nearest-neighbour search: quantise, collect, rank.

Shapes: N queries, R rows of a block, D dimensions, C candidates a query at most, K results a query.

A row x is kept as 8-bit codes c with x = scale * c + r. The length of r is stored beside it, so the true
similarity q . x lies within a known distance of the one computed from codes (Cauchy-Schwarz). Rows whose upper
bound stays below the K-th best lower bound cannot be among the K nearest; all others are scored exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.compiling import compiled, inlined, reordered

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

MAX_CODE: Final = 127.0  # symmetric, so that a vector and its opposite are coded alike
CHUNK: Final = 32  # rows looked at together before looking at each: few chunks hold a candidate
MIN_GROUPS: Final = 512  # groups of rows whose best bounds are compared first
GROUPS_PER_RESULT: Final = 8  # so many that few of the nearest fall into one group
LANES: Final = 32  # sums kept side by side, which the compiler turns into vector instructions
NOT_SCORED: Final = -3.0  # below every similarity
HALF_EPSILON: Final = 2.0**-24  # the largest relative error of rounding to float32
ROUNDING: Final = 2e-6
"""More than all float32 roundings of a bound of at most 1.1 together (about six of 6e-8 each)."""


@compiled
def quantise(vectors_ND: Float32, codes_ND: Int8, scale_N: Float32, error_N: Float32) -> None:
    """Write each vector's codes, their scale, and the length of what they leave out."""
    for n in range(vectors_ND.shape[0]):
        largest = np.float32(0.0)
        for d in range(vectors_ND.shape[1]):
            largest = max(largest, abs(vectors_ND[n, d]))
        scale_N[n] = largest / np.float32(MAX_CODE)
        inverse = 1.0 / float(scale_N[n]) if scale_N[n] > 0 else 0.0
        left = 0.0
        for d in range(vectors_ND.shape[1]):
            code = min(max(np.rint(float(vectors_ND[n, d]) * inverse), -MAX_CODE), MAX_CODE)
            codes_ND[n, d] = np.int8(code)
            left += (float(vectors_ND[n, d]) - code * float(scale_N[n])) ** 2
        error_N[n] = np.float32(np.sqrt(left) * 1.000001)  # rounded up


@inlined
def _push(best_K: Float32 | Float64, value: float) -> None:
    """Replace the smallest of a min-heap by a larger value."""
    size = best_K.shape[0]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and best_K[child + 1] < best_K[child]:
            child += 1
        if best_K[child] >= value:
            break
        best_K[at] = best_K[child]
        at = child
    best_K[at] = value


@compiled
def collect(
    products_NR: Int32,
    first_row: int,
    scale_R: Float32,
    error_R: Float32,
    query_N3: Float32,
    lower_NK: Float32,
    rows_NC: Int32,
    upper_NC: Float32,
    num_N: Int64,
) -> None:
    """Add the block's rows that may still be among the K nearest to each query's candidates.

    `products_NR` are the dot products of codes; `scale_R` and `error_R` are what `quantise` wrote, an error of minus
    infinity marking a row that holds nothing. `query_N3` has a query's scale, the weight of a row's error in the
    bound, and the bound's constant part. `lower_NK` is a min-heap of lower bounds of K different rows. Candidates and
    their upper bounds are added to `rows_NC` and `upper_NC`; `num_N` counts them, and is -1 once there were too many.
    """
    num_rows = products_NR.shape[1]
    best_G = np.empty(max(MIN_GROUPS, GROUPS_PER_RESULT * lower_NK.shape[1]), np.float32)
    for n in range(products_NR.shape[0]):
        if num_N[n] < 0:
            continue
        scale, weight, constant = query_N3[n, 0], query_N3[n, 1], query_N3[n, 2]
        _raise_lower(products_NR[n], scale_R, error_R, query_N3[n], best_G, lower_NK[n])
        lowest = lower_NK[n, 0]
        for start in range(0, num_rows, CHUNK):
            stop = min(start + CHUNK, num_rows)
            products_C, scale_C, error_C = (
                products_NR[n, start:stop],
                scale_R[start:stop],
                error_R[start:stop],
            )
            if stop - start == CHUNK and not _is_promising(products_C, scale_C, error_C, query_N3[n], lowest):
                continue
            for r in range(stop - start):
                upper = np.float32(products_C[r]) * (scale_C[r] * scale) + (error_C[r] * weight + constant)
                if upper < lowest or error_C[r] < 0:
                    continue
                if num_N[n] == rows_NC.shape[1] and not _compact(rows_NC, upper_NC, num_N, n, lowest):
                    num_N[n] = -1
                    break
                rows_NC[n, num_N[n]] = first_row + start + r
                upper_NC[n, num_N[n]] = upper
                num_N[n] += 1
            if num_N[n] < 0:
                break


@inlined
def _is_promising(
    products_C: Int32, scale_C: Float32, error_C: Float32, query_3: Float32, lowest: float
) -> bool:
    """Say whether any row of a chunk reaches `lowest`. Slices and a fixed length make these vector instructions."""
    scale, weight, constant = query_3[0], query_3[1], query_3[2]
    num = np.int32(0)
    for r in range(CHUNK):
        upper = np.float32(products_C[r]) * (scale_C[r] * scale) + (error_C[r] * weight + constant)
        num += np.int32(1) if upper >= lowest else np.int32(0)
    return bool(num)


@inlined
def _raise_lower(
    products_R: Int32, scale_R: Float32, error_R: Float32, query_3: Float32, best_G: Float32, lower_K: Float32
) -> None:
    """Push the best lower bound of each group of rows into the heap.

    The groups are interleaved, so that the loop has no branch; few of the K best rows share one.
    """
    scale, weight, constant = query_3[0], query_3[1], query_3[2]
    num_groups = best_G.shape[0]
    best_G[:] = -np.inf
    for start in range(0, products_R.shape[0], num_groups):
        products_G = products_R[start : start + num_groups]
        scale_G, error_G = scale_R[start : start + num_groups], error_R[start : start + num_groups]
        for g in range(products_G.shape[0]):
            # A hole's error is infinite without its sign, and its lower bound minus infinity.
            lower = np.float32(products_G[g]) * (scale_G[g] * scale) - (abs(error_G[g]) * weight + constant)
            best_G[g] = lower if lower > best_G[g] else best_G[g]
    for g in range(num_groups):
        if best_G[g] > lower_K[0]:
            _push(lower_K, best_G[g])


@inlined
def _compact(rows_NC: Int32, upper_NC: Float32, num_N: Int64, n: int, lowest: float) -> bool:
    """Drop candidates that the bound has overtaken; say whether that made room."""
    kept = 0
    for c in range(num_N[n]):
        if upper_NC[n, c] >= lowest:
            rows_NC[n, kept] = rows_NC[n, c]
            upper_NC[n, kept] = upper_NC[n, c]
            kept += 1
    num_N[n] = kept
    return bool(kept < rows_NC.shape[1] // 2)  # more than that, and compacting would be all we do


@compiled
def similarity(a_D: Float64, b_D: Float32, lanes_L: Float64) -> float:
    """Return the dot product, summed in double precision in one fixed order; `lanes_L` is scratch of length LANES.

    Products of two float32 values are exact in double precision, so a fused multiply-add changes nothing: the
    result is the same bits on every machine, in every batch.
    """
    for lane in range(LANES):
        lanes_L[lane] = 0.0
    whole = a_D.shape[0] // LANES * LANES
    for d in range(0, whole, LANES):
        a_L, b_L = a_D[d : d + LANES], b_D[d : d + LANES]
        for lane in range(LANES):
            lanes_L[lane] += a_L[lane] * np.float64(b_L[lane])
    for d in range(whole, a_D.shape[0]):
        lanes_L[d - whole] += a_D[d] * np.float64(b_D[d])
    for lane in range(LANES // 2):
        lanes_L[lane] += lanes_L[lane + LANES // 2]
    for lane in range(LANES // 4):
        lanes_L[lane] += lanes_L[lane + LANES // 4]
    total = 0.0
    for lane in range(LANES // 4):
        total += lanes_L[lane]
    return float(total)


@compiled
def float32_error(dimension: int) -> float:
    """Return the most by which a float32 dot product of two unit vectors can be wrong, summed in any order.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; twice that, for lengths a little over 1.
    """
    return 2.0 * dimension * HALF_EPSILON


@compiled
def rank(
    queries_ND: Float32,
    vectors_RD: Float32,
    rows_NC: Int32,
    upper_NC: Float32,
    num_N: Int64,
    lowest_N: Float32,
    num: int,
) -> tuple[Int64, Int32, Float64]:
    """Score candidates exactly and return the `num` nearest of each query, best first, with all that tie for last.

    `rows_NC`, `upper_NC` and `num_N` are the candidates, upper bounds of their similarities, and how many there are;
    `lowest_N` is what `num` rows are known to reach, minus infinity if nothing is known.

    Returns offsets, rows and similarities: those of query n lie from offsets[n] to offsets[n + 1].
    """
    num_queries = queries_ND.shape[0]
    error = float32_error(queries_ND.shape[1])
    offsets = np.zeros(num_queries + 1, np.int64)
    found_rows = np.empty(num_queries * num + 1, np.int32)
    found_scores = np.empty(num_queries * num + 1, np.float64)
    scores_C = np.empty(rows_NC.shape[1], np.float64)
    for n in range(num_queries):
        best_K = np.full(num, np.float64(lowest_N[n]), np.float64)
        part = slice(0, num_N[n])
        _score(
            queries_ND[n].astype(np.float64), queries_ND[n], vectors_RD, rows_NC[n][part], upper_NC[n][part],
            error, scores_C, best_K,
        )  # fmt: skip
        kept = np.nonzero(scores_C[: num_N[n]] >= max(best_K[0], NOT_SCORED + 1.0))[0]
        order = kept[np.argsort(-scores_C[kept], kind="mergesort")]
        end = offsets[n] + order.shape[0]
        while end > found_rows.shape[0]:
            found_rows = np.concatenate((found_rows, np.empty_like(found_rows)))
            found_scores = np.concatenate((found_scores, np.empty_like(found_scores)))
        found_rows[offsets[n] : end] = rows_NC[n][order]
        found_scores[offsets[n] : end] = scores_C[order]
        offsets[n + 1] = end
    return offsets, found_rows[: offsets[-1]], found_scores[: offsets[-1]]


@inlined
def _score(
    query_D: Float64,
    query32_D: Float32,
    vectors_RD: Float32,
    rows_C: Int32,
    upper_C: Float32,
    error: float,
    scores_C: Float64,
    best_K: Float64,
) -> None:
    """Score candidates, the K of highest bound first; skip those that K scored ones have overtaken.

    A float32 product, wrong by at most `error`, is enough to skip most of the others.
    """
    lanes_L = np.empty(LANES, np.float64)
    promising_K = np.full(best_K.shape[0], np.float32(best_K[0]), np.float32)
    for c in range(rows_C.shape[0]):
        scores_C[c] = NOT_SCORED
        if upper_C[c] > promising_K[0]:
            _push(promising_K, upper_C[c])
    for first in (True, False):
        for c in range(rows_C.shape[0]):
            if (upper_C[c] >= promising_K[0]) != first or upper_C[c] < best_K[0]:
                continue
            vector_D = vectors_RD[rows_C[c]]
            if not first and _product32(query32_D, vector_D) + error < best_K[0]:
                continue
            scores_C[c] = similarity(query_D, vector_D, lanes_L)
            if scores_C[c] > best_K[0]:
                _push(best_K, scores_C[c])


@reordered
def _product32(a_D: Float32, b_D: Float32) -> float:
    """Return the dot product in single precision, summed in whatever order is quickest."""
    total = np.float32(0.0)
    for d in range(a_D.shape[0]):
        total += a_D[d] * b_D[d]
    return float(total)


@compiled
def mean_directions(vectors_ND: Float32, list_N: Int64, centroids_LD: Float32) -> None:
    """Replace each centroid by the direction of the mean of its vectors, summed in order; keep those without any."""
    sums_LD = np.zeros(centroids_LD.shape, np.float64)
    for n in range(vectors_ND.shape[0]):
        for d in range(vectors_ND.shape[1]):
            sums_LD[list_N[n], d] += vectors_ND[n, d]
    for at in range(centroids_LD.shape[0]):
        squares = 0.0
        for d in range(centroids_LD.shape[1]):
            squares += sums_LD[at, d] * sums_LD[at, d]
        if squares > 0:
            for d in range(centroids_LD.shape[1]):
                centroids_LD[at, d] = sums_LD[at, d] / np.sqrt(squares)
