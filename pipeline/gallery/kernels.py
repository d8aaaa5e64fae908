"""Holds the compiled inner loops of exact nearest-neighbour search: quantise, collect, refine, rank.

Shapes: N queries, R rows of a block, D dimensions, C candidates a query at most, K results a query.

A row x is kept as 8-bit codes c with x = scale * c + r. The length of r is stored beside it, so the true
similarity q . x lies within a known distance of the one computed from codes (Cauchy-Schwarz). Rows whose upper
bound stays below the K-th best lower bound cannot be among the K nearest. The others are bounded once more, without
the query's own error, and what then remains is scored exactly.
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
HALVINGS: Final = 16  # of an interval of 4, which leaves 6e-5
FEW: Final = 8  # numbers that are summed one by one
BELOW_ALL: Final = -2.0  # below every similarity
NOT_SCORED: Final = -3.0
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
def _push(best_K: Float64, value: float) -> None:
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
    num: int,
    best_NG: Float32,
    lowest_N: Float32,
    rows_NC: Int32,
    upper_NC: Float32,
    num_N: Int64,
) -> None:
    """Add the block's rows that may still be among the `num` nearest to each query's candidates.

    `products_NR` are the dot products of codes; `scale_R` and `error_R` are what `quantise` wrote, an error of minus
    infinity marking a row that holds nothing. `query_N3` has a query's scale, the weight of a row's error in the
    bound, and the bound's constant part. `best_NG` has the best lower bound of each group of rows so far, and
    `lowest_N` what `num` rows are known to reach. Candidates and their upper bounds are added to `rows_NC` and
    `upper_NC`; `num_N` counts them, and is -1 once there were too many.
    """
    num_rows, num_groups, room = products_NR.shape[1], best_NG.shape[1], rows_NC.shape[1]
    group_rows = (num_rows + num_groups - 1) // num_groups
    upper_R, highest_G = np.empty(num_rows, np.float32), np.empty(num_groups, np.float32)
    for n in range(products_NR.shape[0]):
        if num_N[n] < 0:
            continue
        _bound(products_NR[n], scale_R, error_R, query_N3[n], upper_R, highest_G, best_NG[n])
        lowest_N[n] = lowest = _reached(best_NG[n], num, lowest_N[n])
        for g in range(num_groups):
            if highest_G[g] < lowest:
                continue
            at = num_N[n]
            if at + group_rows > room:
                at = _compact(rows_NC, upper_NC, num_N, n, lowest)
                if 2 * (at + group_rows) > room:  # compacting would be all we do
                    num_N[n] = -1
                    break
            for r in range(g, num_rows, num_groups):  # no branch: it could not be foretold
                rows_NC[n, at] = first_row + r
                upper_NC[n, at] = upper_R[r]
                at += 1 if upper_R[r] >= lowest else 0
            num_N[n] = at


@inlined
def _bound(
    products_R: Int32,
    scale_R: Float32,
    error_R: Float32,
    query_3: Float32,
    upper_R: Float32,
    highest_G: Float32,
    best_G: Float32,
) -> None:
    """Write the upper bound of each row of a block and the highest of each group, and raise its best lower bound.

    The groups are interleaved, so that the loop has no branch; few of the nearest rows share one.
    """
    scale, weight, constant = query_3[0], query_3[1], query_3[2]
    num_groups = best_G.shape[0]
    highest_G[:] = -np.inf
    for start in range(0, products_R.shape[0], num_groups):
        products_G, upper_G = products_R[start : start + num_groups], upper_R[start : start + num_groups]
        scale_G, error_G = scale_R[start : start + num_groups], error_R[start : start + num_groups]
        for g in range(products_G.shape[0]):
            middle = np.float32(products_G[g]) * (scale_G[g] * scale)
            upper = middle + (error_G[g] * weight + constant)
            # A hole's error is infinite without its sign, and its lower bound minus infinity.
            lower = middle - (abs(error_G[g]) * weight + constant)
            upper_G[g] = upper
            highest_G[g] = upper if upper > highest_G[g] else highest_G[g]
            best_G[g] = lower if lower > best_G[g] else best_G[g]


@inlined
def _reached(bounds_C: Float32, num: int, known: float) -> np.float32:
    """Return a value that at least `num` of the bounds reach, a little below the greatest such; `known` if few do.

    Halving an interval counts with vector instructions and has one branch a step, where a heap has many.
    """
    low, high = np.float32(known), np.float32(-BELOW_ALL)
    for _ in range(HALVINGS):
        middle = np.float32(0.5) * (low + high)
        count = np.int32(0)
        for c in range(bounds_C.shape[0]):
            count += np.int32(1) if bounds_C[c] >= middle else np.int32(0)
        if count >= num:
            low = middle
        else:
            high = middle
    return low


@inlined
def _compact(rows_NC: Int32, upper_NC: Float32, num_N: Int64, n: int, lowest: np.float32) -> int:
    """Drop candidates that the bound has overtaken; return how many are left."""
    kept = 0
    for c in range(num_N[n]):
        if upper_NC[n, c] >= lowest:
            rows_NC[n, kept] = rows_NC[n, c]
            upper_NC[n, kept] = upper_NC[n, c]
            kept += 1
    num_N[n] = kept
    return kept


@compiled
def refine(
    queries_ND: Float32,
    codes_RD: Int8,
    scale_R: Float32,
    error_R: Float32,
    weight: float,
    num: int,
    lowest_N: Float32,
    rows_NC: Int32,
    upper_NC: Float32,
    num_N: Int64,
) -> None:
    """Drop candidates by the products of the queries themselves with codes: only the rows' errors are left in these.

    `weight` is the weight of a row's error in the bound; the others are what `collect` wrote, and are brought up to
    date. A row's codes take a quarter of the memory of the row, and reading it is what takes the time.
    """
    constant = np.float32(float32_error(queries_ND.shape[1]) + ROUNDING)
    lower_C = np.empty(rows_NC.shape[1], np.float32)
    for n in range(queries_ND.shape[0]):
        _compact(rows_NC, upper_NC, num_N, n, lowest_N[n])
        for c in range(num_N[n]):
            row = rows_NC[n, c]
            middle = _product32(queries_ND[n], codes_RD[row]) * scale_R[row]
            half = error_R[row] * np.float32(weight) + constant
            lower_C[c], upper_NC[n, c] = middle - half, middle + half
        lowest_N[n] = _reached(lower_C[: num_N[n]], num, lowest_N[n])
        _compact(rows_NC, upper_NC, num_N, n, lowest_N[n])


@reordered
def _product32(a_D: Float32, b_D: Int8) -> np.float32:
    """Return the dot product in single precision, summed in whatever order is quickest."""
    total = np.float32(0.0)
    for d in range(a_D.shape[0]):
        total += a_D[d] * np.float32(b_D[d])
    return total


@compiled
def similarity(a_D: Float64, b_D: Float32, sums_D: Float64) -> float:
    """Return the dot product, summed in double precision in one fixed order; `sums_D` is scratch.

    Products of two float32 values are exact in double precision, so a fused multiply-add changes nothing: the
    result is the same bits on every machine, in every batch. The second half is added to the first, again and
    again, since that order is one of vector instructions.
    """
    dimension, half = a_D.shape[0], 1
    while 2 * half < dimension:
        half *= 2
    rest = dimension - half
    a_H, b_H, c_H, d_H = a_D[:half], b_D[:half], a_D[half:], b_D[half:]
    for d in range(rest):
        sums_D[d] = a_H[d] * np.float64(b_H[d]) + c_H[d] * np.float64(d_H[d])
    for d in range(rest, half):
        sums_D[d] = a_H[d] * np.float64(b_H[d])
    while half > FEW:
        half //= 2
        first_D, second_D = sums_D[:half], sums_D[half : 2 * half]
        for d in range(half):
            first_D[d] += second_D[d]
    total = 0.0
    for d in range(half):
        total += sums_D[d]
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
    `lowest_N` is what `num` rows are known to reach, BELOW_ALL if nothing is known.

    Returns offsets, rows and similarities: those of query n lie from offsets[n] to offsets[n + 1].
    """
    num_queries = queries_ND.shape[0]
    offsets = np.zeros(num_queries + 1, np.int64)
    found_rows = np.empty(num_queries * num + 1, np.int32)
    found_scores = np.empty(num_queries * num + 1, np.float64)
    scores_C = np.empty(rows_NC.shape[1], np.float64)
    for n in range(num_queries):
        best_K = np.full(num, np.float64(lowest_N[n]), np.float64)
        part = slice(0, num_N[n])
        query_D = queries_ND[n].astype(np.float64)
        _score(query_D, vectors_RD, rows_NC[n][part], upper_NC[n][part], scores_C, best_K)
        kept = np.nonzero(scores_C[: num_N[n]] >= best_K[0])[0]
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
    vectors_RD: Float32,
    rows_C: Int32,
    upper_C: Float32,
    scores_C: Float64,
    best_K: Float64,
) -> None:
    """Score candidates, about K of highest bound first; skip those that K scored ones have overtaken."""
    sums_D = np.empty(query_D.shape[0], np.float64)
    promising = _reached(upper_C, best_K.shape[0], BELOW_ALL)
    scores_C[: rows_C.shape[0]] = NOT_SCORED
    for first in (True, False):
        for c in range(rows_C.shape[0]):
            if (upper_C[c] >= promising) != first or upper_C[c] < best_K[0]:
                continue
            scores_C[c] = similarity(query_D, vectors_RD[rows_C[c]], sums_D)
            if scores_C[c] > best_K[0]:
                _push(best_K, scores_C[c])


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
