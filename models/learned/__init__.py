"""Owns versions of what was learned on top of the frozen networks: what one holds, its file, and where files are kept."""

from models.learned.packing import MAX_VERSION_BYTES, pack, unpack
from models.learned.store import StoredVersion, VersionStore, describe, is_name_of, name_of
from models.learned.version import Backbones, LearnedVersion

__all__ = [
    "MAX_VERSION_BYTES",
    "Backbones",
    "LearnedVersion",
    "StoredVersion",
    "VersionStore",
    "describe",
    "is_name_of",
    "name_of",
    "pack",
    "unpack",
]
