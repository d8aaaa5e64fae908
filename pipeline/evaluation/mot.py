"""Reads and writes MOTChallenge files (Leal-Taixe et al., "MOTChallenge 2015", arXiv:1504.01942).

A row is `frame, id, left, top, width, height, confidence, x, y, z`, frames from 1, in pixels. In `gt.txt` a
confidence of 0 marks a box that is not to be scored; in `det.txt` the id is -1.
"""

from __future__ import annotations

import configparser
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput

Place = Path | zipfile.Path

_MIN_COLUMNS = 7


@dataclass(frozen=True, slots=True, eq=False)
class MotRows:
    """Holds R boxes of one sequence, in the order of the file.

    Raises:
        BadInput: when the arrays disagree in length.
    """

    frames_R: NDArray[np.int64]  # from 1
    ids_R: NDArray[np.int64]  # -1 where the box has none
    boxes_R4: NDArray[np.float64]  # left, top, right, bottom in pixels
    confidences_R: NDArray[np.float64]  # truth: 0 = not to be scored; detections: the detector's score

    def __post_init__(self) -> None:
        n = len(self.frames_R)
        shapes = (self.frames_R.shape, self.ids_R.shape, self.boxes_R4.shape, self.confidences_R.shape)
        if shapes != ((n,), (n,), (n, 4), (n,)):
            raise BadInput(f"rows disagree in shape: got {shapes}, expected (R,), (R,), (R, 4), (R,)")

    def __len__(self) -> int:
        return len(self.frames_R)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> MotRows:
        return MotRows(
            self.frames_R[index], self.ids_R[index], self.boxes_R4[index], self.confidences_R[index]
        )

    @classmethod
    def empty(cls) -> Self:
        """Return no rows."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotSequence:
    """Holds one sequence: what its seqinfo.ini says, its truth and its public detections."""

    name: str
    num_frames: int
    frame_rate: float
    """Frames per second."""
    width: int
    height: int
    truth: MotRows
    """Empty where the sequence has no gt/gt.txt."""
    detections: MotRows
    """Empty where the sequence has no det/det.txt."""


def read_sequences(source: Path) -> tuple[MotSequence, ...]:
    """Read every sequence in a folder or a zip: each folder there that has a seqinfo.ini, by name.

    Raises:
        BadInput: there is no sequence, or a file is not what it should be; names file, line and what.
    """
    place = _open(source)
    folders = [place, *(child for child in place.iterdir() if child.is_dir())]
    found = [folder for folder in folders if (folder / "seqinfo.ini").is_file()]
    if not found:
        raise BadInput(f"{source} holds no MOTChallenge sequence: expected a folder with a seqinfo.ini in it")
    return tuple(sorted((_read_sequence(folder) for folder in found), key=lambda sequence: sequence.name))


def read_rows(path: Place) -> MotRows:
    """Read a gt.txt, a det.txt or a result file.

    Raises:
        BadInput: the file cannot be read, or a line is not a MOTChallenge row; names file, line and what.
    """
    return parse_rows(_text(path), str(path))


def parse_rows(text: str, source: str) -> MotRows:
    """Parse MOTChallenge rows; `source` is named in errors.

    Raises:
        BadInput: a line has too few columns or something that is not a number, a frame is below 1, a box has
            no positive size, or an id appears twice in one frame.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        return MotRows.empty()
    table_R7 = np.array([_parse_line(line, f"{source}, line {number}") for number, line in lines])
    frames_R, ids_R = table_R7[:, 0].astype(np.int64), table_R7[:, 1].astype(np.int64)
    seen: set[tuple[int, int]] = set()
    for (number, _), frame, identity in zip(lines, frames_R.tolist(), ids_R.tolist(), strict=True):
        if identity >= 0 and (frame, identity) in seen:
            raise BadInput(f"{source}, line {number}: id {identity} appears twice in frame {frame}")
        seen.add((frame, identity))
    boxes_R4 = table_R7[:, 2:6].copy()
    boxes_R4[:, 2:] += boxes_R4[:, :2]
    return MotRows(frames_R, ids_R, boxes_R4, table_R7[:, 6])


def write_rows(path: Path, rows: MotRows) -> None:
    """Write rows as a MOTChallenge result file, in thousandths of a pixel."""
    with path.open("w", encoding="utf-8") as file:
        for frame, identity, box, confidence in zip(
            rows.frames_R.tolist(),
            rows.ids_R.tolist(),
            rows.boxes_R4.tolist(),
            rows.confidences_R,
            strict=True,
        ):
            left, top, right, bottom = box
            file.write(
                f"{frame},{identity},{left:.3f},{top:.3f},{right - left:.3f},{bottom - top:.3f},"
                f"{confidence:.6g},-1,-1,-1\n"
            )


def _open(source: Path) -> Place:
    if source.is_dir():
        return source
    try:
        return zipfile.Path(zipfile.ZipFile(source))
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"{source} is neither a folder nor a zip of MOTChallenge sequences: {error}"
        ) from error


def _read_sequence(folder: Place) -> MotSequence:
    path = folder / "seqinfo.ini"
    parser = configparser.ConfigParser()
    try:
        parser.read_string(_text(path), source=str(path))
        info = parser["Sequence"]
        sequence = MotSequence(
            name=info["name"],
            num_frames=int(info["seqLength"]),
            frame_rate=float(info["frameRate"]),
            width=int(info["imWidth"]),
            height=int(info["imHeight"]),
            truth=_read_optional(folder / "gt" / "gt.txt"),
            detections=_read_optional(folder / "det" / "det.txt"),
        )
    except (configparser.Error, KeyError, ValueError) as error:
        raise BadInput(
            f"{path} is not a sequence description: {error!r}; "
            "expected [Sequence] with name, seqLength, frameRate, imWidth and imHeight"
        ) from error
    for rows, kind in ((sequence.truth, "gt/gt.txt"), (sequence.detections, "det/det.txt")):
        if len(rows) and rows.frames_R.max() > sequence.num_frames:
            raise BadInput(
                f"{folder / kind} has frame {rows.frames_R.max()}, but {path} says seqLength={sequence.num_frames}"
            )
    return sequence


def _read_optional(path: Place) -> MotRows:
    return read_rows(path) if path.is_file() else MotRows.empty()


def _text(path: Place) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error


def _parse_line(line: str, where: str) -> list[float]:
    cells = line.split(",")
    if len(cells) < _MIN_COLUMNS:
        raise BadInput(
            f"{where}: got {len(cells)} columns, expected at least {_MIN_COLUMNS}: "
            "frame, id, left, top, width, height, confidence"
        )
    try:
        row = [float(cell) for cell in cells[:_MIN_COLUMNS]]
    except ValueError as error:
        raise BadInput(f"{where}: {error}; expected numbers separated by commas") from error
    if not all(math.isfinite(value) for value in row):
        raise BadInput(f"{where}: got a number that is not finite in {line[:80]!r}")
    if row[0] < 1 or not row[0].is_integer() or not row[1].is_integer():
        raise BadInput(f"{where}: frame {row[0]:g} and id {row[1]:g}; expected whole numbers, frames from 1")
    if row[4] <= 0 or row[5] <= 0:
        raise BadInput(f"{where}: box of {row[4]:g} x {row[5]:g} pixels; expected a positive size")
    return row
