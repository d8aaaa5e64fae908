"""Is the second chapter of the demonstration: a running site is taught a class and a camera, and what that changes.

Two cameras see the same square, one by day and one as if at dusk. Nobody needs to know the truth: an operator points
at a jacket (`cluster.demo.lesson`), and since both cameras are made of one video, it is known who is the same in both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from cluster.config import CameraConfig, SiteConfig
from cluster.corrected import as_perceived
from cluster.demo import lesson
from cluster.demo.lesson import Click
from cluster.explain.crops import cut_out
from cluster.frame_reader import read_frames
from cluster.site import Site
from cluster.teach import Outcome, Verdict
from cluster.teacher import Teacher
from models.detector import ImageHW3
from models.embedders import build_embedder
from models.fewshot.camera import CameraAdapter
from models.learned import LearnedVersion, VersionStore
from pipeline.detections import Box
from pipeline.frames import decode as decode_jpeg
from pipeline.pictures.lesson import Correction, Shown, draw_lesson
from pipeline.pictures.moments import Moment, moment_of
from pipeline.records import FrameResult, Observation, TaskKind, TaskRecord, decode
from pipeline.teaching import Picture, make_task
from pipeline.teaching.pictures import overlap, shrink_array
from pipeline.virtual_cameras import VirtualCamera

PREFIX: Final = "lesson-"
DAY: Final = "day"
DUSK: Final = "dusk"
PICTURE: Final = "learning.png"
WAIT_S: Final = 60.0
MIN_SCORE: Final = 0.5
"""Of an observation that is taught from or judged by."""
MIN_HEIGHT: Final = 40.0
SAME_IOU: Final = 0.6
"""Of two boxes of the two cameras that show one person."""
MAX_PEOPLE: Final = 12
"""Whom the camera is taught with: eight to learn from, the others held out by `make_task`."""
CROPS_A_SIDE: Final = 3
EVERY: Final = 10
"""Frames between two that are judged by."""
LATER: Final = 20
"""Frames later, two seconds, somebody is to be found again by the other camera."""

Stream = Callable[[Site, tuple[VirtualCamera, ...]], None]
"""Streams the video as these cameras, until all of it is processed."""


def lesson_cameras(width: int, height: int) -> tuple[VirtualCamera, VirtualCamera]:
    """Return two views of all of a source: by day, and in the cold, dim light of dusk."""
    whole = VirtualCamera(
        camera=DAY,
        left=0,
        top=0,
        crop_width=width,
        crop_height=height,
        width=width,
        height=height,
        jpeg_quality=90,
    )
    return whole, replace(whole, camera=DUSK, gain=0.35, white_balance=(1.9, 0.9, 0.35), jpeg_quality=70)


def lesson_site(site: SiteConfig, cameras: Sequence[VirtualCamera]) -> SiteConfig:
    """Describe the second chapter's site: on the same log, with topics of its own."""
    return replace(
        site, site="lesson", topic_prefix=f"{site.topic_prefix}{PREFIX}", num_shards=1,
        cameras=tuple(CameraConfig(id=camera.camera) for camera in cameras),
    )  # fmt: skip


def run_lesson(
    config: SiteConfig,
    cameras: tuple[VirtualCamera, VirtualCamera],
    stream: Stream,
    say: Callable[[str], None],
    out: Path,
) -> dict[str, Any]:
    """Teach a class and a camera on the fly, and return what changed."""
    with Site(config) as site:
        site.wait_until_ready()
        say("second chapter: two cameras, one of them new to the site and in dim light")
        stream(site, cameras)
        book = _Book.read(site)
        say(f"teaching the class {lesson.CLASS!r} and the camera {DUSK!r} by examples, while the site runs")
        begin_s = time.monotonic()
        with Teacher(config) as teacher:
            tasks = [_class_task(book, time.time_ns()), _camera_task(book, time.time_ns())]
            outcomes = teacher.teach(tasks, wait_s=WAIT_S, waiting=lambda _: site.tend())
        seconds = time.monotonic() - begin_s
        say("streaming the day camera again, with what was learned")
        first_ns = time.time_ns()
        stream(site, cameras[:1])
        after = _Book.read(site, since_ns=first_ns)
        answers = _Answers.of(config, book, _served_adapter(config, outcomes))
        report = {
            "seconds_to_served": round(seconds, 1),
            "tasks": [outcome.as_json() for outcome in outcomes],
            "class": {"name": lesson.CLASS, "before": _named(book), "after": _named(after)},
            "camera": {"name": DUSK, **answers.scores()},
        }
        _draw(book, after, answers, report, out / PICTURE)
    return report


