"""Owns who is who: evidence, decisions, and what they teach about the site."""

from pipeline.identity.book import IdentityBook
from pipeline.identity.config import IdentityConfig
from pipeline.identity.history import identities_of_tracks

__all__ = ["IdentityBook", "IdentityConfig", "identities_of_tracks"]
