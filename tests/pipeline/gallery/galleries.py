"""Makes unit vectors and galleries, and a slow obvious gallery to compare with."""

from collections.abc import Sequence

import numpy as np

from pipeline.gallery import Appearance, Gallery, SearchConfig
from pipeline.gallery.nearest import CodeScan

D = 8
NEVER_NS = 10**12
FLOAT32 = SearchConfig(scan="float32")
LISTED = SearchConfig(ivf_above=3, ivf_lists=3, ivf_probes=3)
"""Goes to inverted lists at the fourth appearance, and looks into all of them: must find what exhaustive search does."""
SEARCHES = [SearchConfig(), FLOAT32, LISTED]
HAS_INT8 = CodeScan.is_exact_here()


def unit(seed: int, dimension: int = D) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    return vector / np.linalg.norm(vector)


def units(num: int, dimension: int = D, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(num, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def filled(vectors: Sequence[np.ndarray], search: SearchConfig | None = None) -> Gallery:
    gallery = Gallery(len(vectors[0]), capacity=len(vectors) + 10, ttl_ns=NEVER_NS, search=search)
    for number, vector in enumerate(vectors):
        gallery.put(f"t{number:05}", vector, at_ns=0)
    return gallery


class PlainGallery:
    """Does with a dictionary what Gallery should do; the dictionary's order is that of putting."""

    def __init__(self, capacity: int, ttl_ns: int) -> None:
        self.capacity = capacity
        self.ttl_ns = ttl_ns
        self.rows: dict[str, tuple[np.ndarray, int]] = {}

    def put(self, track: str, vector: np.ndarray, at_ns: int) -> list[str]:
        evicted = (
            [next(iter(self.rows))] if track not in self.rows and len(self.rows) == self.capacity else []
        )
        for name in evicted:
            del self.rows[name]
        _, before_ns = self.rows.pop(track, (vector, at_ns))
        self.rows[track] = (vector, max(at_ns, before_ns))
        return evicted

    def expire(self, now_ns: int) -> list[str]:
        old = [name for name, (_, at_ns) in self.rows.items() if at_ns + self.ttl_ns <= now_ns]
        old.sort(key=lambda name: self.rows[name][1])
        for name in old:
            del self.rows[name]
        return old

    def remove(self, track: str) -> None:
        self.rows.pop(track, None)

    def search(self, query: np.ndarray, num: int) -> list[Appearance]:
        # Rounded, so that equal vectors tie whatever the order of a sum.
        found = [
            Appearance(name, round(float(row.astype(float) @ query.astype(float)), 12))
            for name, (row, _) in self.rows.items()
        ]
        return sorted(found, key=lambda one: (-one.similarity, one.track))[:num]
