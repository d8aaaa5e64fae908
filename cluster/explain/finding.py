"""Finds the identity that somebody means, and names the nearest where there is none."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

from cluster.errors import BadConfig
from cluster.explain.records import Records
from pipeline.pictures.colours import Legend

NUM_NEAREST: Final = 3
"""Identities named in an error."""


def find_identity(wanted: str, records: Records, identity_of_track: Mapping[str, str]) -> str:
    """Return the identity that is meant: by its id, its name in the pictures, one of its tracks, or a beginning.

    Raises:
        BadConfig: none is meant, or several are; names the nearest.
    """
    known = sorted(set(identity_of_track.values()))
    absorbed = {one.absorbed: one.track for one in records.decisions if one.absorbed}
    names = {
        records.legend.name(identity).lower(): identity
        for identity in known
        if identity in records.legend.names
    }
    exact = (
        wanted if wanted in known else None,
        names.get(wanted.lower()),
        identity_of_track.get(wanted),
        identity_of_track.get(absorbed.get(wanted, "")),
    )  # fmt: skip
    for identity in exact:
        if identity is not None:
            return identity
    begun = [
        identity for identity in known if identity.removeprefix("id-").startswith(wanted.removeprefix("id-"))
    ]
    if len(begun) == 1 and wanted:
        return begun[0]
    if len(begun) > 1 and wanted:
        raise BadConfig(f"{wanted!r} is the beginning of {_listed(begun, records.legend)}; give more of it")
    raise BadConfig(_unknown(wanted, known, records))


def _unknown(wanted: str, known: Sequence[str], records: Records) -> str:
    if not known:
        return f"no identity was decided in {records.place}; run the site for longer, or look at its tracks"
    spellings = {
        **{one.lower(): one for one in known},
        **{records.legend.name(one).lower(): one for one in known},
    }
    near = difflib.get_close_matches(wanted.lower(), spellings, n=NUM_NEAREST, cutoff=0.0)
    nearest = list(dict.fromkeys(spellings[one] for one in near))
    return f"unknown identity {wanted!r} in {records.place}; the nearest known are {_listed(nearest, records.legend)}"


def _listed(identities: Sequence[str], legend: Legend) -> str:
    shown = [
        f"{legend.names[one]} ({one})" if one in legend.names else one for one in identities[:NUM_NEAREST]
    ]
    return ", ".join(shown) + (
        f" and {len(identities) - NUM_NEAREST} more" if len(identities) > NUM_NEAREST else ""
    )
