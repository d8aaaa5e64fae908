"""Scores an embedder on crops of people, by the protocol that their names call for.

Market-1501 (Zheng et al., ICCV 2015): each query is ranked against the gallery without the query's own identity in
its own camera; rank-k and mean average precision. The folders `query` and `bounding_box_test` say which is which;
without them one crop of each identity and camera is the query (`models.reid.scoring.choose_queries`).
CUHK03 (Li et al., "DeepReID", CVPR 2014): single-shot, one crop of each of 100 people (or of as many as there are)
in either camera, mean over draws.

Legend of shape suffixes: N crops, D embedding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.detector import ImageHW3
from models.reid.dataset import ReidCrop
from models.reid.scoring import ReidScores, SingleShots, choose_queries, rank_crops
from pipeline.errors import BadInput

Embed = Callable[[Sequence[ImageHW3]], NDArray[np.float32]]
"""Embeds crops, each H x W x 3, uint8, BGR, to N x D rows of unit length."""

NUM_DRAWS: Final = 20
"""Of the single-shot protocol, as its authors' mean is taken."""
NUM_WAYS: Final = 100
"""People among whom each is to be found, as in that protocol's test; drawn anew each time where there are more."""
OnProgress = Callable[[int, int], None]
"""Is told how many crops of how many are done."""
BATCH: Final = 64
"""Crops held in memory as pictures at a time."""
QUERY_FOLDER: Final = "query"
GALLERY_FOLDER: Final = "bounding_box_test"


class Crops(Protocol):
    """Is what a set of crops must offer; `models.reid.dataset.ReidCrops` does."""

    @property
    def crops(self) -> tuple[ReidCrop, ...]:
        """What the names say."""

    def read(self, index: int) -> ImageHW3:
        """Decode one crop."""


