"""Reads crops of people as the public re-identification sets name them, from a folder or in place from a zip.

Market-1501 (Zheng et al., ICCV 2015) names a crop `ID_cCsS_FRAME_BB.jpg`: identity, camera, sequence, frame, box.
CUHK03 (Li et al., CVPR 2014) is named `ID_NN.jpg` here: 00 to 04 are seen by camera 1, 05 to 09 by camera 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Self

from models.detector import ImageHW3
from models.errors import BadCrops
from models.picture_files import (
    IMAGE_SUFFIXES,
    PictureFiles,
    decode_picture,
    open_picture_files,
    read_bounded,
)

MARKET: Final = re.compile(
    r"(?P<identity>-1|\d{1,8})_c(?P<camera>\d{1,4})s(?P<sequence>\d{1,4})_(?P<frame>\d{1,12})_\d{1,4}"
)
CUHK: Final = re.compile(r"(?P<identity>\d{1,8})_(?P<view>0\d)")
CUHK_VIEWS_PER_CAMERA: Final = 5
JUNK: Final = "-1"
"""Market's identity of crops that show no person well; its protocol leaves them out."""
DISTRACTOR: Final = "0000"
"""Market's identity of false detections and unlabelled people; they stand in a gallery and match nobody."""
MAX_CROPS: Final = 1_000_000
"""More entries than any public set has (MSMT17: 126,441)."""
MAX_BYTES: Final = 8 << 20
"""Crops have a few kB; a larger member is not read into memory."""
MAX_PIXELS: Final = 4 << 20
"""Checked in the header, so that a small file cannot ask for gigabytes when decoded."""
MAX_EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class ReidCrop:
    """Says who is on a crop, and which camera saw them when."""

    name: str
    """Path inside the folder or zip, with `/`."""
    identity: str
    """Digits as they stand in the name."""
    camera: str
    """Digits; identities are matched across cameras."""
    sequence: int | None
    """Market's recording of that camera; None where names tell no time."""
    frame: int | None
    """Frame number within the sequence; None where names tell no time."""

    @property
    def is_distractor(self) -> bool:
        """Whether this is Market's identity for whom there is no name: never a query, never a match."""
        return self.sequence is not None and self.identity == DISTRACTOR


class ReidCrops:
    """Holds the crops of one folder or zip, sorted by name; images are decoded when asked for."""

    def __init__(self, place: Path, source: PictureFiles, crops: tuple[ReidCrop, ...]) -> None:
        self.place = place
        self.crops = crops
        self._source = source

    def __len__(self) -> int:
        return len(self.crops)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the zip; crops cannot be read afterwards."""
        self._source.close()

    def read(self, index: int) -> ImageHW3:
        """Decode the crop at `index` of `crops`; uint8 H x W x 3, BGR.

        Raises:
            BadCrops: when the file cannot be read or decoded, or is too large; names it.
        """
        name = self.crops[index].name
        place = f"{name} in {self.place}"
        return decode_picture(read_bounded(self._source, name, place, MAX_BYTES), place, MAX_PIXELS)


def open_crops(path: Path) -> ReidCrops:
    """Open a folder or a zip of crops named as Market-1501 or CUHK03 name them; close it, or use it as a context.

    Files that are no images (Thumbs.db, a README) are ignored, and so is Market's junk (identity -1).

    Raises:
        BadCrops: when it cannot be opened, holds no crops, or holds images with other names, empty or too large;
            names up to three.
    """
    source = open_picture_files(path)
    try:
        return ReidCrops(path, source, _list(path, source))
    except BaseException:
        source.close()
        raise


def parse_crop(name: str) -> ReidCrop | None:
    """Read what the name of a crop says, or None when it is in neither format."""
    # Market's hand-drawn boxes are called x.jpg.jpg.
    stem = PurePosixPath(name).name.partition(".")[0]
    if found := MARKET.fullmatch(stem):
        sequence, frame = int(found["sequence"]), int(found["frame"])
        return ReidCrop(name, found["identity"], found["camera"], sequence, frame)
    if found := CUHK.fullmatch(stem):
        camera = int(found["view"]) // CUHK_VIEWS_PER_CAMERA + 1
        return ReidCrop(name, found["identity"], str(camera), None, None)
    return None


def _list(path: Path, source: PictureFiles) -> tuple[ReidCrop, ...]:
    crops: list[ReidCrop] = []
    unnamed: list[str] = []
    unsized: list[str] = []
    num_files = 0
    for name, size in source.sizes():
        num_files += 1
        if num_files > MAX_CROPS:
            raise BadCrops(f"{path} holds more than {MAX_CROPS} files, expected crops alone; split it")
        pure = PurePosixPath(name)
        if pure.suffix.lower() not in IMAGE_SUFFIXES or pure.name.startswith("."):
            continue
        crop = parse_crop(name)
        if crop is None:
            unnamed.append(name)
        elif not 0 < size <= MAX_BYTES:
            unsized.append(f"{name} ({size} bytes)")
        elif crop.identity != JUNK:
            crops.append(crop)
    if unnamed:
        raise BadCrops(
            f"{path} holds {_examples(unnamed)}, expected names ID_cCsS_FRAME_BB.jpg (Market-1501) or ID_NN.jpg "
            "with NN from 00 to 09 (CUHK03); rename or remove them"
        )
    if unsized:
        raise BadCrops(
            f"{path} holds {_examples(unsized)}, expected crops of 1 to {MAX_BYTES} bytes; replace or remove them"
        )
    if not crops:
        raise BadCrops(
            f"{path} holds {num_files} files but no crop, expected images named ID_cCsS_FRAME_BB.jpg (Market-1501) "
            "or ID_NN.jpg (CUHK03); give the folder or zip that holds them"
        )
    return tuple(sorted(crops, key=lambda crop: crop.name))


def _examples(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:MAX_EXAMPLES])
    return shown if len(names) <= MAX_EXAMPLES else f"{shown} and {len(names) - MAX_EXAMPLES} more"
