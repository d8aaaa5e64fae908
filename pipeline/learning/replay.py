"""Remembers lessons, so that what is new is not learned at the cost of what is old. Bounded, and balanced by kind."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from pipeline.learning.lessons import Lesson
from pipeline.records import TaskKind


class Replay:
    """Holds at most `capacity` lessons, one a kind and name.

    When it is full, the kind that holds most gives one up: the one whose hash comes last, which is a sample without
    favour (bottom-k sampling, Cohen and Kaplan, PODC 2007) and the same one whatever the order they came in. The
    newest lesson is never given up.
    """

    def __init__(self, capacity: int) -> None:
        assert capacity >= 1, capacity
        self._capacity = capacity
        self._lessons: dict[tuple[TaskKind, str], Lesson] = {}

    def __len__(self) -> int:
        return len(self._lessons)

    def __iter__(self) -> Iterator[Lesson]:
        return iter(self._lessons.values())

    def add(self, lesson: Lesson) -> None:
        """Take a lesson in, in place of an earlier one of the same kind and name."""
        key = (lesson.kind, lesson.name)
        self._lessons.pop(key, None)
        self._lessons[key] = lesson
        if len(self._lessons) > self._capacity:
            self._give_up_one(newest=key)

    def forget(self, kind: TaskKind, name: str) -> None:
        """Drop a lesson, if it is there."""
        self._lessons.pop((kind, name), None)

    def get(self, kind: TaskKind, name: str) -> Lesson | None:
        """Return the lesson of a kind and name."""
        return self._lessons.get((kind, name))

    def of_kind(self, kind: TaskKind) -> list[Lesson]:
        """Return the lessons of a kind, in the order in which they were taught."""
        return [lesson for lesson in self if lesson.kind is kind]

    def _give_up_one(self, newest: tuple[TaskKind, str]) -> None:
        sizes = Counter(kind for kind, _ in self._lessons)
        candidates = [key for key in self._lessons if key != newest]
        largest = max(sizes[kind] for kind, _ in candidates)
        del self._lessons[max((key for key in candidates if sizes[key[0]] == largest), key=_place)]


def _place(key: tuple[TaskKind, str]) -> bytes:
    kind, name = key
    return hashlib.sha256(f"{kind.value}/{name}".encode()).digest()