@dataclass(frozen=True, slots=True)
class _Book:
    """Holds what a run of the video left: a result a camera and frame number, and where the frames are."""

    results: dict[tuple[str, int], FrameResult]
    site: Site

    @classmethod
    def read(cls, site: Site, since_ns: int = 0) -> _Book:
        found: dict[tuple[str, int], FrameResult] = {}
        for record in site.log.read(site.topics.tracks):
            result = decode(record.value, FrameResult)
            if record.timestamp_ms * 1_000_000 >= since_ns:
                found[result.camera, result.sequence] = result
        return cls(found, site)

    def seen(self, camera: str, frame: int) -> list[Observation]:
        """Return who is well seen in a frame."""
        result = self.results.get((camera, frame))
        observations = result.observations if result is not None else ()
        return [
            one for one in observations
            if one.confirmed and one.score >= MIN_SCORE and one.box[3] - one.box[1] >= MIN_HEIGHT
        ]  # fmt: skip

    def pointed_at(self, camera: str, click: Click) -> Observation | None:
        """Return whom a click points at: of those under it the one whose middle is nearest."""
        under = [one for one in self.seen(camera, click.frame) if _contains(one.box, click)]
        return min(under, key=lambda one: _distance(one.box, click), default=None)

    def moment(self, camera: str, frame: int, one: Observation) -> Moment:
        """Return an observation as what can be cut out of the log."""
        return moment_of(one, self.results[camera, frame])

    def crops(self, moments: Iterable[Moment]) -> dict[Moment, ImageHW3]:
        """Cut people out of their frames, as they are when they are embedded."""
        return cut_out(self.site.log, moments, as_perceived)

    def image(self, camera: str, frame: int) -> ImageHW3:
        """Return a frame."""
        ((_, record),) = read_frames(self.site.log, [self.results[camera, frame].frame])
        return decode_jpeg(record.value)


def _class_task(book: _Book, taught_ns: int) -> TaskRecord:
    """Make a task of the crops that were pointed at, and of everybody else in their frames."""
    labels: dict[Moment, str] = {}
    for click in lesson.TAUGHT:
        wearer = book.pointed_at(DAY, click)
        if wearer is None:
            continue
        for one in book.seen(DAY, click.frame):
            labels[book.moment(DAY, click.frame, one)] = lesson.CLASS if one is wearer else ""
    pictures = [
        Picture(place=f"{DAY} {moment.frame.offset} {moment.box}", jpeg=shrink_array(crop), label=labels[moment], camera=DAY)
        for moment, crop in book.crops(labels).items()
    ]  # fmt: skip
    return make_task(TaskKind.CLASS, lesson.CLASS, pictures, taught_ns=taught_ns)


class _Pair(NamedTuple):
    """Is one person, as both cameras see them in one frame; the track by day tells who it is."""

    who: str
    frame: int
    day: Observation
    dusk: Observation


def _pairs(book: _Book, frames: Iterable[int]) -> list[_Pair]:
    """Find who is seen by both cameras: both show all of the video, so boxes of one person cover each other."""
    pairs = []
    for frame in frames:
        for dusk in book.seen(DUSK, frame):
            best = max(book.seen(DAY, frame), key=lambda day: overlap(day.box, dusk.box), default=None)
            if best is not None and best.track and overlap(best.box, dusk.box) >= SAME_IOU:
                pairs.append(_Pair(best.track, frame, best, dusk))
    return pairs


def _camera_task(book: _Book, taught_ns: int) -> TaskRecord:
    """Make a task of a few people of the first half, as both cameras see them."""
    of_people: dict[str, list[_Pair]] = {}
    for pair in _pairs(book, range(0, lesson.FIRST_LOOKED_AT, EVERY)):
        of_people.setdefault(pair.who, []).append(pair)
    longest = sorted(of_people.values(), key=len, reverse=True)[:MAX_PEOPLE]
    labels: dict[Moment, str] = {}
    for pairs in longest:
        # In turns by day and at dusk: the same person, but not the same moment.
        for pair in _spread(pairs[::2]):
            labels[book.moment(DAY, pair.frame, pair.day)] = pair.who
        for pair in _spread(pairs[1::2]):
            labels[book.moment(DUSK, pair.frame, pair.dusk)] = pair.who
    pictures = [
        Picture(
            place=f"{moment.camera} {moment.frame.offset} {moment.box}", jpeg=shrink_array(crop),
            label=labels[moment].replace(":", "-"), camera=moment.camera, group=labels[moment],
        )
        for moment, crop in book.crops(labels).items()
    ]  # fmt: skip
    return make_task(TaskKind.CAMERA, DUSK, pictures, taught_ns=taught_ns)


