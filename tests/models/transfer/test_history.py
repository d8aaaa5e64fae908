from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.transfer.history import (
    TransferEpoch,
    TransferOutcome,
    count_confusion,
    history_json,
    parse_history,
    read_history,
)

SHARES = st.floats(0, 1)


@given(st.lists(st.builds(TransferEpoch, st.integers(1, 99), SHARES, SHARES, SHARES, SHARES, SHARES)))
def test_a_history_comes_back_as_it_was(history):
    assert parse_history(history_json(history)) == history


def test_what_is_no_history_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is no history of transfer"):
        read_history(tmp_path / "absent.json")
    (tmp_path / "other.json").write_text('[{"epoch": 1}]')
    with pytest.raises(ModelError, match="is no history of transfer"):
        read_history(tmp_path / "other.json")


def test_rows_of_the_confusion_are_what_is_and_columns_what_it_was_taken_for():
    confusion_CC = count_confusion(np.array([0, 0, 0, 1, 2]), np.array([0, 2, 2, 1, 2]), 3)
    assert confusion_CC.tolist() == [[1, 0, 2], [0, 1, 0], [0, 0, 1]]


def test_balanced_accuracy_counts_a_rare_class_as_much_as_a_frequent_one():
    confusion_CC = np.array([[90, 0], [5, 5]])
    outcome = TransferOutcome(Path("w"), "resnet18", 0, 224, ("common", "rare"), confusion_CC)
    assert outcome.accuracy == 0.95
    assert outcome.balanced_accuracy == 0.75
