import pytest
import torch

from models.errors import BadEpisode
from models.meta.tasks import IGNORED, Task, TaskBatch


def _task(shots: int = 1, queries: int = 2, **changed: torch.Tensor) -> Task:
    labels = torch.arange(2)
    sets = {
        "support_x": torch.ones(2 * shots, 3), "support_y": labels.repeat_interleave(shots),
        "query_x": torch.ones(2 * queries, 3), "query_y": labels.repeat_interleave(queries),
    }  # fmt: skip
    return Task(**(sets | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_x": torch.ones(0, 3), "query_y": torch.arange(0)}, "query set has examples"),
        ({"support_y": torch.arange(3)}, "support set has examples"),
        ({"query_x": torch.ones(4, 5)}, "expected one shape"),
        ({"query_y": torch.tensor([0, 1, 2, 1])}, "classes \\[2\\] without a support example"),
        ({"support_y": torch.tensor([0, -1])}, "from -1"),
        ({"support_y": torch.tensor([0.0, 1.0])}, "torch.float32"),
        ({"support_x": torch.full((2, 3), torch.nan)}, "not finite"),
        ({"support_x": torch.ones(2, 3, dtype=torch.uint8)}, "uint8"),
    ],
)
def test_sets_that_cannot_be_learned_from_are_refused(changed, message):
    with pytest.raises(BadEpisode, match=message):
        _task(**changed)


def test_a_batch_fills_up_smaller_sets_with_ignored_rows():
    batch = TaskBatch.of([_task(shots=1), _task(shots=3)])
    assert batch.support_x.shape == (2, 6, 3)
    assert batch.support_y.tolist() == [[0, 1, *[IGNORED] * 4], [0, 0, 0, 1, 1, 1]]


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(BadEpisode, match="at least one task"):
        TaskBatch.of([])


def test_a_batch_is_split_by_tasks():
    batch = TaskBatch.of([_task()] * 5)
    assert [len(part) for part in batch.split(2)] == [2, 2, 1]
