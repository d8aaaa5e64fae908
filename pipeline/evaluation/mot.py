"""Reads and writes MOTChallenge files (Leal-Taixe et al., "MOTChallenge 2015", arXiv:1504.01942).

A row is `frame, id, left, top, width, height, confidence, x, y, z`, frames from 1, in pixels. In `gt.txt` a
confidence of 0 marks a box that is not to be scored; in `det.txt` the id is -1. From 2016 on truth ends with
`confidence, class, visibility` instead (Milan et al., "MOT16", arXiv:1603.00831). A sequence is a folder with
`gt/gt.txt`, `det/det.txt` or both, and `seqinfo.ini`, which the first edition of 2015 came without.
"""

from __future__ import annotations

import configparser
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput

Place = Path | zipfile.Path

MAX_TEXT_BYTES: Final = 256 << 20
"""More than any public sequence needs (MOT20-05: 34 MB); a larger file is not read into memory."""
DEFAULT_FRAME_RATE: Final = 30.0
"""Taken for a sequence without a seqinfo.ini, in frames a second."""
MAX_FRAME: Final = 10_000_000
"""Four days at 30 frames a second: a greater number is a slip, and would ask for as much memory."""
MAX_ID: Final = 2**53
"""Up to here every whole number is exact as a floating-point one, which rows are parsed as."""
MAX_DEPTH: Final = 4
"""Folders above a sequence at most, such as archive/MOT15/train."""
_MIN_COLUMNS: Final = 7
_COLUMNS_WITH_CLASS: Final = 9
_NO_FOLDERS: Final = ("__MACOSX", ".")  # what file managers leave in archives


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
    classes_R: NDArray[np.int64] | None = (
        None  # truth from 2016 on: 1 = pedestrian; None where rows name no class
    )

    def __post_init__(self) -> None:
        n = len(self.frames_R)
        shapes = (self.frames_R.shape, self.ids_R.shape, self.boxes_R4.shape, self.confidences_R.shape)
        if shapes != ((n,), (n,), (n, 4), (n,)):
            raise BadInput(f"rows disagree in shape: got {shapes}, expected (R,), (R,), (R, 4), (R,)")
        if self.classes_R is not None and self.classes_R.shape != (n,):
            raise BadInput(f"rows disagree in shape: got classes {self.classes_R.shape}, expected ({n},)")

    def __len__(self) -> int:
        return len(self.frames_R)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> MotRows:
        return MotRows(
            self.frames_R[index], self.ids_R[index], self.boxes_R4[index], self.confidences_R[index],
            None if self.classes_R is None else self.classes_R[index],
        )  # fmt: skip

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
    """Read a sequence, or every sequence in a folder or a zip, however its folders are nested; sorted by name.

    Raises:
        BadInput: there is no sequence, two have one name, or a file is not what it should be; names file, line
            and what.
    """
    sequences = sorted(
        (_read_sequence(folder) for folder in _sequence_folders(_open(source), MAX_DEPTH)),
        key=lambda sequence: sequence.name,
    )
    if not sequences:
        raise BadInput(
            f"{source} holds no MOTChallenge sequence: expected a folder with a seqinfo.ini, a gt/gt.txt or a "
            "det/det.txt in it; give the sequence, a folder of sequences, or a zip of them"
        )
    names = [sequence.name for sequence in sequences]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"{source} holds two sequences named {twice[0]!r}; give a folder that holds it once")
    return tuple(sequences)


def read_results(source: Path, names: Sequence[str]) -> dict[str, MotRows]:
    """Read a tracker's result files, NAME.txt for each sequence named, from a folder or a zip (or `data/` in it).

    Raises:
        BadInput: a file is missing, holds a box without an id, or is not a MOTChallenge file.
    """
    root = _open(source)
    places = {name: _result_file(root, name) for name in names}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        raise BadInput(
            f"{source} has no {missing[0]}.txt, expected a result file for each of {', '.join(names)}; "
            "write one, an empty one where nothing was tracked"
        )
    return {name: _with_ids(read_rows(place), str(place)) for name, place in places.items() if place}


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
    table_R8 = np.array([_parse_line(line, f"{source}, line {number}") for number, line in lines])
    frames_R, ids_R = table_R8[:, 0].astype(np.int64), table_R8[:, 1].astype(np.int64)
    seen: set[tuple[int, int]] = set()
    for (number, _), frame, identity in zip(lines, frames_R.tolist(), ids_R.tolist(), strict=True):
        if identity >= 0 and (frame, identity) in seen:
            raise BadInput(f"{source}, line {number}: id {identity} appears twice in frame {frame}")
        seen.add((frame, identity))
    boxes_R4 = table_R8[:, 2:6].copy()
    boxes_R4[:, 2:] += boxes_R4[:, :2]
    classes_R = table_R8[:, 7]
    classes = None if np.isnan(classes_R).any() else classes_R.astype(np.int64)
    return MotRows(frames_R, ids_R, boxes_R4, table_R8[:, 6], classes)


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
            f"{source} is neither a folder nor a zip of MOTChallenge sequences: {error}; check the path"
        ) from error


