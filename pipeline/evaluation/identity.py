"""Scores identity decisions on re-ID crops, replayed as timed tracklets over their cameras.

Names in Market-1501's form tell camera, sequence and frame. Crops of one person in one camera, no further apart than
`GAP_S`, are one tracklet: what a perfect tracker would have told. The tracklets are told to a real `IdentityBook` in
order of time, each when it ends, so that nothing is known that a running site would not know; it takes one decision
a tracklet, and may merge and split later. Truth is not used for anything else.
Crops of nobody in particular (Market's distractors) are left out.

Score: IDF1 (Ristani et al., "Performance measures and a data set for multi-target, multi-camera tracking", ECCVW 2016)
over all cameras together, each crop one detection. As every crop is one person's and gets one identity, only crops
without a decision make IDP and IDR differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.reid.dataset import ReidCrop
from pipeline.errors import BadInput
from pipeline.evaluation.reid import Crops, Embed, OnProgress, embed_all
from pipeline.identity import IdentityBook, IdentityConfig, identities_of_tracks
from pipeline.ordering import FOREVER_NS
from pipeline.records import DecisionKind, IdentityDecision, TrackletEvent, TrackletPhase

NS: Final = 1_000_000_000
FRAMES_PER_S: Final = 25.0
"""Frame rate of Market-1501's cameras."""
GAP_S: Final = 2.0
"""Crops of one person in one camera at most this far apart are one tracklet."""
BREAK_S: Final = 600.0
"""Time laid between two sequences: they were recorded one after the other, how long after is not known."""
REMEMBERED_S: Final = 1e6
"""Nobody is forgotten in a replay: cameras number their sequences on their own, so that one may come hours "later"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityScores:
    """Holds the scores of a replay; ratios, 1 is best."""

    idf1: float
    idp: float
    idr: float
    appearance_only_idf1: float
    """With appearance and what cannot be as the only evidence."""
    num_crops: int
    num_tracklets: int
    num_persons: int
    num_identities: int
    """Identities in the end."""
    num_merges: int
    num_splits: int
    num_cameras: int


@dataclass(frozen=True, slots=True, eq=False)
class CropTracklet:
    """Is a tracklet made of crops of one person."""

    track: str
    person: str
    camera: str
    start_s: float
    end_s: float
    num_crops: int
    embedding_D: NDArray[np.float32]


def score_identities(
    crops: Crops,
    embed: Embed,
    embedder: str,
    config: IdentityConfig | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> IdentityScores:
    """Replay crops and score the identities that they get, with all evidence and with appearance alone.

    Args:
        crops: what is replayed; names must tell times.
        embed: describes crops.
        embedder: version of the embedder, which is looked up for its calibration.
        config: how identities are decided; its kinds of evidence are used for the main score.
        on_progress: is told how many crops of how many are embedded.

    Raises:
        BadInput: names tell no times (CUHK03's do not), or there is no crop.
    """
    config = config or IdentityConfig()
    return score_tracklets(crop_tracklets(crops, embed, on_progress), embedder, config)


def score_tracklets(
    tracklets: Sequence[CropTracklet], embedder: str, config: IdentityConfig
) -> IdentityScores:
    """Score tracklets whose embeddings are known; see `score_identities`."""
    records = replay(tracklets, embedder, config)
    alone = replay(tracklets, embedder, dataclasses.replace(config, evidence=("appearance",)))
    identity_of = identities_of_tracks(records)
    idtp, num_decided = _matched(tracklets, identity_of)
    num_crops = sum(tracklet.num_crops for tracklet in tracklets)
    kinds = [record.kind for record in records]
    return IdentityScores(
        idf1=2 * idtp / (num_crops + num_decided),
        idp=idtp / max(num_decided, 1),
        idr=idtp / num_crops,
        appearance_only_idf1=_idf1(tracklets, identities_of_tracks(alone)),
        num_crops=num_crops,
        num_tracklets=len(tracklets),
        num_persons=len({tracklet.person for tracklet in tracklets}),
        num_identities=len(set(identity_of.values())),
        num_merges=kinds.count(DecisionKind.MERGE),
        num_splits=kinds.count(DecisionKind.SPLIT),
        num_cameras=len({tracklet.camera for tracklet in tracklets}),
    )


def replay(
    tracklets: Iterable[CropTracklet], embedder: str, config: IdentityConfig
) -> list[IdentityDecision]:
    """Tell tracklets to an `IdentityBook` as they end, and return its records."""
    told = sorted(tracklets, key=lambda tracklet: (tracklet.end_s, tracklet.camera, tracklet.track))
    if not told:
        raise BadInput("got no tracklet to replay, expected at least one crop")
    config = dataclasses.replace(config, memory_s=REMEMBERED_S)
    book = IdentityBook(config, embedder, len(told[0].embedding_D))
    records: list[IdentityDecision] = []
    for tracklet in told:
        for phase in (TrackletPhase.CONFIRMED, TrackletPhase.ENDED):
            records.extend(book.hear(tracklet.camera, _event(tracklet, phase, embedder)))
    return records + book.advance(FOREVER_NS)


def crop_tracklets(crops: Crops, embed: Embed, on_progress: OnProgress | None = None) -> list[CropTracklet]:
    """Group crops into tracklets, and embed each as the mean of its crops.

    Raises:
        BadInput: a crop's name tells no time, or there is no crop.
    """
    named = crops.crops
    groups = _grouped(named)
    embeddings_ND = embed_all(crops, embed, on_progress)
    found = []
    for person, camera, moments in groups:
        mean_D = embeddings_ND[[index for _, index in moments]].mean(axis=0)
        norm = float(np.linalg.norm(mean_D))
        found.append(
            CropTracklet(
                track=f"{camera}:{named[moments[0][1]].name.rpartition('/')[2]}",
                person=person, camera=camera, start_s=moments[0][0], end_s=moments[-1][0],
                num_crops=len(moments), embedding_D=np.asarray(mean_D / max(norm, 1e-12), np.float32),
            )
        )  # fmt: skip
    return found


def _grouped(crops: Sequence[ReidCrop]) -> list[tuple[str, str, list[tuple[float, int]]]]:
    """Return person, camera, and (time, index of crop) of each tracklet."""
    times_s = _times_s(crops)
    order = sorted(
        (crop.identity, crop.camera, time_s, index)
        for index, (crop, time_s) in enumerate(zip(crops, times_s, strict=True))
        if not crop.is_distractor
    )
    groups: list[tuple[str, str, list[tuple[float, int]]]] = []
    for (person, camera), rows in groupby(order, key=lambda row: row[:2]):
        moments: list[tuple[float, int]] = []
        for _, _, time_s, index in rows:
            if moments and time_s - moments[-1][0] > GAP_S:
                groups.append((person, camera, moments))
                moments = []
            moments.append((time_s, index))
        groups.append((person, camera, moments))
    return groups


def _times_s(crops: Sequence[ReidCrop]) -> list[float]:
    """Return when each crop was taken: sequences follow one another, with one clock for all cameras."""
    frames: dict[int, int] = {}
    for crop in crops:
        if crop.sequence is None or crop.frame is None:
            raise BadInput(
                f"the name {crop.name} tells no time; replaying identities needs Market-1501's form, "
                "ID_cCsS_FRAME_BB.jpg: CUHK03's crops have no times and can be scored by `eval reid` alone"
            )
        frames[crop.sequence] = max(frames.get(crop.sequence, 0), crop.frame)
    if not frames:
        raise BadInput("got no crop to replay, expected at least one")
    begins_s, now_s = {}, 0.0
    for sequence in sorted(frames):
        begins_s[sequence] = now_s
        now_s += frames[sequence] / FRAMES_PER_S + BREAK_S
    return [begins_s[crop.sequence or 0] + (crop.frame or 0) / FRAMES_PER_S for crop in crops]


def _event(tracklet: CropTracklet, phase: TrackletPhase, embedder: str) -> TrackletEvent:
    return TrackletEvent(
        track=tracklet.track, phase=phase, at_ns=round(tracklet.end_s * NS), start_ns=round(tracklet.start_s * NS),
        seen_ns=round(tracklet.end_s * NS), label="person", box=(0.0, 0.0, 1.0, 1.0),
        num_samples=tracklet.num_crops, embedding=tracklet.embedding_D.astype("<f4").tobytes(), embedder=embedder,
    )  # fmt: skip


def _idf1(tracklets: Sequence[CropTracklet], identity_of: dict[str, str]) -> float:
    idtp, num_decided = _matched(tracklets, identity_of)
    return 2 * idtp / (sum(tracklet.num_crops for tracklet in tracklets) + num_decided)


def _matched(tracklets: Sequence[CropTracklet], identity_of: dict[str, str]) -> tuple[int, int]:
    """Return the crops whose identity is right under the best one-to-one pairing, and the crops decided."""
    decided = [tracklet for tracklet in tracklets if tracklet.track in identity_of]
    persons = {name: row for row, name in enumerate(sorted({t.person for t in tracklets}))}
    names = {name: column for column, name in enumerate(sorted(set(identity_of.values())))}
    shared_PI = np.zeros((len(persons), max(len(names), 1)), np.int64)
    for tracklet in decided:
        shared_PI[persons[tracklet.person], names[identity_of[tracklet.track]]] += tracklet.num_crops
    rows, columns = linear_sum_assignment(shared_PI, maximize=True)
    return int(shared_PI[rows, columns].sum()), sum(tracklet.num_crops for tracklet in decided)
