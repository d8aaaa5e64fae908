from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.gallery import SearchConfig, nearest
from pipeline.gallery.gpu import GpuScan
from pipeline.gallery.kernels import BELOW_ALL, float32_error, quantise, refine, similarity
from pipeline.gallery.nearest import CodeScan, FloatScan, Scan
from pipeline.gallery.rows import Rows
from tests.pipeline.gallery.galleries import FLOAT32, HAS_INT8, filled, unit, units

needs_int8 = pytest.mark.skipif(
    not HAS_INT8, reason="this CPU has no VNNI: integer products are not used here"
)
SCANS = [
    pytest.param(CodeScan(), marks=needs_int8, id="int8"),
    pytest.param(FloatScan(), id="float32"),
    pytest.param(GpuScan(faiss.IndexFlatIP), id="gpu, its logic on the CPU"),
]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def rows_of(vectors: np.ndarray) -> Rows:
    rows = Rows(vectors.shape[1])
    for vector in vectors:
        rows.add(vector)
    return rows


def found(scan: Scan, rows: Rows, queries: np.ndarray, num: int) -> list[list[int]]:
    result = scan.search(rows, queries, num)
    return [part.tolist() for part in np.split(result.rows, result.offsets[1:-1])]


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("dimension", [1, 2, 7, 33, 512])
def test_every_scan_finds_the_true_nearest_in_any_dimension(scan: Scan, dimension: int) -> None:
    vectors, queries = units(700, dimension), units(9, dimension, seed=1)
    exact = queries.astype(float) @ vectors.astype(float).T
    result = scan.search(rows_of(vectors), queries, 5)
    for n, row_similarities in enumerate(exact):
        got = result.similarities[result.offsets[n] : result.offsets[n + 1]]
        np.testing.assert_allclose(got[:5], np.sort(row_similarities)[::-1][:5], rtol=0, atol=1e-14)


@pytest.mark.parametrize("scan", SCANS)
def test_all_that_tie_for_last_place_are_found(scan: Scan) -> None:
    vectors = np.concatenate([units(1), np.repeat(units(1, seed=1), 40, axis=0), units(20, seed=2) * -1])
    (rows,) = found(scan, rows_of(vectors), unit(1)[None], 3)
    similarities = vectors @ unit(1)
    assert set(rows) >= set(np.nonzero(similarities == np.sort(similarities)[-3])[0])


@pytest.mark.parametrize("scan", SCANS)
def test_a_hole_is_never_found_and_the_next_vector_fills_it(scan: Scan) -> None:
    rows = rows_of(units(30))
    rows.clear([3, 17])
    assert sorted(found(scan, rows, unit(5)[None], 30)[0]) == sorted(set(range(30)) - {3, 17})
    assert rows.add(unit(5)) in (3, 17)
    assert found(scan, rows, unit(5)[None], 1)[0][0] in (3, 17)


@pytest.mark.parametrize("scan", SCANS)
def test_differences_below_float32_decide(scan: Scan) -> None:
    base = np.zeros((2000, 64), np.float32)
    base[:, 0] = 1.0
    base[:, 1] = np.random.default_rng(0).permutation(2000) * 1e-9
    query = (np.eye(64)[0] + 0.02 * np.eye(64)[1]).astype(np.float32)
    query /= np.linalg.norm(query)
    assert found(scan, rows_of(base), query[None], 4)[0] == np.argsort(-base[:, 1])[:4].tolist()


@needs_int8
def test_the_scan_changes_nothing_in_the_answer_to_the_bit() -> None:
    vectors, queries = units(3000, 96), units(20, 96, seed=1)
    assert filled(vectors, SearchConfig(scan="int8")).search_batch(queries, 7) == filled(
        vectors, FLOAT32
    ).search_batch(queries, 7)


@pytest.mark.usefixtures("two_threads")
def test_neither_the_batch_nor_the_threads_change_anything_to_the_bit() -> None:
    gallery, queries = filled(units(3000, 96)), units(300, 96, seed=1)
    together = gallery.search_batch(queries, 7)
    torch.set_num_threads(1)
    assert together[::7] == [gallery.search(query, 7) for query in queries[::7]]


def test_the_order_of_putting_changes_nothing_to_the_bit() -> None:
    vectors, queries = units(500, 96), units(5, 96, seed=1)
    forwards, backwards = rows_of(vectors), rows_of(vectors[::-1])
    a, b = (
        (CodeScan() if HAS_INT8 else FloatScan()).search(forwards, queries, 9),
        FloatScan().search(backwards, queries, 9),
    )
    assert a.similarities.tolist() == b.similarities.tolist()
    assert a.rows.tolist() == (499 - b.rows).tolist()


@needs_int8
def test_vectors_too_alike_for_codes_are_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MIN_CANDIDATES", 16)
    crowd = np.concatenate([unit(0) + 1e-3 * units(900), units(900, seed=4)]).astype(np.float32)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    queries = np.stack([unit(0), unit(9), -unit(0)])
    rows = rows_of(crowd)
    assert found(CodeScan(), rows, queries, 6) == found(FloatScan(), rows, queries, 6)


@needs_int8
def test_rows_are_scanned_in_blocks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK_ROWS", 64)
    rows = rows_of(units(333))
    assert found(CodeScan(), rows, units(9, seed=1), 6) == found(FloatScan(), rows, units(9, seed=1), 6)


unit_arrays = hnp.arrays(np.float32, 24, elements=st.floats(-1, 1, width=32)).filter(
    lambda x: np.abs(x).max() > 0.1
)