def _sequence_folders(place: Place, depth: int) -> Iterator[Place]:
    if any((place / name).is_file() for name in ("seqinfo.ini", "gt/gt.txt", "det/det.txt")):
        yield place
    elif depth:
        for child in place.iterdir():
            if child.is_dir() and not child.name.startswith(_NO_FOLDERS):
                yield from _sequence_folders(child, depth - 1)


def _read_sequence(folder: Place) -> MotSequence:
    truth, detections = (_read_optional(folder / kind) for kind in ("gt/gt.txt", "det/det.txt"))
    path = folder / "seqinfo.ini"
    if not path.is_file():
        return _described_by_its_boxes(_folder_name(folder), truth, detections)
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
            truth=truth,
            detections=detections,
        )
    except (configparser.Error, KeyError, ValueError) as error:
        raise BadInput(
            f"{path} is not a sequence description: {error!r}; "
            "expected [Sequence] with name, seqLength, frameRate, imWidth and imHeight"
        ) from error
    if not 0 < sequence.frame_rate < math.inf:
        raise BadInput(f"{path} says frameRate={sequence.frame_rate:g}, expected frames a second above 0")
    for rows, kind in ((sequence.truth, "gt/gt.txt"), (sequence.detections, "det/det.txt")):
        if len(rows) and rows.frames_R.max() > sequence.num_frames:
            raise BadInput(
                f"{folder / kind} has frame {rows.frames_R.max()}, but {path} says seqLength={sequence.num_frames}"
            )
    return sequence


def _described_by_its_boxes(name: str, truth: MotRows, detections: MotRows) -> MotSequence:
    """Describe a sequence without a seqinfo.ini: as long and as large as what was seen in it."""
    far_2 = np.concatenate([np.ones((1, 2)), truth.boxes_R4[:, 2:], detections.boxes_R4[:, 2:]]).max(axis=0)
    return MotSequence(
        name=name,
        num_frames=int(max(truth.frames_R.max(initial=1), detections.frames_R.max(initial=1))),
        frame_rate=DEFAULT_FRAME_RATE,
        width=math.ceil(far_2[0]),
        height=math.ceil(far_2[1]),
        truth=truth,
        detections=detections,
    )


def _folder_name(folder: Place) -> str:
    if isinstance(folder, zipfile.Path):
        return folder.name if folder.at else Path(folder.name).stem
    return folder.resolve().name


def _result_file(root: Place, name: str) -> Place | None:
    places: Iterable[Place] = (root / f"{name}.txt", root / "data" / f"{name}.txt")
    return next((place for place in places if place.is_file()), None)


def _with_ids(rows: MotRows, source: str) -> MotRows:
    if len(rows) and rows.ids_R.min() < 0:
        frame = rows.frames_R[rows.ids_R.argmin()]
        raise BadInput(
            f"{source}: a box of frame {frame} has id {rows.ids_R.min()}, expected the id of its track, 0 or more; "
            "are these detections?"
        )
    return rows


def _read_optional(path: Place) -> MotRows:
    return read_rows(path) if path.is_file() else MotRows.empty()


def _text(path: Place) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            raise BadInput(f"{path} has more than {MAX_TEXT_BYTES} bytes, expected a MOTChallenge file")
        return content.decode("utf-8-sig")
    except (
        NotImplementedError,
        RuntimeError,
    ) as error:  # how zipfile says encrypted, or packed in a way unknown to it
        raise BadInput(f"cannot read {path}: {error}; unpack the zip and give the folder") from error
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error


def _parse_line(line: str, where: str) -> list[float]:
    cells = line.split(",")
    if len(cells) < _MIN_COLUMNS:
        raise BadInput(
            f"{where}: got {len(cells)} columns, expected at least {_MIN_COLUMNS}: "
            "frame, id, left, top, width, height, confidence"
        )
    num_read = _MIN_COLUMNS + (len(cells) == _COLUMNS_WITH_CLASS)
    try:
        row = [float(cell) for cell in cells[:num_read]]
    except ValueError as error:
        raise BadInput(f"{where}: {error}; expected numbers separated by commas") from error
    if not all(math.isfinite(value) for value in row):
        raise BadInput(f"{where}: got a number that is not finite in {line[:80]!r}")
    if row[0] < 1 or not row[0].is_integer() or not row[1].is_integer():
        raise BadInput(f"{where}: frame {row[0]:g} and id {row[1]:g}; expected whole numbers, frames from 1")
    if row[0] > MAX_FRAME or abs(row[1]) > MAX_ID:
        raise BadInput(
            f"{where}: frame {row[0]:g} and id {row[1]:g}; expected at most {MAX_FRAME} and {MAX_ID}"
        )
    if row[4] <= 0 or row[5] <= 0:
        raise BadInput(f"{where}: box of {row[4]:g} x {row[5]:g} pixels; expected a positive size")
    return row if len(row) > _MIN_COLUMNS else [*row, math.nan]
