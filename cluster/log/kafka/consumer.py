"""Reads Kafka as a member of a consumer group with cooperative rebalancing."""

import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Self

from kafka import KafkaConsumer as Client
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState, OffsetAndMetadata
from kafka.structs import TopicPartition as ClientPartition

from cluster.errors import LogUnavailable
from cluster.log.kafka.connection import Brokers
from cluster.log.kafka.fetching import FETCH_OPTIONS, record_of
from cluster.log.kafka.worker import Listener, Worker
from cluster.log.partitioner import fair_shares, places_on
from cluster.log.protocol import PartitionsCallback, Record, TopicPartition
from pipeline.errors import BadInput

_log = logging.getLogger(__name__)
Batches = dict[TopicPartition, list[Record]]

_REFILL_RECORDS = 500
_REBALANCE_STEP_MS = 200
_GRACE_S = 0.02
_SETTLE_S = 3.0
"""How long closing waits for the other members to join a rebalance: three of their heartbeats."""
_CLOSE_S = 30.0


class KafkaConsumer:
    """Reads records as a member of a group; one thread at a time.

    The client polls in a worker thread, so that callbacks run in the caller's, and for another reason: kafka-python
    3.0.12 forgets a rebalance if its poll times out meanwhile (it joins again, or never notices that it was
    evicted). The worker sees each rebalance through, while the caller's poll returns in time and resumes later.
    """

    def __init__(
        self, brokers: Brokers, group: str, topics: Sequence[str],
        on_assigned: PartitionsCallback | None, on_revoked: PartitionsCallback | None,
    ) -> None:  # fmt: skip
        self._brokers = brokers
        self._group = group
        self._fetched: dict[TopicPartition, deque[Record]] = {}
        self._paused: set[TopicPartition] = set()
        self._leaving: frozenset[TopicPartition] = frozenset()
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._turn = 0
        self._worker = Worker()
        self._polling: Future[None] | None = None
        self._arriving: Batches = {}
        """Filled by the worker's poll; touched here only when that is done, or stands still for a callback."""
        self._sought: dict[TopicPartition, int] = {}
        self._settle_until_s = math.inf
        self._closed = False
        timeouts = brokers.timeouts
        with brokers.translated("open a consumer on"):
            self._client = Client(
                **brokers.client_options(),
                **FETCH_OPTIONS,
                group_id=group,
                partition_assignment_strategy=[CooperativeStickyAssignor()],
                session_timeout_ms=int(1000 * timeouts.session_s),
                # Heartbeats tell of rebalances: until all members know, nobody reads on or can commit.
                heartbeat_interval_ms=1000,
                max_poll_interval_ms=int(1000 * timeouts.max_poll_interval_s),
            )
            listener = Listener(self._worker, self._client, self._assigned, self._revoked, self._lost)
            try:
                self._client.subscribe(topics=list(dict.fromkeys(topics)), listener=listener)
                self._learn(topics)
            except BaseException:
                self._client.close(timeout_ms=0)
                self._worker.stop()
                raise

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return up to `max_records`; see `cluster.log.protocol.Consumer.poll`."""
        self._check_open()
        deadline_s = time.monotonic() + timeout_s
        while True:
            num_waiting = sum(len(self._fetched[partition]) for partition in self._active())
            remaining_s = max(0.0, deadline_s - time.monotonic())
            if num_waiting < max_records:
                # With some records at hand this only looks after the group and takes what has already arrived.
                self._refill(max(_REFILL_RECORDS, max_records), 0.0 if num_waiting else remaining_s)
            records = self._take(max_records)
            if records or time.monotonic() >= deadline_s:
                return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the next offsets to read; see `cluster.log.protocol.Consumer.commit`."""
        self._check_open()
        moved = sorted(set(offsets) - self.assignment() - self._leaving)
        if moved:
            raise LogUnavailable(
                f"cannot commit {_names(moved)} for group {self._group!r}: not owned by this member (any more). "
                "Nothing was stored; drop their state, the new owner reads on from the last commit"
            )
        commits = {
            ClientPartition(*partition): OffsetAndMetadata(offset) for partition, offset in offsets.items()
        }
        with self._brokers.translated("commit to"):
            self._client.commit(commits)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Continue an assigned partition at `offset`."""
        self._check_assigned(partition)
        if offset < 0:
            raise BadInput(f"cannot seek {_names([partition])} to {offset}: offsets start at 0")
        self._fetched.pop(partition, None)
        self._client.seek(ClientPartition(*partition), offset)
        if self._polling is not None and not self._worker.serving:
            self._sought[partition] = offset  # the worker may be reading on from the old place

    def position(self, partition: TopicPartition) -> int:
        """Return the offset that the next poll reads first."""
        self._check_assigned(partition)
        if fetched := self._fetched.get(partition):
            return fetched[0].offset
        if partition in self._sought:
            return self._sought[partition]
        with self._brokers.translated("ask for a position on"):
            timeout_ms = int(1000 * self._brokers.timeouts.request_s)
            offset = self._client.position(ClientPartition(*partition), timeout_ms=timeout_ms)
        if offset is None:
            raise LogUnavailable(f"Kafka at {self._brokers} does not say where {_names([partition])} starts")
        return int(offset)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Keep the partitions, but fetch nothing from them until `resume`."""
        for partition in partitions:
            self._check_assigned(partition)
            self._paused.add(partition)
            self._client.pause(ClientPartition(*partition))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch from paused partitions again."""
        for partition in partitions:
            self._check_assigned(partition)
            self._paused.discard(partition)
            self._client.resume(ClientPartition(*partition))

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions that this member owns now."""
        return frozenset(TopicPartition(*partition) for partition in self._client.assignment())

    def close(self) -> None:
        """Revoke what is owned, leave the group and free; closing twice is harmless."""
        if self._closed:
            return
        # While a rebalance is under way, on_revoked could not commit.
        self._settle_until_s = time.monotonic() + _SETTLE_S
        try:
            if self._polling is not None:
                self._worker.wait(self._polling, _CLOSE_S)
            leaving = self._worker.submit(lambda: self._client.close(timeout_ms=5000))
            if self._worker.wait(leaving, _CLOSE_S):
                leaving.result()
        except kafka_errors.KafkaError:
            _log.warning("could not leave the group, the session will run out", exc_info=True)
        finally:
            self._closed = True
            self._worker.stop()
        self._worker.raise_callback_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _learn(self, topics: Sequence[str]) -> None:
        """Have the client know the topics before it joins.

        It loses a topic's metadata request if another one is under way (kafka-python 3.0.12), and as leader of the
        group would then assign no partitions, one start in ten, until the metadata are refreshed after minutes.
        """
        start_s = self._brokers.timeouts.start_s
        for topic in topics:
            learning = self._worker.submit(partial(self._client.partitions_for_topic, topic))
            if not self._worker.wait(learning, start_s):
                raise LogUnavailable(
                    f"Kafka at {self._brokers} does not describe its topics within {start_s:g} s: check the broker"
                )
            learning.result()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this consumer is closed")

    def _check_assigned(self, partition: TopicPartition) -> None:
        if partition not in self.assignment():
            raise BadInput(f"{_names([partition])} is not assigned to this consumer")

    def _active(self) -> list[TopicPartition]:
        return [partition for partition in self._fetched if partition not in self._paused]

    def _refill(self, num_records: int, timeout_s: float) -> None:
        if self._polling is None:
            self._polling = self._worker.submit(lambda: self._poll_client(num_records, timeout_s))
        # What is at hand arrives a little after the time; what takes longer is a rebalance.
        if not self._worker.wait(self._polling, timeout_s + _GRACE_S):
            return
        polled, self._polling = self._polling, None
        self._take_over()
        with self._brokers.translated("read"):
            try:
                polled.result()
            except kafka_errors.KafkaError:
                self._worker.raise_callback_error()  # kafka-python wraps it in an error of its own
                raise
        self._worker.raise_callback_error()

    def _poll_client(self, num_records: int, timeout_s: float) -> None:
        """Poll in the worker thread, for longer than asked for while a rebalance is under way."""
        timeout_ms = int(1000 * timeout_s)
        while True:
            messages = self._client.poll(timeout_ms=timeout_ms, max_records=num_records)
            for partition, batch in messages.items():
                self._arriving.setdefault(TopicPartition(*partition), []).extend(map(record_of, batch))
            rebalancing = self._client.group_metadata().state == MemberState.REBALANCING
            if not rebalancing or time.monotonic() > self._settle_until_s:
                return
            # Without this the client may take the rebalance for done, and never join again.
            self._client._coordinator.request_rejoin()
            timeout_ms = _REBALANCE_STEP_MS

    def _take_over(self) -> None:
        arrived, self._arriving = self._arriving, {}
        sought, self._sought = self._sought, {}
        for partition, records in arrived.items():
            if partition not in sought:
                self._fetched.setdefault(partition, deque()).extend(records)
        for partition in sought.keys() & self.assignment():
            self._client.seek(ClientPartition(*partition), sought[partition])

    def _take(self, max_records: int) -> list[Record]:
        active = self._active()
        if not active:
            return []
        first = self._turn % len(active)
        waiting = {partition: len(self._fetched[partition]) for partition in active[first:] + active[:first]}
        records: list[Record] = []
        shares = fair_shares(waiting, max_records)
        self._turn += places_on(waiting, shares)
        for partition, share in shares.items():
            queue = self._fetched[partition]
            records += [queue.popleft() for _ in range(share)]
            if not queue:
                del self._fetched[partition]
        return records

    def _assigned(self, partitions: frozenset[TopicPartition]) -> None:
        if self._on_assigned is not None:
            self._on_assigned(partitions)

    def _revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self._leaving = partitions
        self._lost(partitions)

    def _lost(self, partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions:
            self._fetched.pop(partition, None)
            self._arriving.pop(partition, None)
            self._sought.pop(partition, None)
        self._paused -= partitions
        try:
            if self._on_revoked is not None:
                self._on_revoked(partitions)
        finally:
            self._leaving = frozenset()


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{partition.topic}/{partition.partition}" for partition in sorted(partitions))
