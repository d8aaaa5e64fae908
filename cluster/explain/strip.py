"""Draws the strip of an identity: its tracks along time, with cut-outs from the frames that are still kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cluster.explain.crops import cut_out
from cluster.explain.records import Records
from cluster.explain.story import Story, TrackStory
from cluster.explain.words import SCALE, Wording
from models.detector import ImageHW3
from pipeline.pictures.identity_strip import MAX_CARDS, MAX_CROPS, Card, Rival, draw_identity_strip
from pipeline.pictures.moments import Moment, best_moments, moments_of_tracks
from pipeline.records import Candidate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strip:
    """Holds the picture, and how many of the crops chosen for it the log no longer had."""

    image: ImageHW3
    story: Story
    """What was told, with the times at which frames show the tracks."""
    num_crops: int
    num_missing: int


def draw_strip(records: Records, story: Story, wording: Wording) -> Strip:
    """Choose the moments worth showing, fetch their frames, and draw.

    Raises:
        LogUnavailable: the log does not answer.
    """
    rivals = {track.track: _rival(track, wording) for track in story.tracks}
    tracks_of_rival = {name: _tracks_of(rival, wording) for name, rival in rivals.items()}
    moments = _moments(
        records, {*rivals, *(track for tracks in tracks_of_rival.values() for track in tracks)}
    )
    story = _timed(story, moments, wording)
    shown = story.tracks[:MAX_CARDS]
    best = {one.track: best_moments(moments.get(one.track, ()), MAX_CROPS) for one in shown}
    best_rival = {
        one.track: best_moments(
            (at for track in tracks_of_rival[one.track] for at in moments.get(track, ())), 1
        )
        for one in shown
    }
    picks = {one for chosen in (*best.values(), *best_rival.values()) for one in chosen}
    crops = cut_out(records.log, picks)
    cards = [
        _card(track, wording, _found(crops, best[track.track]),
              _pictured(rivals[track.track], wording, _found(crops, best_rival[track.track])))
        for track in shown
    ]  # fmt: skip
    image = draw_identity_strip(
        wording.name(story.identity), f"{wording.summary(story)}\n{SCALE}", records.legend.colour(story.identity), cards,
        cameras=list(records.clock_offsets_s),
    )  # fmt: skip
    return Strip(image=image, story=story, num_crops=len(crops), num_missing=len(picks) - len(crops))


def _tracks_of(rival: Candidate | None, wording: Wording) -> list[str]:
    """Return the tracks that show a candidate; of one that was absorbed since, the track that it began with."""
    if rival is None:
        return []
    own = [track for track, identity in wording.identity_of_track.items() if identity == rival.identity]
    return own or [rival.identity.removeprefix("id-")]


def _moments(records: Records, tracks: set[str]) -> dict[str, list[Moment]]:
    cameras = {decision.camera for decision in records.decisions if decision.track in tracks}
    return moments_of_tracks(records.read_results(cameras), tracks)


def _timed(story: Story, moments: Mapping[str, Sequence[Moment]], wording: Wording) -> Story:
    """Take the times of tracks from the frames that show them: decisions come later, and ends later still."""
    tracks = (
        dataclasses.replace(track, start_ns=seen[0].at_ns, end_ns=seen[-1].at_ns)
        if (seen := moments.get(track.track))
        else track
        for track in story.tracks
    )
    in_order = sorted(tracks, key=lambda one: (wording.timing.seconds(one.camera, one.start_ns), one.camera))
    return dataclasses.replace(story, tracks=tuple(in_order))


def _rival(track: TrackStory, wording: Wording) -> Candidate | None:
    """Choose whom to show beside: who was ruled out though more alike, else the runner-up."""
    for decision in track.decisions:
        if rival := wording.excluded(decision) or decision.runner_up:
            return rival
    return None


def _pictured(rival: Candidate | None, wording: Wording, crops: Sequence[ImageHW3]) -> Rival | None:
    if rival is None:
        return None
    caption = wording.exclusion(rival) if rival.excluded_by else wording.runner_up(rival)
    return Rival(caption=caption, crop=crops[0] if crops else None)


def _found(crops: Mapping[Moment, ImageHW3], moments: Iterable[Moment]) -> tuple[ImageHW3, ...]:
    return tuple(crops[moment] for moment in moments if moment in crops)


def _card(track: TrackStory, wording: Wording, crops: tuple[ImageHW3, ...], rival: Rival | None) -> Card:
    lines = [sentence for decision in track.decisions[:1] for sentence in wording.evidence(decision)]
    lines += [f"{wording.at(decision)} {wording.heading(decision)}" for decision in track.decisions[1:]]
    return Card(
        camera=track.camera,
        start_s=wording.timing.seconds(track.camera, track.start_ns),
        end_s=wording.timing.seconds(track.camera, track.end_ns),
        heading=wording.standing(track),
        lines=tuple(lines),
        crops=crops,
        rival=rival,
    )
