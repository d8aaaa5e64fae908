"""Watches a camera of real people whom the shipped embedder describes, by day and then as if at night."""

import os
from pathlib import Path

import numpy as np
import pytest

from models.detector import ImageHW3
from models.embedders import EmbedderConfig, build_embedder
from models.reid.dataset import open_crops
from pipeline.learning.drift import Drift, DriftConfig, DriftWatch

DATA = os.environ.get("CAMWEAVE_DATA", "")
MARKET = Path(DATA, "market1501-train-ids-0002-0954.zip")
NUM_PEOPLE = 160
CAMERA = "1"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA or not MARKET.exists(), reason="CAMWEAVE_DATA has no Market-1501"),
]


@pytest.fixture(scope="module")
def people() -> list[ImageHW3]:
    """One crop of each of many people, in the order of their numbers."""
    with open_crops(MARKET) as crops:
        first = {
            crop.identity: index
            for index, crop in reversed(list(enumerate(crops.crops)))
            if crop.camera == CAMERA
        }
        return [crops.read(first[identity]) for identity in sorted(first)[:NUM_PEOPLE]]


def at_night(crop: ImageHW3) -> ImageHW3:
    """A third of the light, bluish, with the noise of a sensor."""
    noise = np.random.default_rng(int(crop.sum())).normal(0, 6, crop.shape)
    return np.clip(crop * (0.42, 0.3, 0.22) + noise, 0, 255).astype(np.uint8)


def drifts(crops: list[ImageHW3]) -> list[Drift]:
    embeddings = build_embedder(EmbedderConfig()).embed(crops)
    watch = DriftWatch(DriftConfig(), np.random.default_rng(0))
    compared = [watch.see("yard", embedding, 0.7) for embedding in embeddings]
    return [one for one in compared if one is not None]


def test_people_who_come_and_go_by_day_are_no_drift(people: list[ImageHW3]) -> None:
    compared = drifts(people)
    assert len(compared) >= 8
    assert not any(one.drifted for one in compared)


def test_night_is_a_drift_within_forty_tracks(people: list[ImageHW3]) -> None:
    half = NUM_PEOPLE // 2
    compared = drifts([*people[:half], *(at_night(crop) for crop in people[half : half + 40])])
    assert [one.drifted for one in compared].count(True) == 1
