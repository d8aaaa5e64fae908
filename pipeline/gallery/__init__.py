"""Holds what a site's tracks look like, and finds who looks alike: exactly, bounded, and the same after a restart."""

from pipeline.gallery.gallery import Appearance, Gallery, GallerySnapshot, warm_up
from pipeline.gallery.scans import SearchConfig
from pipeline.gallery.snapshot import decode, encode, load, save
from pipeline.gallery.versions import GalleryVersions

__all__ = [
    "Appearance", "Gallery", "GallerySnapshot", "GalleryVersions", "SearchConfig", "decode", "encode", "load", "save",
    "warm_up",
]  # fmt: skip
