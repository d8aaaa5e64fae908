"""Names camweave's topics and consumer groups, and fixes the partition counts."""

from dataclasses import dataclass
from typing import Self

from cluster.log.protocol import Topic

NUM_FRAME_PARTITIONS = 64
"""More than shards will ever be: adding partitions later would remap cameras."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Holds the names of one site's topics and groups; a prefix keeps sites apart on one log."""

    frames: str
    tracks: str
    tracklets: str
    identities: str
    dead_letters: str
    gaps: str
    tasks: str
    models: str
    shard_group: str
    gallery_group: str
    learner_group: str

    @classmethod
    def with_prefix(cls, prefix: str = "") -> Self:
        """Name the topics `<prefix>frames`, `<prefix>tracks`, ..."""
        return cls(
            frames=f"{prefix}frames", tracks=f"{prefix}tracks", tracklets=f"{prefix}tracklets",
            identities=f"{prefix}identities", dead_letters=f"{prefix}dead-letters",
            gaps=f"{prefix}gaps",
            tasks=f"{prefix}tasks", models=f"{prefix}models", shard_group=f"{prefix}shards",
            gallery_group=f"{prefix}gallery", learner_group=f"{prefix}learner",
        )  # fmt: skip

    def declare(self, *, frames_retention_bytes: int = -1, results_retention_s: float = -1.0) -> list[Topic]:
        """Describe the topics for `Log.create_topics`.

        `tracklets` and `identities` have one partition each: the gallery is the single writer of a site.
        """
        return [
            Topic(
                name=self.frames, num_partitions=NUM_FRAME_PARTITIONS, retention_bytes=frames_retention_bytes
            ),
            Topic(name=self.tracks, num_partitions=NUM_FRAME_PARTITIONS, retention_s=results_retention_s),
            Topic(name=self.tracklets, num_partitions=1, retention_s=results_retention_s),
            Topic(name=self.identities, num_partitions=1),
            Topic(name=self.dead_letters, num_partitions=1, retention_s=results_retention_s),
            Topic(name=self.gaps, num_partitions=1, retention_s=results_retention_s),
            *self.declare_learning(),
        ]

    def declare_learning(self) -> list[Topic]:
        """Describe the topics of what is taught and learned, which outlive all that was seen."""
        return [Topic(name=name, num_partitions=1, compacted=True) for name in (self.tasks, self.models)]
