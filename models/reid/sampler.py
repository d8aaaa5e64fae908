"""Draws batches of P identities with K crops each, from every data set alike and over as many cameras as there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class IdentityBatches:
    """Yields batches of crop indices: `identities` per batch, `crops` of each, the same number from each data set.

    Mixing sets in a batch keeps batch statistics comparable; hard strangers come from the crop's own set by
    themselves. An identity comes back only when all others of its set have been drawn.
    """

    def __init__(
        self, labels_N: NDArray[np.int64], cameras_N: NDArray[np.int64], sets_N: NDArray[np.int64], *, identities: int,
        crops: int,
    ) -> None:  # fmt: skip
        self._crops = crops
        self._members = {
            int(label): _by_camera(np.flatnonzero(labels_N == label), cameras_N)
            for label in np.unique(labels_N)
        }
        self._pools = [np.unique(labels_N[sets_N == number]) for number in np.unique(sets_N)]
        self._shares = [len(part) for part in np.array_split(np.arange(identities), len(self._pools))]
        self.num_batches = max(1, len(labels_N) // (identities * crops))

    def epoch(self, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Yield the batches of one epoch: about as many crops as there are."""
        streams = [_shuffled_forever(pool, random) for pool in self._pools]
        for _ in range(self.num_batches):
            batch: list[int] = []
            for stream, share in zip(streams, self._shares, strict=True):
                for _ in range(share):
                    batch += self._draw(next(stream), random)
            yield np.array(batch, np.int64)

    def _draw(self, label: int, random: np.random.Generator) -> list[int]:
        """Draw crops of one identity, from each camera in turn; with repetition only when there are too few."""
        cameras = [random.permutation(members).tolist() for members in self._members[label]]
        random.shuffle(cameras)
        order = [index for turn in _turns(cameras) for index in turn]
        while len(order) < self._crops:
            order += order
        return order[: self._crops]


def _by_camera(members: NDArray[np.intp], cameras_N: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    seen_by = cameras_N[members]
    return [members[seen_by == camera] for camera in np.unique(seen_by)]


def _turns(lists: Sequence[list[int]]) -> Iterator[list[int]]:
    longest = max(len(members) for members in lists)
    return ([members[turn] for members in lists if turn < len(members)] for turn in range(longest))


def _shuffled_forever(pool: NDArray[np.int64], random: np.random.Generator) -> Iterator[int]:
    while True:
        yield from random.permutation(pool).tolist()
