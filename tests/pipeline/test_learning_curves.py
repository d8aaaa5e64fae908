from pathlib import Path

import cv2

from pipeline.pictures.learning_curves import LearningCurve, draw_learning_curves


def test_each_panel_has_its_own_place_in_the_picture(tmp_path: Path) -> None:
    curves = [
        LearningCurve(label, panel, {1: 0.3, 5: 0.5, 20: 0.6})
        for panel in ("night", "lamplight")
        for label in ("first", "second")
    ]
    widths = {}
    for number, chosen in ((1, curves[:2]), (2, curves)):
        path = tmp_path / f"{number}.png"
        draw_learning_curves(chosen, path, title="rank-1", x_label="pairs")
        drawn = cv2.imread(str(path))
        assert drawn is not None
        widths[number] = drawn.shape[1]
    assert widths[2] == 2 * widths[1]
