"""Reads the embedded log as a member of a group."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Self

from cluster.errors import LogUnavailable
from cluster.log.partitioner import fair_shares, places_on
from cluster.log.protocol import PartitionsCallback, Record, TopicPartition
from cluster.log.sqlite import catalog
from cluster.log.sqlite.database import Database, transaction
from cluster.log.sqlite.membership import Leasing, Membership
from cluster.log.sqlite.schema import SELECT_RECORDS, record_id, row_to_record
from pipeline.errors import BadInput

_log = logging.getLogger(__name__)

_POLL_BYTES = 64_000_000
"""What one poll returns at most, so that a backlog of large frames does not fill the memory."""
_SHORTEST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.03
"""An idle poll looks at the database's change counter this often, 5 us each."""


class SqliteConsumer:
    """Reads records as a member of a group; one thread at a time."""

    def __init__(
        self, database: Database, group: str, topic_names: Sequence[str], leasing: Leasing,
        on_assigned: PartitionsCallback | None, on_revoked: PartitionsCallback | None,
    ) -> None:  # fmt: skip
        self._database = database
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._turn = 0
        self._seen_change = -1
        self._seen_generation = -1
        self._may_have_more = False
        self._closed = False
        self._connection = database.connect()
        try:
            with database.translated("join a group in"):
                rows = [
                    catalog.find_topic(self._connection, name, str(database.path))
                    for name in dict.fromkeys(topic_names)
                ]
                self._partitions = {
                    part_id: partition
                    for row in rows
                    for part_id, partition in zip(row.partition_ids, row.partitions, strict=True)
                }
                self._ids = {partition: part_id for part_id, partition in self._partitions.items()}
                self._membership = Membership(database, group, rows, leasing)
        except BaseException:
            self._connection.close()
            raise

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return up to `max_records`; see `cluster.log.protocol.Consumer.poll`."""
        self._check_open()
        deadline_s = time.monotonic() + timeout_s
        wait_s = _SHORTEST_WAIT_S
        while True:
            self._membership.note_poll()
            with self._database.translated("read"):
                records = self._poll_once(max_records)
            remaining_s = deadline_s - time.monotonic()
            if records or remaining_s <= 0:
                return records
            time.sleep(min(wait_s, remaining_s))
            wait_s = min(1.5 * wait_s, _LONGEST_WAIT_S)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the next offsets to read; see `cluster.log.protocol.Consumer.commit`."""
        self._check_open()
        group = self._membership.group
        with self._database.translated("commit to"), transaction(self._connection):
            owned = self._membership.owned(self._connection)
            moved = [partition for partition in offsets if self._ids.get(partition) not in owned]
            if moved:
                raise LogUnavailable(
                    f"cannot commit {_names(moved)} for group {group!r}: not owned by this member (any more). "
                    "Nothing was stored; drop their state, the new owner reads on from the last commit"
                )
            now_ms = int(1000 * time.time())
            self._connection.executemany(
                "INSERT OR REPLACE INTO offsets (group_name, partition_id, next_offset, committed_ms) "
                "VALUES (?, ?, ?, ?)",
                [(group, self._ids[partition], offset, now_ms) for partition, offset in offsets.items()],
            )

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Continue an assigned partition at `offset`."""
        self._check_assigned(partition)
        if offset < 0:
            raise BadInput(f"cannot seek {_names([partition])} to {offset}: offsets start at 0")
        self._positions[partition] = offset
        self._may_have_more = True

    def position(self, partition: TopicPartition) -> int:
        """Return the offset that the next poll reads first."""
        self._check_assigned(partition)
        return self._positions[partition]

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Keep the partitions, but return nothing from them until `resume`."""
        for partition in partitions:
            self._check_assigned(partition)
            self._paused.add(partition)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Return records of paused partitions again."""
        for partition in partitions:
            self._check_assigned(partition)
            self._paused.discard(partition)
        self._may_have_more = True

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that this member owns now."""
        return frozenset(self._positions)

    def close(self) -> None:
        """Revoke what is owned, leave the group and free; closing twice is harmless."""
        if self._closed:
            return
        try:
            self._revoke(self._positions)
        finally:
            self._closed = True
            try:
                with self._database.translated("leave a group in"):
                    self._membership.leave(self._connection)
            except LogUnavailable:
                _log.warning("could not leave the group, the lease will run out", exc_info=True)
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this consumer is closed")

    def _check_assigned(self, partition: TopicPartition) -> None:
        if partition not in self._positions:
            raise BadInput(f"{_names([partition])} is not assigned to this consumer")

    def _poll_once(self, max_records: int) -> list[Record]:
        (change,) = self._connection.execute("PRAGMA data_version").fetchone()
        if change != self._seen_change:
            self._may_have_more = True
            self._keep_balance()
            self._seen_change = change  # last: what raised above is looked at again
        if not self._may_have_more:
            return []
        records = self._fetch(max_records)
        self._may_have_more = bool(records)
        return records

    def _keep_balance(self) -> None:
        generation = self._membership.generation(self._connection)
        if generation == self._seen_generation:
            return
        # Step 1: join; a member that the others gave up has lost everything, and joins anew.
        if not self._membership.is_member(self._connection):
            self._lose_all()
            self._membership.join(self._connection)
        # Step 2: hand over what others should have: callback first, then the lease.
        plan = self._membership.plan(self._connection)
        if plan.surplus:
            try:
                self._revoke(partition for part_id, partition in self._placed() if part_id in plan.surplus)
            finally:
                self._membership.release(self._connection, plan.surplus)
        # Step 3: take what is free.
        if plan.available:
            self._membership.acquire(self._connection)
        self._assign(self._membership.owned(self._connection) - {part_id for part_id, _ in self._placed()})
        self._seen_generation = generation

    def _placed(self) -> list[tuple[int, TopicPartition]]:
        return [(self._ids[partition], partition) for partition in self._positions]

    def _lose_all(self) -> None:
        if self._positions:
            _log.warning(
                "lost all partitions",
                extra={"group": self._membership.group, "num_partitions": len(self._positions)},
            )
        self._revoke(self._positions)

    def _revoke(self, partitions: Iterable[TopicPartition]) -> None:
        partitions = frozenset(partitions)
        try:
            if partitions and self._on_revoked is not None:
                self._on_revoked(partitions)
        finally:
            for partition in partitions:
                del self._positions[partition]
            self._paused -= partitions

    def _assign(self, part_ids: Collection[int]) -> None:
        if not part_ids:
            return
        starts = {
            part_id: extent.start
            for part_id, extent in catalog.extents(self._connection, [*part_ids]).items()
        }
        committed = dict(
            self._connection.execute(
                "SELECT partition_id, next_offset FROM offsets WHERE group_name = ?",
                (self._membership.group,),
            ).fetchall()
        )
        for part_id in sorted(part_ids):
            self._positions[self._partitions[part_id]] = committed.get(part_id, starts[part_id])
        if self._on_assigned is not None:
            self._on_assigned(frozenset(self._partitions[part_id] for part_id in part_ids))

    def _fetch(self, max_records: int) -> list[Record]:
        active = [partition for partition in self._positions if partition not in self._paused]
        if not active:
            return []
        first = self._turn % len(active)
        active = active[first:] + active[:first]
        extents = catalog.extents(self._connection, [self._ids[partition] for partition in active])
        waiting = {}
        for partition in active:
            extent = extents[self._ids[partition]]
            if not extent.start <= self._positions[partition] <= extent.end:
                self._positions[partition] = extent.start  # removed by retention, or never written
            waiting[partition] = extent.end - self._positions[partition]
        records: list[Record] = []
        room_bytes = _POLL_BYTES
        shares = fair_shares(waiting, max_records)
        self._turn += places_on(waiting, shares)
        for partition, share in shares.items():
            fetched = self._read(partition, share, room_bytes)
            room_bytes -= sum(len(record.value) for record in fetched)
            records += fetched
        return records

    def _read(self, partition: TopicPartition, num: int, room_bytes: int) -> list[Record]:
        records: list[Record] = []
        if room_bytes <= 0:
            return records
        part_id = self._ids[partition]
        bounds = (record_id(part_id, self._positions[partition]), record_id(part_id + 1, 0), num)
        for row in self._connection.execute(SELECT_RECORDS, bounds):
            records.append(row_to_record(partition, row))
            room_bytes -= len(records[-1].value)
            if room_bytes <= 0:
                break
        if records:
            self._positions[partition] = records[-1].offset + 1
        return records


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{partition.topic}/{partition.partition}" for partition in sorted(partitions))