def _spread(pairs: Sequence[_Pair]) -> Sequence[_Pair]:
    return pairs[:: max(1, len(pairs) // CROPS_A_SIDE)][:CROPS_A_SIDE]


def _named(book: _Book) -> dict[str, int]:
    """Count on the second crossing how often the wearer is named, and how often somebody else is."""
    wearers = [one for click in lesson.LOOKED_FOR if (one := book.pointed_at(DAY, click)) is not None]
    others = [
        one
        for click in lesson.LOOKED_FOR
        for one in book.seen(DAY, click.frame)
        if one is not book.pointed_at(DAY, click)
    ]
    return {
        "wearers": len(wearers), "wearers_named": sum(lesson.CLASS in one.taught for one in wearers),
        "others": len(others), "others_named": sum(lesson.CLASS in one.taught for one in others),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Answers:
    """Holds who of those that the day camera sees two seconds later is likest to somebody seen at dusk."""

    queries: list[Moment]
    galleries: list[list[Moment]]
    right: list[int]
    before: list[int]
    after: list[int]
    crops: dict[Moment, ImageHW3]

    @classmethod
    def of(cls, config: SiteConfig, book: _Book, adapter: CameraAdapter | None) -> _Answers:
        """Ask of people of the second half, without what was learned and with it."""
        last = max(frame for _, frame in book.results)
        queries, galleries, right = [], [], []
        for pair in _pairs(book, range(lesson.FIRST_LOOKED_AT, last - LATER, EVERY)):
            later = book.seen(DAY, pair.frame + LATER)
            tracks = [one.track for one in later]
            if pair.who in tracks and len(later) > 1:
                queries.append(book.moment(DUSK, pair.frame, pair.dusk))
                galleries.append([book.moment(DAY, pair.frame + LATER, one) for one in later])
                right.append(tracks.index(pair.who))
        crops = book.crops({*queries, *(one for gallery in galleries for one in gallery)})
        look_of = dict(zip(crops, build_embedder(config.embedder).embed(list(crops.values())), strict=True))
        looks_QD = np.stack([look_of[query] for query in queries])
        moved_QD = looks_QD if adapter is None else adapter.apply(looks_QD)
        before, after = (
            [int(np.argmax(np.stack([look_of[one] for one in gallery]) @ look_D)) for gallery, look_D in zip(galleries, rows, strict=True)]
            for rows in (looks_QD, moved_QD)
        )  # fmt: skip
        return cls(queries, galleries, right, before, after, crops)

    def scores(self) -> dict[str, Any]:
        """Return the shares that are right."""
        before, after = (
            round(sum(map(int.__eq__, given, self.right)) / len(self.right), 4)
            for given in (self.before, self.after)
        )
        return {"questions": len(self.right), "rank1_before": before, "rank1_after": after}

    def corrected(self) -> list[Correction]:
        """Return those that were wrong before and are right now, each of another person as far as there are."""
        chosen: dict[Box, Correction] = {}
        for query, gallery, right, before, after in zip(
            self.queries, self.galleries, self.right, self.before, self.after, strict=True
        ):
            if before != right == after:
                shown = (self.crops[one] for one in (query, gallery[before], gallery[after]))
                chosen.setdefault(gallery[right].box, Correction(*shown))
        return list(chosen.values())


def _served_adapter(config: SiteConfig, outcomes: Sequence[Outcome]) -> CameraAdapter | None:
    """Return the map that the site serves for the new camera, None where the gate refused it."""
    for outcome in outcomes:
        entry = outcome.entry
        if outcome.task.kind is TaskKind.CAMERA and outcome.verdict is Verdict.PROMOTED and entry is not None:
            told = entry.announcement
            version: LearnedVersion = VersionStore(Path(config.learning.store)).get(told.version, told.sha256)
            return CameraAdapter.from_arrays(version.parts("camera")[DUSK])
    return None


def _draw(before: _Book, after: _Book, answers: _Answers, report: dict[str, Any], path: Path) -> None:
    frame = lesson.SHOWN_FRAME
    shown = [Shown(book.image(DAY, frame), book.seen(DAY, frame)) for book in (before, after)]
    draw_lesson(shown[0], shown[1], answers.corrected(), report, path)


def _contains(box: Box, click: Click) -> bool:
    return box[0] <= click.x <= box[2] and box[1] <= click.y <= box[3]


def _distance(box: Box, click: Click) -> float:
    return abs((box[0] + box[2]) / 2 - click.x) + abs((box[1] + box[3]) / 2 - click.y)
