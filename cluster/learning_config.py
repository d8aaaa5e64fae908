"""Declares how a site learns."""

from dataclasses import dataclass, field

from cluster.errors import BadConfig
from pipeline.learning.drift import DriftConfig
from pipeline.learning.gate import GateConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningConfig:
    """Says whether a site learns while it serves, and where it keeps what it has learned."""

    enabled: bool = True
    """Whether versions of the learned parts are followed and applied; off leaves the frozen networks alone."""
    store: str = "runs/models"
    """Folder of version files, seen by all processes of the site."""

    capacity: int = 256
    """Lessons remembered at most, to learn what is new without losing what is old."""
    fold_every_tasks: int = 4
    """New tasks after which the outer loop folds them into what all parts start from."""
    fold_every_s: float = 900.0
    """Seconds after which it does so with fewer."""
    rest_above_frames: int = 64
    """Frames waiting to be processed above which the outer loop rests."""
    nice: int = 10
    """By how much the learner is less urgent to the CPU than those that serve, 0 to 19, where the CPU has next to no time
    left over; else it learns in that time alone."""
    gate: GateConfig = field(default_factory=GateConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)

    def __post_init__(self) -> None:
        for name in ("capacity", "fold_every_tasks"):
            if getattr(self, name) < 1:
                raise BadConfig(f"learning.{name} is {getattr(self, name)}, expected at least 1")
        if not 0 <= self.nice <= 19:
            raise BadConfig(f"learning.nice is {self.nice}, expected 0 to 19")
        if not self.store:
            raise BadConfig("learning.store is empty, expected the folder of version files, e.g. runs/models")
