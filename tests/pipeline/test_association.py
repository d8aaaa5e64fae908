from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.association import buffered_iou, cheapest_pairs

boxes = hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(4)), elements=st.integers(0, 40)).map(
    lambda b: np.concatenate((b[:, :2], b[:, :2] + b[:, 2:]), axis=1).reshape(-1, 4)
)


def counted_iou(a, b):
    """Counts unit cells: boxes have whole coordinates."""
    cells = [{(x, y) for x in range(int(l), int(r)) for y in range(int(t), int(d))} for l, t, r, d in (a, b)]  # noqa: E741
    union = len(cells[0] | cells[1])
    return len(cells[0] & cells[1]) / union if union else 0.0


def cheapest_total(cost, max_cost):
    """Tries every one-to-one pairing: left alone, a row costs a hair more than the limit."""
    num_rows, num_columns = cost.shape
    best = float("inf")
    for size in range(min(num_rows, num_columns) + 1):
        for rows in combinations(range(num_rows), size):
            for columns in permutations(range(num_columns), size):
                costs = [cost[pair] for pair in zip(rows, columns, strict=True)]
                if all(c <= max_cost for c in costs):
                    alone = min(num_rows, num_columns) - size
                    best = min(best, sum(costs) + alone * (max_cost + 1e-4))
    return best


@settings(deadline=None)
@given(boxes, boxes)
def test_overlap_equals_counting_cells(a, b):
    overlap = buffered_iou(a, b)
    assert overlap.shape == (len(a), len(b))
    for i, j in np.ndindex(overlap.shape):
        assert overlap[i, j] == pytest.approx(counted_iou(a[i], b[j]))


def test_a_buffer_lets_boxes_meet_that_do_not_touch():
    apart = np.array([[0.0, 0, 10, 10]]), np.array([[12.0, 0, 22, 10]])
    assert buffered_iou(*apart)[0, 0] == 0.0
    assert buffered_iou(*apart, buffer=0.2)[0, 0] == pytest.approx(2 * 14 / (2 * 14 * 14 - 2 * 14))


def test_a_box_that_is_inside_out_overlaps_nothing():
    inside_out = np.array([[10.0, 10, 0, 0]])
    assert buffered_iou(inside_out, np.array([[0.0, 0, 10, 10]]))[0, 0] == 0.0
    assert buffered_iou(inside_out, inside_out, buffer=0.3)[0, 0] == 0.0


@settings(deadline=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.floats(0, 1)),
    st.floats(0, 1),
)
def test_pairs_are_one_to_one_within_the_limit_and_as_cheap_as_any(cost, max_cost):
    rows, columns = cheapest_pairs(cost, max_cost)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows) == len(columns)
    assert (cost[rows, columns] <= max_cost).all()
    alone = min(cost.shape) - len(rows)
    total = cost[rows, columns].sum() + alone * (max_cost + 1e-4)
    assert total == pytest.approx(cheapest_total(cost, max_cost))


def test_two_allowed_pairs_win_over_one_that_is_cheaper_than_either():
    rows, columns = cheapest_pairs(np.array([[0.1, 0.25], [0.25, 0.9]]), 0.5)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
