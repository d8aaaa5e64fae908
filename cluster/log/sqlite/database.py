"""Opens the file of the embedded log, and translates every SQLite error at this one edge."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.errors import LogUnavailable
from cluster.log.sqlite.schema import APPLICATION_ID, MIGRATIONS, PAGE_BYTES, SCHEMA, SCHEMA_VERSION

_CHECKPOINT_PAGES = 16_000_000 // PAGE_BYTES
"""Pages of write-ahead log that a producer lets grow before it copies them into the file."""

_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process holds the database: end it, or give the log a file of its own",
    sqlite3.SQLITE_LOCKED: "another process holds the database: end it, or give the log a file of its own",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: move it away to start anew, or rescue it with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database: name another file, or move this one away",
    sqlite3.SQLITE_CANTOPEN: "check that the directory exists, is writable and allows SQLite's -wal and -shm files",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only: make both writable for this user",
    sqlite3.SQLITE_PERM: "make the file and its directory writable for this user",
    sqlite3.SQLITE_FULL: "the disk is full: free space, or lower the topics' retention",
    sqlite3.SQLITE_IOERR: "the disk reports an error: check it, and do not put the log on a network file system",
}


@dataclass(frozen=True, slots=True)
class Database:
    """Names the file, and opens connections to it."""

    path: Path
    busy_timeout_s: float = 10.0
    """How long a writer waits for another process's transaction before it raises LogUnavailable."""
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    """What a power cut may cost: NORMAL the last transactions, all in order; FULL nothing, one fsync each."""

    def connect(self, *, checkpoints: bool = False) -> sqlite3.Connection:
        """Open a connection, creating the file and its tables if they are missing.

        Args:
            checkpoints: whether commits on this connection also copy the write-ahead log into the file. Those
                who commit small things often leave it to the producers, so that they are not held up.
        """
        with self.translated("open"):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LogUnavailable(
                    f"the directory of the log {self.path} cannot be made ({error}): "
                    "choose a place that this user may write to"
                ) from error
            connection = sqlite3.connect(
                self.path, timeout=self.busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection, _CHECKPOINT_PAGES if checkpoints else 8 * _CHECKPOINT_PAGES)
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def session(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one question, and close it."""
        connection = self.connect()
        try:
            with self.translated("read"):
                yield connection
        finally:
            connection.close()

    def _prepare(self, connection: sqlite3.Connection, checkpoint_pages: int) -> None:
        if _value(connection, "PRAGMA application_id") != APPLICATION_ID:
            self._create(connection)
        version = _value(connection, "PRAGMA user_version")
        if version in MIGRATIONS:
            version = _migrate(connection)
        if version != SCHEMA_VERSION:
            raise LogUnavailable(
                f"the log {self.path} has layout {version}, this camweave reads {SCHEMA_VERSION}: "
                "use the camweave that wrote it, or name a new file"
            )
        connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
        connection.execute(f"PRAGMA journal_size_limit = {8 * _CHECKPOINT_PAGES * PAGE_BYTES}")

    def _create(self, connection: sqlite3.Connection) -> None:
        if _value(connection, "SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"):
            if _value(connection, "PRAGMA application_id") == APPLICATION_ID:
                return  # another process was faster
            raise LogUnavailable(
                f"{self.path} is an SQLite database of another program: name a file of its own for the log"
            )
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._switch_to_wal(connection)
        with transaction(connection):
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _switch_to_wal(self, connection: sqlite3.Connection) -> None:
        # SQLite's own busy time-out does not cover this switch when several processes start at once.
        deadline = time.monotonic() + self.busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn SQLite's errors into LogUnavailable with a remedy; misuse of the library stays what it is."""
        try:
            yield
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.InterfaceError):
            raise
        except sqlite3.Error as error:
            remedy = _REMEDIES.get(_primary_code(error), "see SQLite's message")
            waited = (
                f" within {self.busy_timeout_s:g} s" if _primary_code(error) == sqlite3.SQLITE_BUSY else ""
            )
            raise LogUnavailable(f"cannot {doing} the log {self.path}{waited} ({error}): {remedy}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock and commit; nothing is kept if the body or the commit raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection) -> int:
    """Bring an older layout up to date; of several processes the first does it."""
    with transaction(connection):
        while (version := _value(connection, "PRAGMA user_version")) in MIGRATIONS:
            connection.execute(MIGRATIONS[version])
            connection.execute(f"PRAGMA user_version = {version + 1}")
    return version


def _value(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def new_member_id() -> str:
    """Name a member so that a person sees which process it was, and so that none is ever reused."""
    return f"{os.getpid()}-{os.urandom(8).hex()}"
