import cv2

from models.reid.training_history import EpochRecord
from models.reid.validation import ValidationScores
from pipeline.pictures.training_curves import draw_training_curves


def test_the_curves_are_drawn_from_the_first_epoch_on_also_before_any_validation(tmp_path):
    scores = ValidationScores(0.8, 0.6, 0.55, 0.7)
    history = [
        EpochRecord(1, 8.0, 1e-3, None),
        EpochRecord(2, 6.0, 5e-4, scores),
        EpochRecord(3, 5.0, 1e-4, scores),
    ]
    pictures = []
    for num in (1, 3):
        draw_training_curves(history[:num], tmp_path / "curves.png")
        pictures.append(cv2.imread(str(tmp_path / "curves.png")))
    first, last = pictures
    assert first.shape == last.shape
    assert min(first.shape[:2]) > 300
    assert (first != last).any()
