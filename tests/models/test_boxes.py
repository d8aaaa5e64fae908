import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.boxes import MAX_CANDIDATES, Selection, select


def selection(**changes) -> Selection:
    return Selection(
        **({"score_threshold": 0.1, "nms_iou": 0.5, "max_detections": 100, "labels": (0,)} | changes)
    )


def candidates(boxes: list[list[float]]) -> torch.Tensor:
    return torch.tensor(boxes).T[None]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (area - shared)


def obvious(boxes: np.ndarray, scores: np.ndarray, chosen: Selection) -> list[tuple[int, int]]:
    """Suppress greedily, one class at a time; returns (class, cell), best first."""
    kept = []
    for score, k, cell in sorted(
        ((s, k, a) for (k, a), s in np.ndenumerate(scores)), key=lambda row: -row[0]
    ):
        rivals = [c for j, c in kept if j == k]
        if score > chosen.score_threshold and all(
            overlap(boxes[cell], boxes[c]) <= chosen.nms_iou for c in rivals
        ):
            kept.append((k, cell))
    return kept[: chosen.max_detections]


@given(st.integers(1, 3), st.integers(1, 25), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_selection_is_what_the_obvious_loop_selects(num_classes, num_cells, seed, limit):
    rng = np.random.default_rng(seed)
    corners = rng.random((2, num_cells, 2, 2)) * 0.6
    boxes = np.concatenate([corners.min(2), corners.max(2) + 0.2], 2).astype(np.float32)
    scores = (
        rng.permutation(2 * num_classes * num_cells).reshape(2, num_classes, num_cells).astype(np.float32)
    )
    scores /= scores.size
    labels = (7, 3, 5)[:num_classes]
    chosen = selection(labels=labels, max_detections=limit)
    results = select(torch.from_numpy(boxes).transpose(1, 2), torch.from_numpy(scores), chosen)
    for image, result in enumerate(results):
        expected = obvious(boxes[image], scores[image], chosen)
        assert result.labels_N.tolist() == [labels[k] for k, _ in expected]
        np.testing.assert_array_equal(
            result.boxes_N4, boxes[image][[cell for _, cell in expected]].reshape(-1, 4)
        )
        np.testing.assert_array_equal(result.scores_N, [scores[image][pair] for pair in expected])


def test_a_box_is_clipped_to_the_image_and_one_outside_is_dropped():
    boxes = candidates([[-0.5, 0.2, 0.5, 1.5], [1.1, 0.1, 1.4, 0.5], [0.2, -0.4, 0.4, -0.1]])
    (result,) = select(boxes, torch.tensor([[[0.9, 0.8, 0.7]]]), selection())
    np.testing.assert_allclose(result.boxes_N4, [[0, 0.2, 0.5, 1]])


def test_nothing_above_the_threshold_gives_empty_arrays_of_the_right_shape():
    (result,) = select(candidates([[0.1, 0.1, 0.2, 0.2]]), torch.tensor([[[0.05]]]), selection())
    assert (result.boxes_N4.shape, result.boxes_N4.dtype) == ((0, 4), np.float32)
    assert (result.scores_N.shape, result.scores_N.dtype) == ((0,), np.float32)
    assert (result.labels_N.shape, result.labels_N.dtype) == ((0,), np.int64)


def test_the_number_of_candidates_is_bounded_and_the_best_are_kept():
    num_cells = MAX_CANDIDATES + 500
    left = torch.linspace(0, 0.9, num_cells)
    boxes = torch.stack([left, torch.zeros(num_cells), left + 1e-5, torch.ones(num_cells)])[None]
    scores = torch.linspace(0.2, 0.9, num_cells).view(1, 1, -1)
    (result,) = select(boxes, scores, selection(max_detections=10_000))
    assert len(result.scores_N) == MAX_CANDIDATES
    assert result.scores_N[0] == np.float32(0.9)
