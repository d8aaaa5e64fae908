"""Says where the sample video lies and which sequence of MOTChallenge is its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SAMPLE_VIDEO: Final = Path(".cache/video/vtest.avi")
"""Where `make setup` leaves it."""
SAMPLE_SEQUENCE: Final = "PETS09-S2L1"
