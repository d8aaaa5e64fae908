"""Says what a version of the learned parts holds: named arrays, and where they come from.

Arrays have flat names of the form `KIND/NAME/ARRAY`, e.g. `class/courier/weight` or `camera/c6/shift`; what the parts
of a kind start from stands under `initialization/KIND/...`. NAME may itself hold slashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.checks import check
from models.errors import ModelError

DTYPES: Final = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int64))
"""Of the arrays that a version may hold."""
MAX_NAME_LENGTH: Final = 512
INITIALIZATION: Final = "initialization"
"""The first word of the names of what all parts of a kind start from."""
_BACKBONE_OF_KIND: Final = {"class": "embedder", "camera": "embedder", "detection": "detector"}

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbones:
    """Names the frozen networks that parts are made on; a part is only ever applied to the one that it was made on."""

    detector: str
    """Version of the detector, as `Detector.version`."""
    embedder: str
    """Version of the embedder, as `Embedder.version`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedVersion:
    """Holds all that was learned at one moment. Immutable: its arrays are copies that cannot be written to.

    Between processes it travels as its file, or as the bytes of one (`models.learned.pack`), never pickled.

    Raises:
        ModelError: when an array has another type than float32, float16 or int64, or a number that is not finite, or
            when its name has no form; names the array.
    """

    arrays: Mapping[str, Array]
    """By flat name, see the head of this file; sorted by it, in every process alike."""
    backbones: Backbones
    created_ns: int
    """When, in Unix time of the machine that learned it."""
    parent: str = ""
    """The name of the version that it was learned from; empty for none."""
    tasks: tuple[str, ...] = ()
    """Kind, name and digest of each task that it has learned."""
    data_digest: str = ""
    """SHA-256 over those, in hexadecimal."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    """What it was judged by, of any form that JSON can hold."""
    reason: str = ""
    """Why it was made, in words."""

    def __post_init__(self) -> None:
        copies = {name: _checked(name, array) for name, array in sorted(self.arrays.items())}
        object.__setattr__(self, "arrays", MappingProxyType(copies))

    def under(self, prefix: str) -> dict[str, Array]:
        """Return the arrays whose names begin with `prefix` and a slash, by what follows it."""
        start = f"{prefix}/"
        return {name[len(start) :]: array for name, array in self.arrays.items() if name.startswith(start)}

    def parts(self, kind: str) -> dict[str, dict[str, Array]]:
        """Return the parts of a kind (`class`, `detection`, `camera`): the arrays of each, by the part's name."""
        found: dict[str, dict[str, Array]] = {}
        for rest, array in self.under(kind).items():
            name, _, leaf = rest.rpartition("/")
            found.setdefault(name, {})[leaf] = array
        return found

    def initialization(self, kind: str) -> dict[str, Array]:
        """Return what all parts of a kind start from; empty where that was never learned."""
        return self.under(f"{INITIALIZATION}/{kind}")

    def usable_kinds(self, backbones: Backbones) -> frozenset[str]:
        """Return the kinds whose parts may be applied beside these networks, because they were made on them."""
        return frozenset(
            kind
            for kind, network in _BACKBONE_OF_KIND.items()
            if getattr(self.backbones, network) == getattr(backbones, network)
        )


def _checked(name: str, array: Array) -> Array:
    shown = name[:64]
    check(
        len(name) <= MAX_NAME_LENGTH and name.count("/") >= 2 and all(name.split("/")),
        "name of an array", shown, f"KIND/NAME/ARRAY of at most {MAX_NAME_LENGTH} letters",
    )  # fmt: skip
    check(array.dtype in DTYPES, f"type of {shown}", array.dtype.name, "float32, float16 or int64")
    copy = np.array(array, order="C")  # the writer of the file takes the memory as it lies
    if copy.dtype.kind == "f" and not np.isfinite(copy).all():
        raise ModelError(
            f"{shown} holds a number that is not finite; what was learned is broken: learn it again"
        )
    copy.setflags(write=False)
    return copy
