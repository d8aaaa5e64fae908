"""Gives each identity a colour and a short name, the same in every picture of a run.

Legend of shape suffixes: C candidate colours, 3 = blue, green, red, or lightness, a, b.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Blue, green, red, each 0 to 255."""

NUM_COLOURS: Final = 48
"""More than people can tell apart at once; identities beyond it take the colours in turn again."""
BLACK: Final[Colour] = (0, 0, 0)
WHITE: Final[Colour] = (255, 255, 255)

CAMERA_COLOURS: Final = (
    "#3b6fb6", "#e39b33", "#4a9d77", "#c0504d", "#8064a2", "#3aa6b9", "#b5838d", "#7f8c3a", "#5b6b7b", "#d081b4",
)  # fmt: skip
"""Of the cameras of a site, in their order; quieter than the identities', which are what is looked at."""

_LIGHTNESS: Final = (0.52, 0.88)  # of OKLab: dark enough beside white, light enough beside black
_CHROMA: Final = (0.11, 0.25)  # of OKLab: below it reads as grey, the mark of the unidentified; above as neon
_LIGHTNESS_WEIGHT: Final = 0.6  # a difference in hue is named more surely than one in lightness
_FIRST: Final[Colour] = (34, 136, 255)  # a vivid orange, rare in what cameras see


@dataclass(frozen=True, slots=True)
class Legend:
    """Holds how the identities of a run are shown: the same colour and name in every picture."""

    colours: Mapping[str, Colour]
    names: Mapping[str, str]

    @classmethod
    def of(cls, identities: Iterable[str]) -> Legend:
        """Give colours and names by order of first appearance."""
        order = list(dict.fromkeys(identities))
        return cls(colour_map(order), short_names(order))

    def colour(self, identity: str) -> Colour:
        """Return an identity's colour; one that came after the legend was made gets its own stable colour."""
        return self.colours.get(identity) or identity_colour(identity)

    def name(self, identity: str) -> str:
        """Return an identity's short name, or the tail of its id if it came after the legend was made."""
        return self.names.get(identity) or identity[-6:]


def camera_colours(num_cameras: int) -> list[Colour]:
    """Return the colours of a site's first cameras; beyond ten they come in turn again."""
    return [_from_hex(CAMERA_COLOURS[index % len(CAMERA_COLOURS)]) for index in range(num_cameras)]


def identity_colour(identity: str) -> Colour:
    """Return a colour that depends on nothing but the identity, so that it outlives the run.

    Two identities may share one; `colour_map` keeps the identities of one run apart.
    """
    digest = blake2b(identity.encode(), digest_size=8).digest()
    return palette()[int.from_bytes(digest, "big") % NUM_COLOURS]


def colour_map(identities: Iterable[str]) -> dict[str, Colour]:
    """Give identities colours by order of first appearance, each as far as can be from those before it."""
    colours = palette()
    return {identity: colours[i % NUM_COLOURS] for i, identity in enumerate(dict.fromkeys(identities))}


def short_names(identities: Iterable[str]) -> dict[str, str]:
    """Name identities "P1", "P2", ... by order of first appearance."""
    return {identity: f"P{i}" for i, identity in enumerate(dict.fromkeys(identities), start=1)}


@lru_cache(maxsize=4096)
def ink_on(colour: Colour) -> Colour:
    """Return black or white, whichever reads better on `colour` (WCAG 2.2 contrast ratio)."""
    blue, green, red = _linear(np.array(colour, np.float64) / 255)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return BLACK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else WHITE


@lru_cache(maxsize=1)
def palette() -> tuple[Colour, ...]:
    """Choose distinct colours greedily: each is the candidate farthest from all before it, and from grey.

    Distances are taken in OKLab (Ottosson, 2020), where equal steps look equally large.
    """
    steps = np.linspace(0, 255, 18).round()
    grid_C3 = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab_C3 = oklab(grid_C3)
    chroma_C = np.hypot(lab_C3[:, 1], lab_C3[:, 2])
    keep_C = _between(lab_C3[:, 0], _LIGHTNESS) & _between(chroma_C, _CHROMA)
    grid_C3, lab_C3, chroma_C = grid_C3[keep_C], lab_C3[keep_C], chroma_C[keep_C]
    chosen = [_FIRST]
    distance_C = np.minimum(chroma_C, _distance(lab_C3, oklab(np.array(_FIRST, np.float64))))
    while len(chosen) < NUM_COLOURS:
        best = int(distance_C.argmax())
        blue, green, red = (int(value) for value in grid_C3[best])
        chosen.append((blue, green, red))
        distance_C = np.minimum(distance_C, _distance(lab_C3, lab_C3[best]))
    return tuple(chosen)


def oklab(bgr_C3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert (..., 3) blue, green, red in [0, 255] to OKLab lightness, a, b (Ottosson, 2020)."""
    blue, green, red = np.moveaxis(_linear(bgr_C3 / 255), -1, 0)
    long = np.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    medium = np.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = np.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return np.stack(
        [
            0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
            1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
            0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
        ],
        axis=-1,
    )


def _from_hex(colour: str) -> Colour:
    red, green, blue = bytes.fromhex(colour[1:])
    return blue, green, red


def _linear(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _distance(lab_C3: NDArray[np.float64], point_3: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm((lab_C3 - point_3) * (_LIGHTNESS_WEIGHT, 1.0, 1.0), axis=1))


def _between(values_C: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.bool_]:
    return (bounds[0] < values_C) & (values_C < bounds[1])
