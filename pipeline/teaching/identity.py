"""Names tasks by what is in them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Final

from pipeline.records import TaskExample, TaskRecord

NUM_DIGITS: Final = 12
"""Of the digest in a task's name; enough to tell tasks of one kind and name apart."""


def task_id(task: TaskRecord) -> str:
    """Name a task: `kind/name/` and the first digits of its digest, as announcements list it."""
    return f"{task.kind.value}/{task.name}/{task.digest[:NUM_DIGITS]}"


def task_digest(examples: Iterable[TaskExample]) -> str:
    """Return the SHA-256 over examples, in hexadecimal; their order makes no difference."""
    return hashlib.sha256(b"".join(sorted(map(_digest, examples)))).hexdigest()


def _digest(example: TaskExample) -> bytes:
    """Hash one example; the length stands before each part, so that no two examples read alike."""
    boxes = b"".join(struct.pack("<4d", *box) for box in example.boxes)
    parts = (
        example.image, example.label.encode(), example.camera.encode(), boxes, b"query" if example.query else b"",
    )  # fmt: skip
    digest = hashlib.sha256()
    for part in parts:
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
    return digest.digest()
