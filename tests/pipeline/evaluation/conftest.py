import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mot15_zip():
    """Four sequences of MOT15 with truth and public detections: research data that is never part of the project."""
    path = Path(os.environ.get("CAMWEAVE_DATA", "")) / "mot15-four-sequences.zip"
    if not os.environ.get("CAMWEAVE_DATA") or not path.is_file():
        pytest.skip("needs mot15-four-sequences.zip in the folder that CAMWEAVE_DATA names")
    return path
