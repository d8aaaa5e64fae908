"""Says when two tracklets are the same somebody, and how long anybody is remembered."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.errors import BadInput

EvidenceKind = Literal["appearance", "motion", "transit"]

NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Turns a cosine similarity of centred looks into a log-likelihood ratio: `slope * (similarity - even)`.

    The line is that of a logistic regression of "same somebody" on the similarity (Platt, 1999), without its prior odds.
    """

    even: float
    """Similarity at which same and different are equally likely."""
    slope: float
    """Nats for a similarity higher by 1."""
    other_spread: float
    """Standard deviation of the similarities of different ones, about 0, where the embedder was measured."""


CALIBRATIONS: Final = {
    "stripes": Calibration(even=0.26, slope=11.0, other_spread=0.19),
    "osnet": Calibration(even=0.36, slope=18.0, other_spread=0.18),
}
"""By the name of the embedder, which is its version up to the `@`; fitted to tracklets of people who were held out."""
UNKNOWN_EMBEDDER: Final = Calibration(even=0.3, slope=11.0, other_spread=0.2)
"""For embedders of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityConfig:
    """Says when two tracklets are the same somebody, and how long anybody is remembered.

    All scores are natural logs of likelihood ratios: 0 is even, 3 is twenty to one.

    Raises:
        BadInput: a value is out of its range.
    """

    evidence: tuple[EvidenceKind, ...] = ("appearance", "motion", "transit")
    """Kinds of evidence that are looked at; what cannot be is excluded in any case."""
    match_similarity: float | None = None
    """Cosine similarity at which appearance speaks neither for nor against; absent: as measured with the embedder."""
    appearance_limit: float = 9.0
    """What appearance alone can say at most, for or against: twins exist, and light plays tricks."""
    known_share: float = 0.7
    """Share of tracklets that are somebody known: the odds before anything is looked at."""
    min_crowd: int = 10
    """Somebodies reckoned with at least; beyond that, as many as were seen by two tracks or more."""
    match_score: float = 1.5
    """Score from which a tracklet is taken for somebody known, at its deadline or end: well above even, because who is
    taken for somebody new can still be merged, and a wrong match draws others after it."""
    sure_score: float = 3.0
    """Score from which it is taken for somebody known at once, if nobody else comes near."""
    sure_margin: float = 2.0
    """How much better than the runner-up that somebody must be."""
    merge_score: float = 1.5
    """Score from which two identities are found to be one."""
    split_score: float = -5.0
    """Score of two tracks' ways below which they cannot be one somebody, whatever was decided before."""
    decide_within_s: float = 5.0
    """Seconds after which a tracklet in doubt is decided; the end of the track decides it too."""
    tick_s: float = 1.0
    """Seconds of event time between two rounds of decisions; tracklets that are due together are decided jointly."""
    relink_s: float = 5.0
    """Seconds out of sight for which the way before predicts where somebody comes back."""
    memory_s: float = 1800.0
    """Seconds after the last sight for which somebody is remembered."""
    capacity: int = 100_000
    """Tracks remembered at most; the one unheard of for longest goes first."""
    num_neighbours: int = 32
    """Appearances looked at for a decision."""

    def __post_init__(self) -> None:
        for name in ("decide_within_s", "tick_s", "relink_s", "memory_s", "appearance_limit", "capacity"):
            if not getattr(self, name) > 0:
                raise BadInput(f"identity.{name} is {getattr(self, name)}, expected more than 0")
        for name in ("num_neighbours", "min_crowd"):
            if getattr(self, name) < 1:
                raise BadInput(f"identity.{name} is {getattr(self, name)}, expected at least 1")
        if not 0 < self.known_share < 1:
            raise BadInput(f"identity.known_share is {self.known_share}, expected a share between 0 and 1")
        if not self.match_score <= self.sure_score:
            raise BadInput(
                f"identity.match_score is {self.match_score} and sure_score {self.sure_score}; "
                "expected match_score <= sure_score"
            )

    def calibration(self, embedder: str) -> Calibration:
        """Return what similarities of this embedder (name@digest) mean."""
        measured = CALIBRATIONS.get(embedder.partition("@")[0], UNKNOWN_EMBEDDER)
        if self.match_similarity is None:
            return measured
        return dataclasses.replace(measured, even=self.match_similarity)
