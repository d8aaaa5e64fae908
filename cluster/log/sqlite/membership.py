"""Keeps one consumer's place in its group: a heartbeat, and leases on partitions, all in the database."""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cluster.errors import LogUnavailable
from cluster.log.sqlite.assignment import balance
from cluster.log.sqlite.catalog import TopicRow
from cluster.log.sqlite.database import Database, new_member_id, transaction

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leasing:
    """Bounds how long a dead member keeps its partitions."""

    lease_s: float = 8.0
    """A member that has not been heard of for so long is dead; its partitions move within 4/3 of this."""
    max_poll_interval_s: float = 300.0
    """A member that lives but does not poll for so long counts as dead too."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Says what one member should do now to bring its group into balance."""

    surplus: frozenset[int]
    """Partitions (row ids) it owns and should hand over."""
    available: frozenset[int]
    """Partitions it should own and that nobody holds."""


class Membership:
    """Joins, stays in and leaves a group.

    Times are `time.monotonic()`, which all processes of a machine share and nobody sets. A member is alive while
    its expiry lies ahead by at most its lease: one left over from before a reboot fails one of the two.
    """

    def __init__(self, database: Database, group: str, topics: Sequence[TopicRow], leasing: Leasing) -> None:
        self.group = group
        self.member_id = ""
        self._database = database
        self._topics = topics
        self._leasing = leasing
        self._last_poll_s = time.monotonic()
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat_loop, name="log-heartbeat", daemon=True)

    def join(self, connection: sqlite3.Connection) -> None:
        """Become a member under a new id."""
        member_id = new_member_id()
        topic_ids = json.dumps([topic.id for topic in self._topics])
        with transaction(connection):
            self._reap(connection)
            connection.execute(
                "INSERT INTO members (id, group_name, topic_ids, expires_s, lease_s) VALUES (?, ?, ?, ?, ?)",
                (member_id, self.group, topic_ids, self._expiry_s(), self._leasing.lease_s),
            )
            self._announce(connection)
        self.member_id = member_id
        if not self._heart.is_alive():
            self._heart.start()

    def leave(self, connection: sqlite3.Connection) -> None:
        """Release everything and stop being a member."""
        self.stop()
        with transaction(connection):
            self._remove(connection, [self.member_id])

    def stop(self) -> None:
        """Stop the heartbeat, as death would."""
        self._stop.set()
        if self._heart.is_alive():
            self._heart.join()

    def note_poll(self) -> None:
        """Take note that the caller is alive, too."""
        self._last_poll_s = time.monotonic()

    def generation(self, connection: sqlite3.Connection) -> int:
        """Return a number that grows whenever a member comes or goes or a partition is released."""
        row = connection.execute("SELECT generation FROM groups WHERE name = ?", (self.group,)).fetchone()
        return int(row[0]) if row else 0

    def is_member(self, connection: sqlite3.Connection) -> bool:
        """Tell whether the others still count this member in."""
        query = "SELECT 1 FROM members WHERE id = ?"
        return connection.execute(query, (self.member_id,)).fetchone() is not None

    def owned(self, connection: sqlite3.Connection) -> frozenset[int]:
        """Return the partitions (row ids) that this member holds."""
        query = "SELECT partition_id FROM leases WHERE group_name = ? AND member_id = ?"
        return frozenset(row[0] for row in connection.execute(query, (self.group, self.member_id)))

    def plan(self, connection: sqlite3.Connection) -> Plan:
        """Compute what to hand over and what to take."""
        query = "SELECT partition_id, member_id FROM leases WHERE group_name = ?"
        owners: dict[int, str] = dict(connection.execute(query, (self.group,)).fetchall())
        target = self._target(connection, owners)
        mine = {part for part, member in owners.items() if member == self.member_id}
        return Plan(
            surplus=frozenset(mine - target),
            available=frozenset(part for part in target if part not in owners),
        )

    def acquire(self, connection: sqlite3.Connection) -> None:
        """Take what the plan, made again under the write lock, finds available; nothing once removed."""
        with transaction(connection):
            connection.executemany(
                "INSERT INTO leases (group_name, partition_id, member_id) VALUES (?, ?, ?)",
                [(self.group, part, self.member_id) for part in self.plan(connection).available],
            )

    def release(self, connection: sqlite3.Connection, partitions: Collection[int]) -> None:
        """Let others have partitions."""
        with transaction(connection):
            connection.executemany(
                "DELETE FROM leases WHERE group_name = ? AND partition_id = ? AND member_id = ?",
                [(self.group, part, self.member_id) for part in partitions],
            )
            self._announce(connection)

    def _target(self, connection: sqlite3.Connection, owners: Mapping[int, str]) -> set[int]:
        members = [
            (member_id, json.loads(topic_ids))
            for member_id, topic_ids in connection.execute(
                "SELECT id, topic_ids FROM members WHERE group_name = ?", (self.group,)
            )
        ]
        target: set[int] = set()
        for topic in self._topics:
            readers = [member_id for member_id, topic_ids in members if topic.id in topic_ids]
            if self.member_id in readers:
                assigned = balance(topic.partition_ids, readers, owners, turn=topic.id)
                target.update(part for part, member in assigned.items() if member == self.member_id)
        return target

    def _expiry_s(self) -> float:
        return time.monotonic() + self._leasing.lease_s

    def _announce(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO groups (name, generation) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET generation = generation + 1",
            (self.group,),
        )

    def _remove(self, connection: sqlite3.Connection, member_ids: Sequence[str]) -> None:
        for member_id in member_ids:
            connection.execute("DELETE FROM leases WHERE member_id = ?", (member_id,))
            connection.execute("DELETE FROM members WHERE id = ?", (member_id,))
        self._announce(connection)

    def _reap(self, connection: sqlite3.Connection) -> None:
        now_s = time.monotonic()
        dead = connection.execute(
            "SELECT id FROM members WHERE group_name = ? AND id != ? "
            "AND NOT (expires_s > ? AND expires_s <= ? + lease_s)",
            (self.group, self.member_id, now_s, now_s),
        ).fetchall()
        if dead:
            _log.warning("members died", extra={"group": self.group, "members": [row[0] for row in dead]})
            self._remove(connection, [row[0] for row in dead])

    def _beat_loop(self) -> None:
        connection: sqlite3.Connection | None = None
        while not self._stop.wait(self._leasing.lease_s / 3):
            try:
                if connection is None:
                    connection = self._database.connect()
                with self._database.translated("keep the lease in"):
                    self._beat(connection)
            except LogUnavailable:
                _log.warning("heartbeat failed, trying again", extra={"group": self.group}, exc_info=True)
        if connection is not None:
            connection.close()

    def _beat(self, connection: sqlite3.Connection) -> None:
        if time.monotonic() - self._last_poll_s > self._leasing.max_poll_interval_s:
            return
        with transaction(connection):
            connection.execute(
                "UPDATE members SET expires_s = ? WHERE id = ?", (self._expiry_s(), self.member_id)
            )
            self._reap(connection)
