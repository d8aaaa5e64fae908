import numpy as np
import pytest

from models.errors import ModelError
from models.fewshot.class_learning import ClassExamples, first_initialization, fold_classes, learn_class
from models.fewshot.classes import ClassHead

DIMENSION = 32
METHODS = ("meta", "fine-tune", "prototypes")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def examples(seed: int, members: int, others: int, *, spread: float = 1.0) -> ClassExamples:
    """Members lie around one direction that depends on the seed, others anywhere."""
    rng = np.random.default_rng(seed)
    centre = 3 * unit(np.random.default_rng(seed // 100).standard_normal((1, DIMENSION)))
    rows = np.concatenate([
        centre + spread * rng.standard_normal((members, DIMENSION)) / 4, rng.standard_normal((others, DIMENSION)),
    ])  # fmt: skip
    return ClassExamples(unit(rows), np.arange(members + others) < members)


def accuracy(head: ClassHead, asked: ClassExamples) -> float:
    named = head.logits(asked.embeddings_ND) >= 0
    return float(named[asked.is_member_N].mean() + (~named[~asked.is_member_N]).mean()) / 2


@pytest.mark.parametrize("method", METHODS)
def test_a_class_is_told_from_others_after_five_examples(method: str) -> None:
    head = learn_class(examples(100, 5, 10), method, first_initialization())
    assert accuracy(head, examples(101, 50, 50)) > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_one_example_of_each_is_enough_to_learn_from(method: str) -> None:
    head = learn_class(examples(100, 1, 1), method, first_initialization())
    assert np.isfinite(head.weight_D).all()
    assert accuracy(head, examples(101, 50, 50)) > 0.6


@pytest.mark.parametrize("method", METHODS)
def test_many_more_of_others_do_not_drown_the_class(method: str) -> None:
    head = learn_class(examples(100, 2, 100), method, first_initialization())
    asked = examples(101, 50, 50)
    assert (head.logits(asked.embeddings_ND)[asked.is_member_N] >= 0).mean() > 0.7


def test_folding_tasks_makes_the_next_one_cheaper() -> None:
    start = {"bias": np.array([2.0], np.float32), "rates": np.array([0.05, 0.0], np.float32)}  # far from good
    tasks = [examples(100 * number, 6, 12) for number in range(1, 6)]
    *_, folded = fold_classes(start, tasks, np.random.default_rng(0))
    support, asked = examples(900, 2, 4), examples(901, 100, 100)
    before = accuracy(learn_class(support, "meta", start), asked)
    after = accuracy(learn_class(support, "meta", folded), asked)
    assert after > before + 0.1


def test_folding_works_in_slices_and_is_the_same_for_the_same_seed() -> None:
    tasks = [examples(100, 3, 3), examples(200, 1, 4)]
    one, other = (
        list(fold_classes(first_initialization(), tasks, np.random.default_rng(3))) for _ in range(2)
    )
    assert len(one) > 3
    np.testing.assert_array_equal(one[-1]["rates"], other[-1]["rates"])


@pytest.mark.parametrize(
    ("rows", "flags", "words"),
    [
        (np.ones((3, 4)), [True, True, True], "some that are and some that are not"),
        (np.ones((3, 4)), [False, False, False], "0 are of the class"),
        (np.ones((3, 4)), [True, False], "do not fit"),
        (np.full((2, 4), np.nan), [True, False], "not finite"),
        (np.ones((0, 4)), [], "of 0 crops"),
    ],
)
def test_examples_that_teach_nothing_are_refused(rows: np.ndarray, flags: list[bool], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        ClassExamples(rows.astype(np.float32), np.array(flags, bool))


def test_a_head_survives_the_way_through_a_version() -> None:
    head = learn_class(examples(100, 3, 3), "meta", first_initialization())
    asked = examples(101, 5, 5).embeddings_ND
    np.testing.assert_array_equal(ClassHead.from_arrays(head.arrays()).logits(asked), head.logits(asked))
