"""Learns how long people take from camera to camera, and which cameras show them at the same time.

For each pair of cameras, the times between two sightings of one somebody are counted: finely, because a door and the
corridor behind it are always the same few seconds apart (and so are two clocks that disagree), and coarsely, because
nobody walks twice alike. Compared with the times between sightings of different ones, that is evidence (as the
spatial-temporal stream of Wang et al., "Spatial-temporal person re-identification", AAAI 2019, but learned while
running, from decisions instead of labels). Times are signed, so that clocks need not agree.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import floor, log
from typing import Final, NamedTuple

FINE_S: Final = 3.0
COARSE_S: Final = 30.0
"""Widths of bins. The density is the mean of both resolutions."""
BLUR: Final = ((-1, 0.25), (0, 0.5), (1, 0.25))
"""How much a bin and its neighbours count, so that where a bin ends does not matter."""
EDGES_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 7680.0)
"""Ends of the bins of the site's own histogram, of times without sign; the last bin is open."""
PRIOR_WEIGHT: Final = 5.0
"""Sightings that a pair of cameras must have shared until its own times count as much as the whole site's."""
FLAT_WEIGHT: Final = 28.0
"""Sightings of the site that weigh as much as knowing nothing: two a bin."""
MAX_COUNT: Final = 2000.0
"""From this many on, old counts are halved: ways through a site change."""
MIN_COUNT: Final = 0.05
"""Bins that have faded below this are dropped."""
LIMIT: Final = 6.0
"""What transit times can say at most, for or against."""


class Delay(NamedTuple):
    """Is the time from a sighting by one camera to a sighting by another; cameras in order of their names."""

    cameras: tuple[str, str]
    seconds: float


class _Counts:
    """Counts signed times at two resolutions."""

    def __init__(self) -> None:
        self.total = 0.0
        self._fine: dict[int, float] = {}
        self._coarse: dict[int, float] = {}

    def add(self, seconds: float) -> None:
        self.total += 1.0
        for bins, width_s in ((self._fine, FINE_S), (self._coarse, COARSE_S)):
            place = floor(seconds / width_s)
            bins[place] = bins.get(place, 0.0) + 1.0
        if self.total > MAX_COUNT:
            self.total /= 2
            self._fine, self._coarse = _faded(self._fine), _faded(self._coarse)

    def per_second(self, seconds: float) -> float:
        """Return the counted sightings a second at a time: a density times `total`."""
        found = 0.0
        for bins, width_s in ((self._fine, FINE_S), (self._coarse, COARSE_S)):
            place = floor(seconds / width_s)
            found += sum(share * bins.get(place + step, 0.0) for step, share in BLUR) / width_s
        return found / 2


class _Spread:
    """Counts times without sign in bins of growing width, filled up evenly."""

    def __init__(self) -> None:
        self._counts = [FLAT_WEIGHT / (len(EDGES_S) + 1)] * (len(EDGES_S) + 1)

    def add(self, seconds: float) -> None:
        self._counts[_spread_bin(seconds)] += 1.0
        if sum(self._counts) > MAX_COUNT:
            self._counts = [count / 2 for count in self._counts]

    def density(self, seconds: float) -> float:
        """Return the density a second, both signs taken together as one half each."""
        place = _spread_bin(seconds)
        begin_s = EDGES_S[place - 1] if place else 0.0
        end_s = EDGES_S[place] if place < len(EDGES_S) else 2 * EDGES_S[-1]
        return self._counts[place] / sum(self._counts) / (2 * (end_s - begin_s))


class _Times:
    """Estimates a density of signed times for each pair of cameras, filled up from the whole site's."""

    def __init__(self) -> None:
        self._pairs: defaultdict[tuple[str, str], _Counts] = defaultdict(_Counts)
        self._site = _Spread()

    def learn(self, delay: Delay) -> None:
        self._pairs[delay.cameras].add(delay.seconds)
        self._site.add(delay.seconds)

    def density(self, delay: Delay) -> float:
        """Return the density a second."""
        prior = PRIOR_WEIGHT * self._site.density(delay.seconds)
        pair = self._pairs.get(delay.cameras)
        if pair is None:
            return prior / PRIOR_WEIGHT
        return (pair.per_second(delay.seconds) + prior) / (pair.total + PRIOR_WEIGHT)


class TransitTimes:
    """Holds what was learned of all pairs of cameras of a site."""

    def __init__(self) -> None:
        self._same, self._other = _Times(), _Times()

    def learn_same(self, delays: Iterable[Delay]) -> None:
        """Learn that one somebody was seen this long apart."""
        for delay in delays:
            self._same.learn(delay)

    def learn_other(self, delays: Iterable[Delay]) -> None:
        """Learn that different ones were."""
        for delay in delays:
            self._other.learn(delay)

    def weigh(self, delays: Sequence[Delay]) -> float:
        """Return the log-likelihood ratio of one somebody against two, for the delays between two groups of tracks.

        Any one of the delays may be the one that was walked: their likelihoods are averaged.
        """
        if not delays:
            return 0.0
        same = sum(self._same.density(delay) for delay in delays)
        other = sum(self._other.density(delay) for delay in delays)
        return max(-LIMIT, min(LIMIT, log(same / other)))


def _spread_bin(seconds: float) -> int:
    return bisect_left(EDGES_S, abs(seconds))


def _faded(bins: dict[int, float]) -> dict[int, float]:
    return {place: count / 2 for place, count in bins.items() if count / 2 >= MIN_COUNT}
