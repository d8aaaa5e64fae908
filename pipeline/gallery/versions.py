"""Keeps one gallery for each embedder version, so that a new version can run beside the old while tracks are re-embedded."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.gallery.gallery import Appearance, Gallery
from pipeline.gallery.kernels import Float32
from pipeline.gallery.scans import SearchConfig


class GalleryVersions:
    """Holds galleries by embedder version. A query goes to the gallery of its own version, and to no other.

    A track is in one gallery at a time: that of the version that embedded it last. The version opened last is the
    current one; an older one is closed as soon as all its tracks have been re-embedded, were removed or expired.
    """

    def __init__(
        self, capacity: int, ttl_ns: int, *, max_versions: int = 2, search: SearchConfig | None = None
    ) -> None:
        if max_versions < 1:
            raise BadInput(f"max_versions is {max_versions}, expected at least 1")
        self._capacity = capacity
        self._ttl_ns = ttl_ns
        self._max_versions = max_versions
        self._search = search
        self._galleries: dict[str, Gallery] = {}  # the oldest version first

    def __len__(self) -> int:
        return sum(len(gallery) for gallery in self._galleries.values())

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the open versions, the current one last."""
        return tuple(self._galleries)

    def open(self, version: str, dimension: int) -> None:
        """Make room for embeddings of a version; one that is not open becomes the current one.

        Raises:
            BadInput: the version is open with another dimension, or as many versions as may be are open.
        """
        gallery = self._galleries.get(version)
        if gallery is None:
            self._check_room(version)
            gallery = self._galleries[version] = Gallery(
                dimension, self._capacity, self._ttl_ns, self._search
            )
        if gallery.dimension != dimension:
            raise BadInput(
                f"embedder version {version!r} has embeddings of length {gallery.dimension}, got {dimension}; "
                "a version must not change: give the new one a name of its own"
            )

    def checked(self, version: str, embedding_D: ArrayLike) -> Float32:
        """Return the vector as the version's gallery would store it; nothing changes.

        Raises:
            BadInput: a vector that the gallery would refuse, or as many other versions as may be are open.
        """
        gallery = self._galleries.get(version)
        if gallery is None:
            self._check_room(version)
            gallery = Gallery(max(1, np.size(embedding_D)), 1, 1)
        return gallery.checked(embedding_D)

    def put(self, version: str, track: str, embedding_D: ArrayLike, at_ns: int) -> list[str]:
        """Store a track's appearance by one version, opened if need be; return the tracks forgotten to make room.

        Raises:
            BadInput: what `checked` refuses.
        """
        vector_D = self.checked(version, embedding_D)
        self.open(version, len(vector_D))
        evicted = self._galleries[version].put(track, vector_D, at_ns)
        for other, gallery in self._galleries.items():
            if other != version:
                gallery.remove(track)
        self._close_empty()
        return evicted

    def search_batch(self, version: str, embeddings_ND: ArrayLike, num: int) -> list[list[Appearance]]:
        """Return the closest appearances of the same version, a list for each embedding.

        Raises:
            BadInput: the version's gallery refuses a vector.
        """
        if version not in self._galleries:
            return [[] for _ in np.asarray(embeddings_ND)]
        return self._galleries[version].search_batch(embeddings_ND, num)

    def remove(self, track: str) -> None:
        """Forget a track; unknown ones are ignored."""
        for gallery in self._galleries.values():
            gallery.remove(track)
        self._close_empty()

    def expire(self, now_ns: int) -> list[str]:
        """Forget and return the tracks whose time to live has passed at `now_ns`, those of the oldest version first."""
        expired = [track for gallery in self._galleries.values() for track in gallery.expire(now_ns)]
        self._close_empty()
        return expired

    def _check_room(self, version: str) -> None:
        if not version:
            raise BadInput("an embedding has no embedder version; expected a name, as in osnet@4d5a25878384")
        if len(self._galleries) >= self._max_versions:
            raise BadInput(
                f"got an embedding of version {version!r} beside those of {', '.join(self.versions)}; at most "
                f"{self._max_versions} are held beside each other: let an old one run out first"
            )

    def _close_empty(self) -> None:
        """Drop older versions that hold nothing; the current one stays."""
        for version in self.versions[:-1]:
            if not len(self._galleries[version]):
                del self._galleries[version]
