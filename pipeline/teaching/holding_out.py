"""Holds examples out as queries, so that what was learned can be judged on what was not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pipeline.teaching.pictures import Picture

EVERY: Final = 3
"""Of so many alike, one is held out."""


def hold_out(pictures: Sequence[Picture], stratum: Callable[[Picture], str]) -> list[Picture]:
    """Return the pictures in order of their places, some marked as queries.

    Those that the source marked are the queries. Where it marked none, every third group of each stratum is held out,
    and at least one of two: the same ones whatever the order in which they come. A group (one track, one person) is
    held out whole, unless it is alone in its stratum. A lone picture is not held out.
    """
    ordered = sorted(pictures, key=lambda picture: picture.place)
    if any(picture.query for picture in ordered):
        return ordered
    strata: dict[str, dict[str, list[str]]] = {}
    for picture in ordered:
        groups = strata.setdefault(stratum(picture), {})
        groups.setdefault(picture.group or picture.place, []).append(picture.place)
    held = {place for groups in strata.values() for place in _held_out(groups)}
    return [replace(picture, query=picture.place in held) for picture in ordered]


def _held_out(groups: dict[str, list[str]]) -> list[str]:
    if len(groups) == 1:
        (places,) = groups.values()
        return _every_third(places)
    return [place for group in _every_third(sorted(groups)) for place in groups[group]]


def _every_third(ordered: list[str]) -> list[str]:
    return ordered[EVERY - 1 :: EVERY] or ordered[1:]
