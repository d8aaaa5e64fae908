from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.reid.augmentation import AugmentationConfig, augment, erase, reframe
from tests.models.conftest import noise

OFF = {
    field.name: 0 for field in fields(AugmentationConfig)
    if field.name not in ("zoom", "erased_area", "lowest_height", "lowest_quality")
}  # fmt: skip
STILL = AugmentationConfig(**OFF, zoom=(1.0, 1.0))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 90), st.integers(0, 10**6))
def test_a_crop_of_any_size_becomes_8_bit_pixels_of_the_wanted_size(height, width, seed):
    seen = augment(noise(height, width), (96, 48), AugmentationConfig(), np.random.default_rng(seed))
    assert (seen.shape, seen.dtype) == ((96, 48, 3), np.uint8)


def test_the_generator_alone_decides_what_is_seen():
    crop = noise(128, 64)
    first, same, other = (
        augment(crop, (96, 48), AugmentationConfig(), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_with_everything_off_a_crop_stays_as_it_is():
    crop = noise(128, 64)
    np.testing.assert_allclose(
        augment(crop, (128, 64), STILL, np.random.default_rng(0)).astype(int), crop, atol=1
    )


def test_flipping_mirrors():
    crop = noise(128, 64)
    mirror = AugmentationConfig(**(OFF | {"flip": 1}), zoom=(1.0, 1.0))
    np.testing.assert_array_equal(reframe(crop, (128, 64), mirror, np.random.default_rng(0)), crop[:, ::-1])


def test_the_hidden_share_is_within_its_range_and_the_rest_untouched():
    crop = np.full((128, 64, 3), 7, np.uint8)
    config = AugmentationConfig(erased_area=(0.1, 0.1))
    shares = [
        (erase(crop, config, np.random.default_rng(seed)) != 7).any(axis=2).mean() for seed in range(20)
    ]
    assert max(shares) <= 0.12
    assert np.median(shares) >= 0.08


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"flip": 1.5}, "flip"), ({"gain": 1.0}, "gain"), ({"lowest_quality": 0}, "lowest_quality")],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        AugmentationConfig(**changes)
