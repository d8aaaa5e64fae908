import os
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def data():
    """The folder of research data, which is never part of the project."""
    path = Path(os.environ.get("CAMWEAVE_DATA", ""))
    if not os.environ.get("CAMWEAVE_DATA") or not (path / "market1501-train-ids-0002-0954.zip").is_file():
        pytest.skip("needs the re-identification sets in the folder that CAMWEAVE_DATA names")
    return path


def write_crop(folder, name, *, seed=0, shape=(64, 32, 3)):
    """Write a crop of smooth noise, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), np.uint8)
    path = folder / name
    cv2.imwrite(str(path), cv2.resize(small, (shape[1], shape[0])))
    return path
