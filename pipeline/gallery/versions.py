"""Keeps one gallery for each embedder version, so that a new version can run beside the old while tracks are re-embedded."""

from __future__ import annotations

from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.gallery.gallery import Appearance, Gallery
from pipeline.gallery.scans import SearchConfig


class GalleryVersions:
    """Holds galleries by embedder version. A query goes to the gallery of its own version, and to no other.

    The version opened last is the current one. An older one is closed as soon as nothing is left in it: its tracks
    are removed when they have been re-embedded, or expire.
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

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the open versions, the current one last."""
        return tuple(self._galleries)

    def open(self, version: str, dimension: int) -> Gallery:
        """Return the gallery of a version; a version that is not open becomes the current one.

        Raises:
            BadInput: the version is open with another dimension, or as many versions as may be are open.
        """
        gallery = self._galleries.get(version)
        if gallery is None:
            self._close_empty()
            if len(self._galleries) >= self._max_versions:
                raise BadInput(
                    f"embedder version {version!r} would be one more than {self._max_versions} open galleries "
                    f"({', '.join(self.versions)}); let one expire first, or raise max_versions"
                )
            gallery = Gallery(dimension, self._capacity, self._ttl_ns, self._search)
            self._galleries[version] = gallery
        if gallery.dimension != dimension:
            raise BadInput(
                f"embedder version {version!r} has embeddings of length {gallery.dimension}, got {dimension}; "
                "a version must not change: give the new one a name of its own"
            )
        return gallery

    def adopt(self, version: str, gallery: Gallery) -> None:
        """Take over a restored gallery as that of a version, which becomes the current one."""
        self._galleries.pop(version, None)
        self.open(version, gallery.dimension)
        self._galleries[version] = gallery

    def of(self, version: str) -> Gallery:
        """Return the gallery of an open version.

        Raises:
            BadInput: the version is not open.
        """
        if version not in self._galleries:
            raise BadInput(
                f"no gallery holds embeddings of version {version!r}, only of {list(self.versions)}; "
                "embeddings of different versions are never compared"
            )
        return self._galleries[version]

    def put(self, version: str, track: str, embedding_D: ArrayLike, at_ns: int) -> list[str]:
        """Store a track's appearance by one version; return the tracks that no gallery remembers any more.

        Raises:
            BadInput: the version is not open, or its gallery refuses the vector.
        """
        evicted = self.of(version).put(track, embedding_D, at_ns)
        return self._forgotten(evicted)

    def search_batch(self, version: str, embeddings_ND: ArrayLike, num: int) -> list[list[Appearance]]:
        """Return the closest appearances of the same version, a list for each embedding.

        Raises:
            BadInput: the version is not open, or its gallery refuses a vector.
        """
        return self.of(version).search_batch(embeddings_ND, num)

    def remove(self, track: str) -> None:
        """Forget a track in all versions."""
        for gallery in self._galleries.values():
            gallery.remove(track)
        self._close_empty()

    def expire(self, now_ns: int) -> list[str]:
        """Forget what is too old; return the tracks that no gallery remembers any more, each once."""
        expired = [track for gallery in self._galleries.values() for track in gallery.expire(now_ns)]
        self._close_empty()
        return self._forgotten(list(dict.fromkeys(expired)))

    def _forgotten(self, tracks: list[str]) -> list[str]:
        return [
            track for track in tracks if not any(track in gallery for gallery in self._galleries.values())
        ]

    def _close_empty(self) -> None:
        """Drop older versions that hold nothing; the current one stays."""
        for version in self.versions[:-1]:
            if not len(self._galleries[version]):
                del self._galleries[version]
