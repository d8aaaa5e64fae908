"""Learns how long people take from camera to camera, and which cameras show them at the same time.

For each pair of cameras, the times between two sightings of one somebody are counted: finely, because a door and the
corridor behind it are always the same few seconds apart (and so are two clocks that disagree), and coarsely, because
nobody walks twice alike. Compared with the times between sightings of different ones, that is evidence (as the
spatial-temporal stream of Wang et al., "Spatial-temporal person re-identification", AAAI 2019, but learned while
running, from decisions instead of labels). Times are signed, so that clocks need not agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import floor, log, log2
from typing import Final, NamedTuple

FINE_S: Final = 3.0
COARSE_S: Final = 30.0
"""Distances between the nodes of the histograms. The density is the mean of both resolutions."""
NUM_OCTAVES: Final = 14
"""Nodes of the site's own histogram, of times without sign: one for each doubling of a second and more, to 4.5 hours."""
PRIOR_WEIGHT: Final = 5.0
"""Sightings that a pair of cameras must have shared until its own times count as much as the whole site's."""
FLAT_WEIGHT: Final = 28.0
"""Sightings of the site that weigh as much as knowing nothing: two a node."""
MAX_COUNT: Final = 2000.0
"""From this many on, old counts are halved: ways through a site change."""
MIN_COUNT: Final = 0.05
"""Nodes that have faded below this are dropped."""
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
        for nodes, width_s in ((self._fine, FINE_S), (self._coarse, COARSE_S)):
            for node, share in _between(seconds / width_s):
                nodes[node] = nodes.get(node, 0.0) + share
        if self.total > MAX_COUNT:
            self.total /= 2
            self._fine, self._coarse = _faded(self._fine), _faded(self._coarse)

    def per_second(self, seconds: float) -> float:
        """Return the counted sightings a second at a time: a density times `total`."""
        found = 0.0
        for nodes, width_s in ((self._fine, FINE_S), (self._coarse, COARSE_S)):
            found += (
                sum(share * nodes.get(node, 0.0) for node, share in _between(seconds / width_s)) / width_s
            )
        return found / 2


class _Spread:
    """Counts times without sign on a scale of logarithms, filled up evenly."""

    def __init__(self) -> None:
        self._counts = [FLAT_WEIGHT / NUM_OCTAVES] * NUM_OCTAVES

    def add(self, seconds: float) -> None:
        for node, share in _between(_octave(seconds)):
            self._counts[node] += share
        if sum(self._counts) > MAX_COUNT:
            self._counts = [count / 2 for count in self._counts]

    def density(self, seconds: float) -> float:
        """Return the density a second, both signs taken together as one half each."""
        count = sum(share * self._counts[node] for node, share in _between(_octave(seconds)))
        return count / sum(self._counts) / (2 * log(2) * (1 + abs(seconds)))


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


def _octave(seconds: float) -> float:
    """Return the place of a time among the nodes of the site's histogram; the first stands for half an octave more."""
    return min(max(log2(1 + abs(seconds)) - 0.5, 0.0), NUM_OCTAVES - 1.0)


def _between(place: float) -> tuple[tuple[int, float], ...]:
    """Return the nodes on both sides of a place and their shares of it, so that nothing jumps from place to place."""
    node = floor(place)
    above = place - node
    return ((node, 1.0 - above), (node + 1, above)) if above else ((node, 1.0),)


def _faded(nodes: dict[int, float]) -> dict[int, float]:
    return {node: count / 2 for node, count in nodes.items() if count / 2 >= MIN_COUNT}
