"""Owns the embedded log: one SQLite file in WAL mode, shared by the processes of one machine."""

from cluster.log.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
