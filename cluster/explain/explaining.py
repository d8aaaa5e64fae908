"""Explains one identity: finds it, tells its story, and draws the strip."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from cluster.explain.finding import find_identity
from cluster.explain.records import Records
from cluster.explain.story import Story, tell_all
from cluster.explain.strip import draw_strip
from cluster.explain.words import Timing, Wording
from models.files import write_atomically
from pipeline.identity import identities_of_tracks
from pipeline.pictures.mosaic import clock_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Holds what there is to say of an identity, and where its picture is."""

    lines: list[str]
    """For people."""
    result: dict[str, Any]
    """The same for programs."""
    picture: Path


def explain_identity(wanted: str, records: Records, picture: Path | None, folder: Path) -> Explained:
    """Say why an identity is one, and write its picture; without a path to `folder`, under the identity's name.

    Raises:
        BadConfig: no identity, or several, answer to the name; the message names the nearest.
        LogUnavailable: the log does not answer.
    """
    identity_of_track = identities_of_tracks(records.decisions)
    identity = find_identity(wanted, records, identity_of_track)
    story = tell_all(records.decisions)[identity]
    wording = _wording(records, identity_of_track)
    strip = draw_strip(records, story, wording)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", wording.name(identity))
    place = picture or folder / f"explain-{name}.png"
    write_atomically(place, cv2.imencode(".png", strip.image)[1].tobytes())
    return Explained(
        lines=wording.lines(strip.story),
        result={
            **wording.as_json(strip.story),
            "picture": str(place),
            "crops": strip.num_crops,
            "crops_no_longer_kept": strip.num_missing,
        },
        picture=place,
    )


def list_identities(records: Records) -> dict[str, dict[str, Any]]:
    """Return, by id and in order of first sight, who there is to explain: name, tracks, cameras and times."""
    wording = _wording(records, identities_of_tracks(records.decisions))
    stories = tell_all(records.decisions).values()

    def first_s(story: Story) -> float:
        return min(wording.timing.seconds(track.camera, track.start_ns) for track in story.tracks)

    return {
        story.identity: {
            "name": wording.name(story.identity),
            "tracks": len(story.tracks),
            "cameras": len(story.cameras),
            "from": clock_time(first_s(story)),
            "to": max(wording.clock(track, track.end_ns) for track in story.tracks),
        }
        for story in sorted(stories, key=lambda story: (first_s(story), story.identity))
    }


def _wording(records: Records, identity_of_track: Mapping[str, str]) -> Wording:
    return Wording(legend=records.legend, timing=_timing(records), identity_of_track=identity_of_track)


def _timing(records: Records) -> Timing:
    """Count time from the run's first frame, or from the first track where frames are not known."""
    offsets_s = records.clock_offsets_s
    starts_ns = [
        decision.start_ns - round(1e9 * offsets_s.get(decision.camera, 0.0)) for decision in records.decisions
    ]
    first_ns = min(starts_ns, default=0) if records.first_ns is None else records.first_ns
    return Timing(first_ns=first_ns, clock_offsets_s=offsets_s)