@dataclass(frozen=True, slots=True)
class ChosenCrops:
    """Is a part of a set of crops, which is read as if it were all."""

    source: Crops
    indices: tuple[int, ...]

    @property
    def crops(self) -> tuple[ReidCrop, ...]:
        """What the names say."""
        return tuple(self.source.crops[index] for index in self.indices)

    def read(self, index: int) -> ImageHW3:
        """Decode one crop, by its index in this part."""
        return self.source.read(self.indices[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReidReport:
    """Holds the scores of an embedder; ratios, 1 is best."""

    protocol: str
    """Which crops were asked for, and among which."""
    rank1: float
    rank5: float
    rank10: float
    map: float
    num_queries: int
    num_skipped: int
    """Queries whose identity no other camera saw; they are not scored."""
    num_gallery: int
    num_identities: int


@dataclass(frozen=True, slots=True)
class IdSelection:
    """Keeps the first or the last `num` identities in the order of their numbers; all of them where it is absent."""

    end: Literal["first", "last"] = "last"
    num: int | None = None

    @classmethod
    def parse(cls, words: str) -> IdSelection:
        """Read `all`, `first:N` or `last:N`.

        Raises:
            BadInput: it is none of these.
        """
        if words == "all":
            return cls()
        found = re.fullmatch(r"(first|last):([1-9]\d{0,8})", words)
        if found is None:
            raise BadInput(
                f"got {words[:40]!r} for which identities, expected all, first:N or last:N, as in last:100"
            )
        return cls("first" if found[1] == "first" else "last", int(found[2]))

    def kept(self, crops: Sequence[ReidCrop]) -> list[int]:
        """Return the indices of the crops of these identities; distractors are nobody, and stay."""
        if self.num is None:
            return list(range(len(crops)))
        ids = sorted(
            {crop.identity for crop in crops if not crop.is_distractor}, key=lambda one: (int(one), one)
        )
        chosen = set(ids[: self.num] if self.end == "first" else ids[-self.num :])
        return [index for index, crop in enumerate(crops) if crop.is_distractor or crop.identity in chosen]


def score_reid(
    source: Crops,
    embed: Embed,
    selection: IdSelection | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> ReidReport:
    """Embed the crops and score the embedder.

    Raises:
        BadInput: names of both data sets are mixed.
        ModelError: a crop cannot be read, or no identity was seen by two cameras.
    """
    split = _split([source.crops[index] for index in (selection or IdSelection()).kept(source.crops)])
    crops = split.crops
    place = {crop.name: index for index, crop in enumerate(source.crops)}
    chosen = ChosenCrops(source, tuple(place[crop.name] for crop in crops))
    embeddings_ND = embed_all(chosen, embed, on_progress)
    scores = (
        _single_shot(embeddings_ND, crops)
        if split.single_shot
        else rank_crops(embeddings_ND, crops, split.queries, split.gallery)
    )
    return ReidReport(
        protocol=split.protocol,
        rank1=scores.rank1,
        rank5=scores.rank5,
        rank10=scores.rank10,
        map=scores.map,
        num_queries=scores.num_queries,
        num_skipped=scores.num_skipped,
        num_gallery=scores.num_queries if split.single_shot else len(split.gallery),
        num_identities=len({crop.identity for crop in crops if not crop.is_distractor}),
    )


def embed_all(source: Crops, embed: Embed, on_progress: OnProgress | None = None) -> NDArray[np.float32]:
    """Embed crops, a batch of pictures in memory at a time; returns N x D."""
    rows: list[NDArray[np.float32]] = []
    num_crops = len(source.crops)
    for start in range(0, num_crops, BATCH):
        stop = min(start + BATCH, num_crops)
        rows.append(embed([source.read(index) for index in range(start, stop)]))
        if on_progress is not None:
            on_progress(stop, num_crops)
    return np.concatenate(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """Says which crops take part, and in which part."""

    protocol: str
    crops: list[ReidCrop]
    queries: list[int]
    gallery: list[int]
    single_shot: bool = False


def _split(crops: list[ReidCrop]) -> _Split:
    timed = {crop.sequence is not None for crop in crops}
    if len(timed) > 1:
        market, cuhk = (
            next(one.name for one in crops if (one.sequence is not None) is way) for way in (True, False)
        )
        raise BadInput(
            f"crops named as in Market-1501 ({market}) and as in CUHK03 ({cuhk}) are mixed, expected one data set; "
            "give each its own folder or zip"
        )
    if timed == {False}:
        people = min(len({crop.identity for crop in crops}), NUM_WAYS)
        words = f"CUHK03, single-shot, {people}-way, mean of {NUM_DRAWS} draws"
        return _Split(protocol=words, crops=crops, queries=[], gallery=[], single_shot=True)
    folders = {QUERY_FOLDER, GALLERY_FOLDER}
    if folders <= {folder for crop in crops for folder in _folders(crop)}:
        crops = [crop for crop in crops if folders & _folders(crop)]
        queries = [index for index, crop in enumerate(crops) if QUERY_FOLDER in _folders(crop)]
        gallery = [index for index, crop in enumerate(crops) if QUERY_FOLDER not in _folders(crop)]
        words = f"Market-1501, single query, folders {QUERY_FOLDER} and {GALLERY_FOLDER}"
    else:
        queries, gallery = choose_queries(crops)
        words = "Market-1501, single query, the middle crop of each identity and camera"
    return _Split(protocol=words, crops=crops, queries=queries, gallery=gallery)


def _folders(crop: ReidCrop) -> set[str]:
    return {folder.lower() for folder in PurePosixPath(crop.name).parts[:-1]}


def _single_shot(embeddings_ND: NDArray[np.float32], crops: Sequence[ReidCrop]) -> ReidScores:
    """Score with one crop of each person from either camera, mean over NUM_DRAWS seeded draws.

    Each query has one match, so its average precision is one over the match's rank.
    """
    ids = [crop.identity for crop in crops]
    shots = SingleShots.of(ids, [crop.camera for crop in crops])
    num_people = len(shots.people)
    if len(shots.cameras) != 2 or not num_people:
        raise BadInput(
            f"single-shot matching got cameras {shots.cameras} and {num_people} people seen by all of them, expected two "
            "cameras (views 00 to 04 and 05 to 09) and at least one person"
        )
    drawn = [
        rank_crops(embeddings_ND, crops, queries, gallery)
        for queries, gallery in shots.draws(NUM_DRAWS, num_ways=NUM_WAYS)
    ]
    rank1, rank5, rank10, mean_ap = np.mean(
        [(one.rank1, one.rank5, one.rank10, one.map) for one in drawn], axis=0
    )
    return ReidScores(
        float(rank1), float(rank5), float(rank10), float(mean_ap),
        min(num_people, NUM_WAYS), len(set(ids)) - num_people,
    )  # fmt: skip
