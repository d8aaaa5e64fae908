"""Builds versions that the tests of several rooms use."""

from typing import Any

import numpy as np

from models.learned import Backbones, LearnedVersion

BACKBONES = Backbones(detector="nanodet@aaaaaaaaaaaa", embedder="osnet@bbbbbbbbbbbb")


def learned(value: float = 1.0, *, parent: str = "", **more: Any) -> LearnedVersion:
    """Return a small version; another value is another version."""
    arrays = {
        "class/courier/weight": np.full((4,), value, np.float32),
        "class/courier/bias": np.array([0.5], np.float32),
        "camera/c6/shift": np.arange(4, dtype=np.float16),
        "initialization/camera/scale": np.ones((4, 4), np.float32),
        "detection/fork/lift/anchors": np.array([3, 1, 2], np.int64),
    }
    fields: dict[str, Any] = {
        "arrays": arrays, "backbones": BACKBONES, "created_ns": 1_700_000_000_000_000_000, "parent": parent,
        "tasks": ("class courier 0a1b",), "data_digest": "ab" * 32,
        "scores": {"class courier": {"current": 0.5, "meta": 0.9}}, "reason": "2 new tasks",
    }  # fmt: skip
    return LearnedVersion(**(fields | more))
