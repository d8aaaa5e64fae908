import cv2
import numpy as np
import pytest

from pipeline.looks import sharpness

NOISE = np.random.default_rng(3).uniform(0, 255, (128, 64, 3)).astype(np.float32)


def blurred(size: tuple[int, int], sigma: float) -> np.ndarray:
    """Blur the noise, at full contrast again: a blurred picture is not a dark one."""
    soft = cv2.GaussianBlur(NOISE, size, sigma)
    return cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def test_a_crop_loses_sharpness_with_every_blur() -> None:
    values = [sharpness(blurred((0, 0), sigma)) for sigma in (0.1, 0.8, 2.0, 5.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.8
    assert values[-1] < 0.4


@pytest.mark.parametrize("size", [(25, 1), (1, 25)], ids=["along x", "along y"])
def test_blur_of_motion_in_one_direction_counts_in_full(size: tuple[int, int]) -> None:
    assert sharpness(blurred(size, 4.0)) < 0.5 * sharpness(blurred((0, 0), 0.1))


@pytest.mark.parametrize("shape", [(1, 1, 3), (40, 20, 3)], ids=str)
def test_a_crop_without_any_detail_is_not_sharp(shape: tuple[int, int, int]) -> None:
    assert sharpness(np.full(shape, 90, np.uint8)) == 0.0
