"""Chooses, from a site's own past tracks, what teaches a camera without anybody's saying who is who.

Those whom the site itself has found in the camera and in another one are its pairs: most are learned from, some held
out. Everybody else is a stranger: it is not known who that is, but the strangers of a camera together show its light.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Final, NamedTuple

from models.detector import ImageHW3
from pipeline.errors import BadTask
from pipeline.pictures.moments import Moment, best_moments
from pipeline.teaching.checking import MAX_EXAMPLES, people_across_cameras
from pipeline.teaching.pictures import Picture, shrink_array

MIN_PAIRED: Final = 4
"""Two to learn from, and two to judge by."""
MAX_PAIRED: Final = 25
"""With two crops a side they take half of a task and strangers the rest; of the divisions that were tried none was better."""
CROPS_A_SIDE: Final = 2
MIN_STRANGERS: Final = 3
"""On either side: the means of fewer differ by more than two crops of one person do (mean squared lengths on
Market-1501: 1.9 between two people, 0.7 within one)."""
EVERY: Final = 3
"""Of so many identities one is held out; of fewer than twice as many, every other one."""


class PastTrack(NamedTuple):
    """Is a track whose frames are kept."""

    name: str
    camera: str
    identity: str
    label: str
    """Class that the detector gave it."""
    seen_ns: int
    """When it was last seen, on its camera's clock: only tracks of one camera are compared."""


class Sight(NamedTuple):
    """Is a moment to cut out, and who it shows: an identity, or the track of a stranger."""

    who: str
    moment: Moment


@dataclass(frozen=True, slots=True)
class OwnTracks:
    """Holds the tracks that teach a camera."""

    camera: str
    paired: tuple[tuple[PastTrack, ...], ...]
    """The tracks of each identity that was found in the camera and in another one; the last seen first."""
    strangers: tuple[PastTrack, ...]
    """As many of the camera as of the others."""

    @property
    def names(self) -> frozenset[str]:
        """Return the names of all."""
        return frozenset(track.name for track in chain(*self.paired, self.strangers))

    def sights(self, moments: Mapping[str, Sequence[Moment]]) -> list[Sight]:
        """Choose which of the moments of each track to look at: the best of equal stretches of time."""
        sights: list[Sight] = []
        for tracks in self.paired:
            for is_own in (True, False):
                side = (track.name for track in tracks if (track.camera == self.camera) is is_own)
                known = chain.from_iterable(moments.get(name, ()) for name in side)
                best = best_moments(known, CROPS_A_SIDE)
                sights += [Sight(tracks[0].identity, moment) for moment in best]
        for track in self.strangers:
            sights += [Sight(track.name, moment) for moment in best_moments(moments.get(track.name, ()), 1)]
        return sights

    def pictures(self, crops: Iterable[tuple[Sight, ImageHW3]]) -> list[Picture]:
        """Return the examples of a task: strangers are learned from, some of the identities are held out.

        An identity of which one side could not be cut is left out, and so is a crop that is there already, since what a
        camera that stands still repeats need not be one somebody.

        Raises:
            BadTask: fewer than `MIN_PAIRED` identities are left.
        """
        examples: dict[bytes, Picture] = {}
        for sight, crop in crops:
            picture = _picture(sight, crop)
            examples.setdefault(picture.jpeg, picture)
        seen = {(one.label, one.camera) for one in examples.values()}
        left = people_across_cameras(self.camera, seen)
        identities = [tracks[0].identity for tracks in self.paired]
        paired = [identity for identity in identities if identity in left]
        _check_enough(self.camera, len(paired))
        held_out = set(_held_out(paired))
        halves = set(identities) - left
        return [
            replace(one, query=one.label in held_out) for one in examples.values() if one.label not in halves
        ]


def choose_tracks(tracks: Iterable[PastTrack], camera: str) -> OwnTracks:
    """Choose what teaches a camera: the last seen of each sort, no more than fits into a task.

    Only tracks of one class are chosen, the one that most of the identities found across cameras are of: people and
    cars differ by more than two cameras do.

    Raises:
        BadTask: fewer than `MIN_PAIRED` identities were found in the camera and in another one.
    """
    latest = sorted(tracks, key=lambda track: (-track.seen_ns, track.name))
    paired = _paired(latest, camera)
    counts = Counter(one[0].label for one in paired)
    label = max(sorted(counts), key=lambda one: counts[one], default="")
    _check_enough(camera, counts[label])
    taken = [one for one in paired if one[0].label == label][:MAX_PAIRED]
    known = {one[0].identity for one in paired}
    strangers = [track for track in latest if track.label == label and track.identity not in known]
    room = MAX_EXAMPLES - 2 * CROPS_A_SIDE * len(taken)
    return OwnTracks(camera, tuple(taken), _both_sides(strangers, camera, room // 2))


def _paired(latest: Sequence[PastTrack], camera: str) -> list[tuple[PastTrack, ...]]:
    """Return the tracks of each identity seen on both sides; who was seen in the camera last comes first."""
    by_identity: dict[str, list[PastTrack]] = {}
    for track in sorted(latest, key=lambda track: track.camera != camera):
        by_identity.setdefault(track.identity, []).append(track)
    return [
        tuple(tracks)
        for tracks in by_identity.values()
        if tracks[0].camera == camera and tracks[-1].camera != camera
    ]


def _both_sides(strangers: Sequence[PastTrack], camera: str, most: int) -> tuple[PastTrack, ...]:
    """Return as many strangers of the camera as of the others, among whom the cameras take turns."""
    by_camera: dict[str, list[PastTrack]] = {camera: []}
    for track in strangers:
        by_camera.setdefault(track.camera, []).append(track)
    own = by_camera.pop(camera)
    turns = zip_longest(*(by_camera[one] for one in sorted(by_camera)))
    others = [track for turn in turns for track in turn if track is not None]
    num = min(len(own), len(others), most)
    return (*own[:num], *others[:num]) if num >= MIN_STRANGERS else ()


def _held_out(identities: Sequence[str]) -> Sequence[str]:
    every = EVERY if len(identities) >= 2 * EVERY else 2
    return identities[1::every]


def _picture(sight: Sight, crop: ImageHW3) -> Picture:
    moment = sight.moment
    return Picture(
        place=f"{sight.who} in frame {moment.frame.offset} of {moment.camera} at {moment.box}", jpeg=shrink_array(crop),
        label=sight.who, camera=moment.camera, group=sight.who,
    )  # fmt: skip


def _check_enough(camera: str, num_paired: int) -> None:
    if num_paired < MIN_PAIRED:
        raise BadTask(
            f"the site has found {num_paired} identities in {camera!r} and in another camera of which frames are kept, "
            f"expected at least {MIN_PAIRED}: let it run for longer, keep frames for longer (frames_retention_bytes in "
            "the site file), or say who is the same (--pairs or --corrections)"
        )