@settings(max_examples=200, deadline=None)
@given(unit_arrays, unit_arrays)
def test_the_similarity_lies_within_the_bound_that_codes_give(a: np.ndarray, b: np.ndarray) -> None:
    vectors = np.stack([a / np.linalg.norm(a), b / np.linalg.norm(b)]).astype(np.float32)
    codes, scale, error = np.empty((2, 24), np.int8), np.empty(2, np.float32), np.empty(2, np.float32)
    quantise(vectors, codes, scale, error)
    approximate = float(codes[0].astype(int) @ codes[1]) * float(scale[0]) * float(scale[1])
    true = float(vectors[0].astype(float) @ vectors[1])
    assert abs(true - approximate) <= 1.001 * (error[0] + error[1]) + float(error[0]) * float(error[1])


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 60), st.integers(1, 40), st.integers(1, 12), st.floats(1e-4, 1), st.integers(0, 10**6))
def test_refining_drops_only_what_is_not_among_the_nearest(
    num_rows: int, dimension: int, num: int, spread: float, seed: int
) -> None:
    crowd = unit(seed, dimension) + spread * units(num_rows, dimension, seed=seed + 1)
    assume(np.linalg.norm(crowd, axis=1).min() > 1e-3)  # opposites cancel out in one dimension
    vectors = (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).astype(np.float32)
    rows, query = rows_of(vectors), unit(seed + 2, dimension)[None]
    numbers, upper = np.arange(num_rows, dtype=np.int32)[None], np.full((1, num_rows), 2, np.float32)
    kept, lowest = np.array([num_rows]), np.array([BELOW_ALL], np.float32)
    refine(query, rows.codes_RD, rows.scale_R, rows.error_R, 1.001, num, lowest, numbers, upper, kept)
    true = vectors.astype(float) @ query[0].astype(float)
    assert set(numbers[0, : kept[0]]) >= set(np.argsort(-true)[:num])
    assert (upper[0, : kept[0]] >= true[numbers[0, : kept[0]]]).all()
    assert (true >= lowest[0]).sum() >= min(num, num_rows)


@pytest.mark.parametrize("scan", SCANS)
@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 90),
    dimension=st.integers(1, 40),
    num=st.integers(1, 120),
    num_different=st.integers(1, 90),
    num_holes=st.integers(0, 40),
    seed=st.integers(0, 10**6),
)
def test_whatever_is_stored_the_nearest_are_those_of_double_precision(
    scan: Scan, num_rows: int, dimension: int, num: int, num_different: int, num_holes: int, seed: int
) -> None:
    vectors = np.resize(units(min(num_different, num_rows), dimension, seed), (num_rows, dimension))
    queries, rows = units(3, dimension, seed + 1), rows_of(vectors)
    holes = np.random.default_rng(seed).permutation(num_rows)[: min(num_holes, num_rows - 1)].tolist()
    rows.clear(holes)
    live = np.setdiff1d(np.arange(num_rows), holes)
    true = queries.astype(float) @ vectors.astype(float).T
    result = scan.search(rows, queries, min(num, len(live)))
    for n in range(3):
        part = slice(result.offsets[n], result.offsets[n + 1])
        last = np.sort(true[n, live])[::-1][min(num, len(live)) - 1]
        assert set(result.rows[part]) >= set(live[true[n, live] >= last + 1e-14])
        assert set(result.rows[part]) <= set(live[true[n, live] >= last - 1e-14])
        assert len(set(result.rows[part])) == len(result.rows[part]) >= min(num, len(live))
        np.testing.assert_allclose(result.similarities[part], true[n, result.rows[part]], rtol=0, atol=1e-14)
        assert (np.diff(result.similarities[part]) <= 0).all()


@needs_int8
def test_in_a_large_gallery_the_scan_changes_nothing_either() -> None:
    rows, queries = (
        rows_of(np.concatenate([units(2500, 48), units(500, 48), units(20, 48)])),
        units(40, 48, seed=9),
    )
    rows.clear(list(range(100, 3000, 7)))
    for num in (1, 10, 300):
        by_codes, by_float = CodeScan().search(rows, queries, num), FloatScan().search(rows, queries, num)
        assert by_codes.offsets.tolist() == by_float.offsets.tolist()
        assert by_codes.similarities.tolist() == by_float.similarities.tolist()


@needs_int8
@pytest.mark.usefixtures("two_threads")
def test_a_search_leaves_torch_its_threads() -> None:
    scan, rows = CodeScan(), rows_of(units(200, 32))
    scan.search(rows, units(64, 32, seed=1), 5)
    with ThreadPoolExecutor(1) as another:
        assert (torch.get_num_threads(), another.submit(torch.get_num_threads).result()) == (2, 2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(0, 10**6))
def test_the_similarity_is_the_dot_product_in_double_precision(dimension: int, seed: int) -> None:
    a, b = unit(seed, dimension), unit(seed + 1, dimension)
    got = similarity(a.astype(np.float64), b, np.empty(dimension))
    assert got == pytest.approx(float(a.astype(float) @ b.astype(float)), abs=1e-15)
    assert abs(got - float(a @ b)) <= float32_error(dimension)


def test_a_gpu_copy_follows_every_change() -> None:
    scan, rows = GpuScan(faiss.IndexFlatIP), rows_of(units(5))
    assert found(scan, rows, unit(77)[None], 1)[0][0] < 5
    rows.add(unit(77))
    assert found(scan, rows, unit(77)[None], 1) == [[5]]
    rows.write(2, unit(78))
    assert found(scan, rows, unit(78)[None], 1) == [[2]]
