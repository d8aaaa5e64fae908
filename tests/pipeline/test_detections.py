import pytest

from pipeline.detections import lies_inside


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((1.5, 1.5, 98.5, 48.5), True),
        ((1.0, 1.5, 98.5, 48.5), False),
        ((1.5, 1.0, 98.5, 48.5), False),
        ((1.5, 1.5, 99.0, 48.5), False),
        ((1.5, 1.5, 98.5, 49.0), False),
        ((-3.0, -3.0, 120.0, 60.0), False),
    ],
)
def test_a_box_that_touches_a_border_may_be_cut_off(
    box: tuple[float, float, float, float], inside: bool
) -> None:
    assert lies_inside(box, (100, 50)) is inside
