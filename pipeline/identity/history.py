"""Tells from the records which identity each track has in the end."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.records import DecisionKind, IdentityDecision


def identities_of_tracks(decisions: Iterable[IdentityDecision]) -> dict[str, str]:
    """Return each track's identity after all records, by their time (of two at one time, the later in the log stands).

    A match or merge takes all tracks of the absorbed identity along, those that the book has forgotten by then too.
    What is told later of an absorbed identity belongs to whoever absorbed it, so merges may come in any order.
    """
    identity_of: dict[str, str] = {}
    absorbed_by: dict[str, str] = {}
    for decision in sorted(decisions, key=lambda one: one.at_ns):
        if decision.kind is DecisionKind.SPLIT:
            identity_of = _resolved(identity_of, absorbed_by)
            absorbed_by = {}
            identity_of.update(dict.fromkeys(decision.moved, decision.identity))
            continue
        if decision.absorbed:
            _absorb(absorbed_by, decision.absorbed, decision.identity)
        if decision.track not in identity_of or decision.kind in (DecisionKind.MATCH, DecisionKind.NEW):
            identity_of[decision.track] = decision.identity
    return _resolved(identity_of, absorbed_by)


def _absorb(absorbed_by: dict[str, str], absorbed: str, survivor: str) -> None:
    absorbed, survivor = _survivor(absorbed_by, absorbed), _survivor(absorbed_by, survivor)
    if absorbed != survivor:
        absorbed_by[absorbed] = survivor


def _survivor(absorbed_by: dict[str, str], identity: str) -> str:
    while identity in absorbed_by:
        identity = absorbed_by[identity]
    return identity


def _resolved(identity_of: dict[str, str], absorbed_by: dict[str, str]) -> dict[str, str]:
    return {track: _survivor(absorbed_by, identity) for track, identity in identity_of.items()}
