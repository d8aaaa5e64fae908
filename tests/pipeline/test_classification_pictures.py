import cv2
import numpy as np
import pytest

from models.transfer.history import TransferEpoch
from pipeline.errors import BadInput
from pipeline.pictures.classification import (
    confusion_figure,
    draw_confusion,
    draw_transfer_curves,
)
from pipeline.pictures.figures import short_name


def test_the_curves_are_drawn_from_the_first_epoch_on(tmp_path):
    history = [TransferEpoch(1, 1e-2, 0.9, 0.6, 1.0, 0.5), TransferEpoch(2, 1e-3, 0.4, 0.8, 0.6, 0.75)]
    pictures = []
    for num in (1, 2):
        draw_transfer_curves(history[:num], tmp_path / "curves.png")
        pictures.append(cv2.imread(str(tmp_path / "curves.png")))
    first, last = pictures
    assert first.shape == last.shape
    assert min(first.shape[:2]) > 300
    assert (first != last).any()


def test_a_confusion_matrix_is_shaded_by_share_of_its_row_and_tells_counts_and_accuracy():
    axes = confusion_figure(("cat", "dog"), np.array([[6, 2], [0, 8]])).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
        ((0, 0), "6"),
        ((1, 0), "2"),
        ((1, 1), "8"),
    ]
    assert axes.get_title() == "14 of 16 told right: 87.5%"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]


def test_a_matrix_grows_with_its_classes_and_stays_bounded(tmp_path):
    sizes = []
    for num in (2, 20, 200):
        draw_confusion([f"class {i}" for i in range(num)], np.eye(num, dtype=np.int64), tmp_path / "c.png")
        sizes.append(cv2.imread(str(tmp_path / "c.png")).shape[0])
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] <= sizes[2] <= 24 * 110


def test_names_that_mean_something_to_matplotlib_or_are_long_or_empty_of_counts_can_be_drawn(tmp_path):
    names = ("$x_{", "a very long name of a class that nobody wants to read in full", "ü")
    draw_confusion(names, np.zeros((3, 3), np.int64), tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_counts_of_another_shape_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"shape \(2, 3\), expected \(2, 2\) for 2 classes"):
        draw_confusion(("cat", "dog"), np.zeros((2, 3), np.int64), tmp_path / "c.png")


@pytest.mark.parametrize(
    ("name", "short"), [("cat", "cat"), ("a  b\nc", "a b c"), ("abcdefghijklmnop", "abcdef…nop")]
)
def test_a_long_name_keeps_its_beginning_and_its_end(name, short):
    assert short_name(name, 10) == short
