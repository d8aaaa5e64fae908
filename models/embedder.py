"""States what an embedder is: crops in, unit vectors out, comparable by inner product."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.detector import ImageHW3


class Embedder(Protocol):
    """Describes the appearance of one object a crop."""

    @property
    def version(self) -> str:
        """Name and digest; embeddings of different versions are never compared."""

    @property
    def dimension(self) -> int:
        """Length D of an embedding."""

    def embed(self, crops: Sequence[ImageHW3]) -> NDArray[np.float32]:
        """Embed crops, uint8 BGR, each H x W x 3 of any size >= 1; returns N x D rows of unit length."""
