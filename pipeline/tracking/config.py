"""Says how the tracker associates and how objects move.

Legend of units: heights = the height of the object's box, so that near and far objects behave alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionModel:
    """Says how objects move and how well a detector measures them."""

    measurement_std: float = 0.06
    """Standard deviation of a measured coordinate, in heights."""
    drift_std: float = 0.05
    """Random walk of the position, in heights per square root of a second; also absorbs camera shake."""
    velocity_std: float = 0.5
    """Standard deviation that a velocity has in the long run, in heights per second."""
    initial_velocity_std: float = 2.0
    """The same for an object seen once: nothing is known of how it, or the camera, moves."""
    size_velocity_std: float = 0.15
    """The same for the velocities of width and height."""
    velocity_memory_s: float = 8.0
    """Seconds after which a velocity has forgotten all but 1/e of itself."""
    size_memory_s: float = 0.5
    """The same for the velocities of width and height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerConfig:
    """Says when a detection continues a track, and when a track begins, counts, and ends.

    Raises:
        BadInput: when a value is out of its range.
    """

    high_score: float = 0.35
    """Detections of at least this score are given out first, to any track."""
    low_score: float = 0.15
    """Detections below this score are not looked at; those between the two continue tracks seen a moment ago."""
    new_score: float = 0.6
    """A detection that no track claims begins one if its score is at least this."""
    max_cost_first: float = 0.9
    """Greatest cost, 1 - overlap x score, of a strong detection for a confirmed track."""
    max_cost_second: float = 0.4
    """Greatest cost, 1 - overlap, of a weak detection."""
    max_cost_tentative: float = 0.6
    """Greatest cost, 1 - overlap x score, of a strong detection for a track that is not confirmed yet."""
    tentative_buffer: float = 0.3
    """How much boxes grow when tracks of unknown velocity are matched, as a share of width and height a side."""
    height_power: float = 1.5
    """Overlap is multiplied by this power of the overlap in height: people side by side differ in height."""
    direction_weight: float = 0.3
    """What it costs at most, to either side, that a strong detection does not lie where its track was heading."""
    direction_min_speed: float = 0.3
    """Heights a second below which a track is heading nowhere."""
    appearance_weight: float = 0.0
    """Share of appearance, 1 - cosine similarity, in the cost of a strong detection; needs embeddings."""
    appearance_memory: float = 0.9
    """How much of a track's appearance stays when it is seen again."""
    reupdate_step_s: float = 0.0
    """Sightings so many seconds apart are made up on the way to one that ends an occlusion; 0 makes up none."""
    smoothing: float = 0.5
    """How far the boxes that are told of tracks move from what was measured to what the filter holds."""
    lost_s: float = 2.5
    """Seconds without a sighting after which a track is over."""
    confirm_hits: int = 3
    """Sightings that a track needs to be confirmed; it dies at the first frame that misses it before that."""
    motion: MotionModel = field(default_factory=MotionModel)
    """How objects move and how well they are measured."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.low_score <= self.high_score <= self.new_score <= 1.0:
            raise BadInput(
                f"got low_score {self.low_score}, high_score {self.high_score}, new_score {self.new_score}; "
                "expected 0 <= low_score <= high_score <= new_score <= 1"
            )
        if self.lost_s <= 0 or self.confirm_hits < 1:
            raise BadInput(
                f"got lost_s {self.lost_s} and confirm_hits {self.confirm_hits}; expected > 0 and at least 1"
            )
        for name in ("direction_weight", "appearance_weight", "appearance_memory", "smoothing"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BadInput(f"got {name} {getattr(self, name)}; expected 0 <= {name} <= 1")
        if self.reupdate_step_s < 0.0:
            raise BadInput(f"got reupdate_step_s {self.reupdate_step_s}; expected 0 or more seconds")


class Settings(NamedTuple):
    """Is a config as the compiled core takes it: flat, all of one type."""

    high_score: float
    low_score: float
    new_score: float
    max_cost_first: float
    max_cost_second: float
    max_cost_tentative: float
    tentative_buffer: float
    height_power: float
    direction_weight: float
    direction_min_speed: float
    appearance_weight: float
    reupdate_step_ns: float
    lost_ns: float
    confirm_hits: float
    measurement_std: float
    drift_std: float
    velocity_std: float
    initial_velocity_std: float
    size_velocity_std: float
    velocity_memory_s: float
    size_memory_s: float


def settings_of(config: TrackerConfig) -> Settings:
    """Flatten a config for the compiled core."""
    motion = config.motion
    return Settings(
        high_score=float(config.high_score),
        low_score=float(config.low_score),
        new_score=float(config.new_score),
        max_cost_first=float(config.max_cost_first),
        max_cost_second=float(config.max_cost_second),
        max_cost_tentative=float(config.max_cost_tentative),
        tentative_buffer=float(config.tentative_buffer),
        height_power=float(config.height_power),
        direction_weight=float(config.direction_weight),
        direction_min_speed=float(config.direction_min_speed),
        appearance_weight=float(config.appearance_weight),
        reupdate_step_ns=float(round(config.reupdate_step_s * 1e9)),
        lost_ns=float(round(config.lost_s * 1e9)),
        confirm_hits=float(config.confirm_hits),
        measurement_std=float(motion.measurement_std),
        drift_std=float(motion.drift_std),
        velocity_std=float(motion.velocity_std),
        initial_velocity_std=float(motion.initial_velocity_std),
        size_velocity_std=float(motion.size_velocity_std),
        velocity_memory_s=float(motion.velocity_memory_s),
        size_memory_s=float(motion.size_memory_s),
    )
