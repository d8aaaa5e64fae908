"""Reads Omniglot's small background set from its zip (Lake et al., Science 2015).

Legend of shape suffixes: D drawings, H height, W width.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from models.errors import BadEpisode

ENTRY: Final = re.compile(r"[^/]+/(?P<alphabet>[^/]+)/(?P<character>character\d+)/\d+_\d+\.png")
MAX_ENTRIES: Final = 40_000
MAX_BYTES: Final = 65_536
"""Of a drawing; they have about 300."""
SOURCE_SIZE: Final = (105, 105)
IMAGE_SIZE: Final = 28


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Is one alphabet: ink is 1, paper is 0."""

    name: str
    x_D1HW: Tensor
    y_D: Tensor
    """Characters, numbered from 0."""

    def turned(self) -> tuple[Tensor, Tensor]:
        """Return drawings and labels with quarter turns as characters of their own."""
        count = int(self.y_D.max()) + 1
        images = [torch.rot90(self.x_D1HW, turns, (2, 3)) for turns in range(4)]
        return torch.cat(images), torch.cat([self.y_D + turns * count for turns in range(4)])


def read_alphabets(path: Path) -> list[Alphabet]:
    """Read all alphabets, by name.

    Raises:
        BadEpisode: when the zip holds too much, or a drawing that is too large or of another size.
    """
    drawings: dict[str, dict[str, list[Tensor]]] = {}
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise BadEpisode(f"{path.name} has {len(entries)} entries, expected at most {MAX_ENTRIES}")
        for entry in sorted(entries, key=lambda one: one.filename):
            found = ENTRY.fullmatch(entry.filename)
            if found:
                drawing = _decode(archive, entry)
                drawings.setdefault(found["alphabet"], {}).setdefault(found["character"], []).append(drawing)
    return [_alphabet(name, list(characters.values())) for name, characters in sorted(drawings.items())]


def joined(alphabets: list[Alphabet]) -> tuple[Tensor, Tensor]:
    """Return all drawings, turned ones too, under labels that count on from alphabet to alphabet."""
    images, labels, count = [], [], 0
    for alphabet in alphabets:
        x, y = alphabet.turned()
        images.append(x)
        labels.append(y + count)
        count += int(y.max()) + 1
    return torch.cat(images), torch.cat(labels)


def _decode(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Tensor:
    if entry.file_size > MAX_BYTES:
        raise BadEpisode(f"{entry.filename} has {entry.file_size} bytes, expected at most {MAX_BYTES}")
    with Image.open(io.BytesIO(archive.read(entry)), formats=["PNG"]) as image:
        if image.size != SOURCE_SIZE:
            raise BadEpisode(f"{entry.filename} is {image.size}, expected {SOURCE_SIZE}")
        return torch.from_numpy(1.0 - np.asarray(image.convert("L"), np.float32) / 255.0)


def _alphabet(name: str, characters: list[list[Tensor]]) -> Alphabet:
    images_D1HW = torch.stack([drawing for drawings in characters for drawing in drawings])[:, None]
    small = F.interpolate(images_D1HW, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    labels = [number for number, drawings in enumerate(characters) for _ in drawings]
    return Alphabet(name, small, torch.tensor(labels))
