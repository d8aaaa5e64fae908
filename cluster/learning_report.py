"""Leaves what the gate decided where people look: a JSON file and a picture beside the versions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.files import write_atomically
from pipeline.pictures.learning import draw_verdict
from pipeline.records import ModelAnnouncement, encode

REPORTS_FOLDER: Final = "reports"


def write_report(store: Path, announcement: ModelAnnouncement) -> Path:
    """Write `reports/VERSION.json` and `.png` into the store's folder; returns the path of the picture."""
    name = announcement.version.replace("@", "-")
    path = store / REPORTS_FOLDER / name
    write_atomically(path.with_suffix(".json"), encode(announcement))
    picture = path.with_suffix(".png")
    draw_verdict(announcement, picture)
    return picture
