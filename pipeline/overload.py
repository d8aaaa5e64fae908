"""Decides which frames of a camera are looked at when there are too many, before any of them is decoded.

Everything is decided from what stands in the frames' headers and from how many records wait behind them. No clock is
asked: those of camera, gateway, log and shard need not agree, and one that jumps must not blind a camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from pipeline.errors import BadInput

Policy = Literal["all", "latest", "stride"]

_NUM_STEPS: Final = 9
"""The middle of so many steps between frames is the camera's pace: an outage among them does not count."""
_CALM: Final = 4
"""Thinning ends when for this many times `max_lag_s` there was no need of it."""
_PATIENCE: Final = 10
"""However far behind, one frame is looked at each so many times `max_lag_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadConfig:
    """Says which frames of a camera are given up when they come faster than they can be looked at."""

    policy: Policy = "all"
    """`all` looks at every frame, however late. `latest` skips to the newest when it falls behind, for live cameras.
    `stride` looks at one frame in `stride`, always."""
    max_lag_s: float = 1.0
    """With `latest`: how many seconds of the camera's frames may wait before older ones are skipped."""
    stride: int = 2
    """With `stride`: one of so many frames that the camera takes is looked at."""

    def __post_init__(self) -> None:
        if self.policy not in ("all", "latest", "stride"):
            raise BadInput(f"overload.policy is {self.policy!r}, expected 'all', 'latest' or 'stride'")
        if not 0.0 < self.max_lag_s < 86_400.0:
            raise BadInput(
                f"overload.max_lag_s is {self.max_lag_s}, expected more than 0 and less than a day; 1 suits most cameras"
            )
        if self.stride < 1:
            raise BadInput(
                f"overload.stride is {self.stride}, expected at least 1, which looks at every frame"
            )


class Arrival(NamedTuple):
    """Is a frame that has arrived and could be looked at."""

    epoch: int
    sequence: int
    captured_ns: int
    offset: int
    num_after: int
    """Records that wait behind it in its partition, as far as is known."""


@dataclass(frozen=True, slots=True)
class Load:
    """Is what must be known of a camera's past to decide on its next frames."""

    last: Arrival | None = None
    """The newest that has arrived."""
    steps_ns: tuple[int, ...] = ()
    """Time from record to record of its partition, the latest ones."""
    bucket: tuple[int, int] | None = None
    """Gateway run, and which of its strides was looked at last."""
    looked_offset: int | None = None
    calm_offset: int | None = None
    """While thinning: since when nothing had to be skipped."""

    @property
    def thinning(self) -> bool:
        """Whether the camera was too far behind, and has not been at ease for long enough since."""
        return self.calm_offset is not None

    @property
    def pace_ns(self) -> int:
        """Time of the camera that one record stands for; 0 while unknown."""
        return sorted(self.steps_ns)[len(self.steps_ns) // 2] if self.steps_ns else 0


class Choice(NamedTuple):
    """Says which of the arrivals are looked at, in their order."""

    looks: tuple[bool, ...]
    load: Load


def choose(config: OverloadConfig, load: Load, arrivals: Sequence[Arrival]) -> Choice:
    """Decide on the next frames of one camera, which have arrived together, in order.

    `all` and `stride` decide on each frame alike however frames arrive together; `latest` does not, by its nature.
    What is looked at is always newer than all that was looked at before.
    """
    if config.policy == "all" or not arrivals:
        return Choice((True,) * len(arrivals), load)
    if config.policy == "stride":
        return _one_in_a_stride(config.stride, load, arrivals)
    return _newest(config, _with_pace(load, arrivals), arrivals)


def _one_in_a_stride(stride: int, load: Load, arrivals: Sequence[Arrival]) -> Choice:
    """Look at the first frame of each stride: a gateway that drops every other frame cannot hide all of them."""
    looks = []
    bucket = load.bucket
    for arrival in arrivals:
        mine = (arrival.epoch, arrival.sequence // stride)
        looks.append(mine != bucket)
        bucket = mine
    return Choice(tuple(looks), replace(load, bucket=bucket, last=arrivals[-1]))


def _newest(config: OverloadConfig, load: Load, arrivals: Sequence[Arrival]) -> Choice:
    """Look at all while the camera keeps up; else only at the newest, so that gaps stay short."""
    max_lag_ns = config.max_lag_s * 1e9
    pace_ns, newest = load.pace_ns, arrivals[-1]
    lags_ns = [arrival.num_after * pace_ns for arrival in arrivals]
    if not load.thinning and lags_ns[0] <= max_lag_ns:
        return Choice((True,) * len(arrivals), replace(load, looked_offset=newest.offset))
    looks = [False] * len(arrivals)
    overdue = (
        load.looked_offset is None or (newest.offset - load.looked_offset) * pace_ns >= _PATIENCE * max_lag_ns
    )
    looks[-1] = lags_ns[-1] <= max_lag_ns or overdue
    calm = load.calm_offset
    if calm is None or not all(looks):
        calm = newest.offset
    at_ease = (newest.offset - calm) * pace_ns >= _CALM * max_lag_ns
    looked = [arrival.offset for arrival, look in zip(arrivals, looks, strict=True) if look]
    after = replace(
        load,
        looked_offset=looked[-1] if looked else load.looked_offset,
        calm_offset=None if at_ease else calm,
    )
    return Choice(tuple(looks), after)


def _with_pace(load: Load, arrivals: Sequence[Arrival]) -> Load:
    steps_ns = list(load.steps_ns)
    before = load.last
    for arrival in arrivals:
        if before is not None and before.epoch == arrival.epoch and arrival.offset > before.offset:
            step_ns = (arrival.captured_ns - before.captured_ns) // (arrival.offset - before.offset)
            steps_ns += [step_ns] if step_ns > 0 else []
        before = arrival
    return replace(load, last=before, steps_ns=tuple(steps_ns[-_NUM_STEPS:]))
