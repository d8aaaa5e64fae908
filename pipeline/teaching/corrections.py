"""Reads what somebody corrects of past results: what a track is of, and which tracks are one somebody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from models.detector import ImageHW3
from pipeline.errors import BadTask
from pipeline.teaching.pictures import Picture, shrink_array

MAX_BYTES: Final = 4 << 20
MAX_LINES: Final = 10_000
_FORMS: Final = (
    '{"track": "...", "class": "courier"}, {"track": "...", "class": ""} or {"same": ["...", "..."]}'
)


class TrackCrop(NamedTuple):
    """Is one sight of a track."""

    camera: str
    image: ImageHW3


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    track: str | None = None
    label: str | None = msgspec.field(default=None, name="class")
    same: tuple[str, ...] | None = None


class _ClassOf(NamedTuple):
    track: str
    name: str


class _Same(NamedTuple):
    tracks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Corrections:
    """Holds what was corrected."""

    class_of: Mapping[str, str]
    """By track, the class that it is of; empty for none of those taught."""
    somebodies: tuple[frozenset[str], ...]
    """Tracks that are one somebody, two or more each."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes that are taught."""
        return tuple(sorted({name for name in self.class_of.values() if name}))

    @property
    def tracks(self) -> frozenset[str]:
        """Return every track that is spoken of."""
        return frozenset(self.class_of).union(*self.somebodies)

    def class_pictures(self, crops: Mapping[str, Sequence[TrackCrop]]) -> list[Picture]:
        """Return the crops of the tracks whose class is known, as examples of it."""
        return [
            picture
            for track, name in self.class_of.items()
            for picture in _pictures(track, crops[track], label=name, group=track)
        ]

    def camera_pictures(self, camera: str, crops: Mapping[str, Sequence[TrackCrop]]) -> list[Picture]:
        """Return the crops of everybody seen in `camera` and in another one."""
        seen = (
            (tracks, {crop.camera for track in tracks for crop in crops[track]}) for tracks in self.somebodies
        )
        return [
            picture
            for tracks, cameras in seen
            if camera in cameras and len(cameras) > 1
            for track in sorted(tracks)
            for picture in _pictures(track, crops[track], label=min(tracks), group=min(tracks))
        ]


def read_corrections(path: Path) -> Corrections:
    """Read a file of JSON lines; empty ones are passed over.

    A line is `{"track": T, "class": C}`, the class empty where the track is of none that is taught, or
    `{"same": [T, T, ...]}` for tracks that are one somebody; lines that share a track speak of the same one.

    Raises:
        BadTask: the file cannot be read, a line is something else, or two lines contradict each other; names them.
    """
    class_of: dict[str, tuple[str, int]] = {}
    somebodies: list[set[str]] = []
    for number, correction in _lines(path):
        if isinstance(correction, _Same):
            _join(somebodies, correction.tracks)
            continue
        before, where = class_of.setdefault(correction.track, (correction.name, number))
        if before != correction.name:
            raise BadTask(
                f"{path}, lines {where} and {number}: track {correction.track!r} is {before!r} in one and "
                f"{correction.name!r} in the other; keep the line that is right"
            )
    if not class_of and not somebodies:
        raise BadTask(f"{path} holds no correction, expected lines such as {_FORMS}")
    return Corrections(
        {track: name for track, (name, _) in class_of.items()}, tuple(frozenset(one) for one in somebodies)
    )


def _lines(path: Path) -> Iterator[tuple[int, _ClassOf | _Same]]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadTask(
            f"cannot read {path}: {error.strerror}; expected a file of lines such as {_FORMS}"
        ) from error
    lines = content.splitlines()
    if len(content) > MAX_BYTES or len(lines) > MAX_LINES:
        raise BadTask(f"{path} has more than {MAX_LINES} lines or {MAX_BYTES} bytes; teach less at a time")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _parse(line, f"{path}, line {number}")


def _parse(line: bytes, place: str) -> _ClassOf | _Same:
    try:
        parsed = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadTask(f"{place}: {error}; expected {_FORMS}") from error
    match parsed:
        case _Line(track=str() as track, label=str() as label, same=None):
            return _ClassOf(track, label)
        case _Line(track=None, label=None, same=tuple() as tracks) if len(set(tracks)) > 1:
            return _Same(tracks)
    raise BadTask(f"{place} is {line[:100].decode(errors='replace')}, expected {_FORMS}")


def _join(somebodies: list[set[str]], tracks: Iterable[str]) -> None:
    """Add tracks of one somebody, and make one of all who share a track with them."""
    joined = set(tracks)
    for one in [one for one in somebodies if one & joined]:
        somebodies.remove(one)
        joined |= one
    somebodies.append(joined)


def _pictures(track: str, crops: Sequence[TrackCrop], *, label: str, group: str) -> Iterator[Picture]:
    for index, crop in enumerate(crops):
        yield Picture(
            place=f"crop {index + 1} of track {track}", jpeg=shrink_array(crop.image), label=label, camera=crop.camera,
            group=group,
        )  # fmt: skip
