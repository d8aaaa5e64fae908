"""Reads the records that a run leaves in its folder, one JSON record a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from pipeline.errors import BadInput
from pipeline.records import FrameResult, IdentityDecision, decode

TRACKS_FILE: Final = "tracks.jsonl"
IDENTITIES_FILE: Final = "identities.jsonl"
MAX_LINE_BYTES: Final = 16 << 20
"""More than any record has; a longer line is not read into memory."""

RecordT = TypeVar("RecordT", FrameResult, IdentityDecision)


def read_records(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """Yield the records of a file of JSON lines; empty lines are passed over.

    Raises:
        BadInput: the file cannot be read, or a line is not such a record; names file and line.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if line.strip():
                    yield _decode_line(line, kind, path, number)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error}; expected the folder of a finished run") from error


def _decode_line(line: bytes, kind: type[RecordT], path: Path, number: int) -> RecordT:
    if len(line) > MAX_LINE_BYTES:
        raise BadInput(
            f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes, expected a {kind.__name__}"
        )
    try:
        return decode(line, kind)
    except (BadInput, msgspec.MsgspecError) as error:
        raise BadInput(f"{path}, line {number}: {error}") from error
