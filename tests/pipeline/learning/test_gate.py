import pytest

from pipeline.learning.gate import CURRENT, Comparison, GateConfig, best_method, judge, preferred_method
from pipeline.records import TaskKind


def compared(
    name: str, before: float, after: float, *, is_new: bool = False, min_score: float = 0.0
) -> Comparison:
    scores = {CURRENT: before, "meta": after}
    return Comparison(TaskKind.CLASS, name, scores, "meta", 10, is_new, min_score)


def test_a_candidate_that_wins_on_the_new_and_keeps_the_old_is_promoted() -> None:
    verdict = judge([compared("courier", 0.5, 0.9, is_new=True), compared("guard", 0.8, 0.8)], GateConfig())
    assert verdict.promoted
    assert verdict.gain == pytest.approx(0.4)


def test_a_candidate_that_does_not_win_on_the_new_is_rejected_however_well_it_does_on_the_old() -> None:
    verdict = judge([compared("courier", 0.7, 0.7, is_new=True), compared("guard", 0.5, 0.9)], GateConfig())
    assert not verdict.promoted
    assert "courier" in verdict.reason


def test_a_candidate_that_costs_the_old_more_than_a_point_is_rejected_and_the_worst_is_named() -> None:
    comparisons = [
        compared("courier", 0.5, 0.9, is_new=True), compared("guard", 0.9, 0.9), compared("porter", 0.9, 0.87),
    ]  # fmt: skip
    verdict = judge(comparisons, GateConfig())
    assert not verdict.promoted
    assert "porter" in verdict.reason
    assert "1.5 points" in verdict.reason


def test_losing_a_point_on_the_old_is_allowed() -> None:
    comparisons = [compared("courier", 0.5, 0.9, is_new=True), compared("guard", 0.9, 0.895)]
    assert judge(comparisons, GateConfig()).promoted


def test_a_class_that_is_hardly_told_from_others_is_rejected_although_nothing_knew_it_before() -> None:
    verdict = judge([compared("courier", 0.5, 0.6, is_new=True, min_score=0.65)], GateConfig())
    assert not verdict.promoted
    assert "65%" in verdict.reason


def test_without_new_tasks_the_old_ones_must_gain() -> None:
    assert judge([compared("guard", 0.8, 0.85)], GateConfig()).promoted
    assert not judge([compared("guard", 0.8, 0.8)], GateConfig()).promoted
    assert not judge([], GateConfig()).promoted


def test_of_methods_that_score_the_same_the_first_is_taken() -> None:
    assert best_method(
        {"meta": 0.8, "fine-tune": 0.8, "prototypes": 0.7}, ("meta", "fine-tune", "prototypes")
    ) == ("meta")
    assert best_method({"meta": 0.7, "prototypes": 0.8}, ("meta", "prototypes")) == "prototypes"


METHODS = ("meta", "fine-tune", "prototypes")


def preferred(answers: dict[str, list[float]], floor: float = 0.0) -> str:
    """Choose by the answers to each query; the score is their mean."""
    scores = {method: sum(each) / len(each) for method, each in answers.items()}
    left = {
        method: [(sum(each) - one) / (len(each) - 1) for one in each] if len(each) > 1 else []
        for method, each in answers.items()
    }
    return preferred_method(scores, left.__getitem__, METHODS, floor)


def test_the_first_method_is_taken_where_another_one_is_better_by_chance() -> None:
    one_more = {"meta": [1, 0, 0, 1, 1, 1], "fine-tune": [0, 1, 1, 1, 1, 1], "prototypes": [0] * 6}
    assert preferred(one_more) == "meta"


def test_a_method_that_is_better_by_more_than_a_standard_error_is_taken() -> None:
    clearly = {"meta": [1, 0, 0, 0, 1, 1], "fine-tune": [1, 1, 1, 1, 1, 1], "prototypes": [0] * 6}
    assert preferred(clearly) == "fine-tune"
    same_everywhere = {"meta": [0.5] * 4, "fine-tune": [0.6] * 4, "prototypes": [0.4] * 4}
    assert preferred(same_everywhere) == "fine-tune"


def test_where_the_first_method_would_not_be_served_the_best_one_is_taken() -> None:
    one_more = {"meta": [1, 0, 0, 1, 1, 1], "fine-tune": [0, 1, 1, 1, 1, 1], "prototypes": [0] * 6}
    assert preferred(one_more, floor=0.7) == "fine-tune"


def test_one_query_alone_says_nothing_of_chance() -> None:
    assert preferred({"meta": [0.4], "fine-tune": [0.6], "prototypes": [0.2]}) == "meta"
