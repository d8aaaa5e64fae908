"""Reads Kafka as a member of a consumer group with cooperative rebalancing."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from kafka import KafkaConsumer as Client
from kafka import errors as kafka_errors
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.future import Future as ClientFuture
from kafka.structs import MemberState, OffsetAndMetadata
from kafka.structs import TopicPartition as ClientPartition

from cluster.errors import LogUnavailable
from cluster.log.kafka.connection import Brokers
from cluster.log.partitioner import fair_shares
from cluster.log.protocol import PartitionsCallback, Record, TopicPartition
from pipeline.errors import BadInput

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FETCH_OPTIONS: Mapping[str, Any] = {
    # 500 frames of 64 kB, or 16 of 2 MB: what a shard holds unread at most, twice (one fetch travels meanwhile).
    "fetch_max_bytes": 32_000_000,
    # Small enough that a backlog of one camera does not fill the fetch; a larger record still comes through.
    "max_partition_fetch_bytes": 2_000_000,
    "fetch_max_wait_ms": 200,
    # Kept: Kafka's own default, latest, would skip what was produced before the first assignment.
    "auto_offset_reset": "earliest",
    "enable_auto_commit": False,
    "allow_auto_create_topics": False,
}
_REFILL_RECORDS = 500
_SETTLE_S = 3.0
"""Three heartbeats: how long the other members may take to join a rebalance."""


class KafkaConsumer:
    """Reads records as a member of a group; one thread at a time.

    kafka-python calls rebalance listeners in its network thread, where they could not commit. So `poll` runs in a
    worker thread, and the caller's thread meanwhile serves the callbacks that the listener asks for.
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
        self._callback_error: BaseException | None = None
        self._turn = 0
        self._closed = False
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._asks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
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
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-poll")
            try:
                self._learn(topics)
                self._client.subscribe(topics=list(dict.fromkeys(topics)), listener=_Listener(self))
            except BaseException:
                self._client.close(timeout_ms=0)
                raise

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return up to `max_records`; see `cluster.log.protocol.Consumer.poll`."""
        self._check_open()
        num_waiting = sum(len(self._fetched[partition]) for partition in self._active())
        if num_waiting < max_records:
            # With some records at hand this only looks after the group and takes what has already arrived.
            self._refill(max(_REFILL_RECORDS, max_records), 0.0 if num_waiting else timeout_s)
        return self._take(max_records)

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

    def position(self, partition: TopicPartition) -> int:
        """Return the offset that the next poll reads first."""
        self._check_assigned(partition)
        if fetched := self._fetched.get(partition):
            return fetched[0].offset
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
        try:
            self._settle()
            self._in_worker(lambda: self._client.close(timeout_ms=5000))
        except kafka_errors.KafkaError:
            _log.warning("could not leave the group, the session will run out", exc_info=True)
        finally:
            self._closed = True
            self._worker.shutdown()
        self._raise_callback_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _learn(self, topics: Sequence[str]) -> None:
        """Have the client know the topics before it joins.

        It loses a topic's metadata request if another one is under way (kafka-python 3.0.12), and as leader of the
        group would then assign no partitions, one start in ten, until the metadata are refreshed after minutes.
        """
        try:
            for topic in topics:
                self._worker.submit(self._client.partitions_for_topic, topic).result(
                    self._brokers.timeouts.start_s
                )
        except TimeoutError as error:
            raise LogUnavailable(
                f"Kafka at {self._brokers} does not describe its topics within {self._brokers.timeouts.start_s:g} s: "
                "check the broker"
            ) from error

    def _settle(self) -> None:
        """See a rebalance through that is under way, or `on_revoked` could not commit."""
        deadline_s = time.monotonic() + _SETTLE_S
        while (
            self._client.group_metadata().state == MemberState.REBALANCING and time.monotonic() < deadline_s
        ):
            self._in_worker(lambda: self._client.poll(timeout_ms=100, max_records=1))

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this consumer is closed")

    def _check_assigned(self, partition: TopicPartition) -> None:
        if partition not in self.assignment():
            raise BadInput(f"{_names([partition])} is not assigned to this consumer")

    def _active(self) -> list[TopicPartition]:
        return [partition for partition in self._fetched if partition not in self._paused]

    def _refill(self, num_records: int, timeout_s: float) -> None:
        with self._brokers.translated("read"):
            try:
                batches = self._in_worker(
                    lambda: self._client.poll(timeout_ms=int(1000 * timeout_s), max_records=num_records)
                )
            except kafka_errors.KafkaError:
                self._raise_callback_error()  # kafka-python wraps it in an error of its own
                raise
        for client_partition, batch in batches.items():
            queue = self._fetched.setdefault(TopicPartition(*client_partition), deque())
            queue.extend(map(record_of, batch))
        self._raise_callback_error()

    def _take(self, max_records: int) -> list[Record]:
        active = self._active()
        if not active:
            return []
        self._turn += 1
        first = self._turn % len(active)
        waiting = {partition: len(self._fetched[partition]) for partition in active[first:] + active[:first]}
        records: list[Record] = []
        for partition, share in fair_shares(waiting, max_records).items():
            queue = self._fetched[partition]
            records += [queue.popleft() for _ in range(share)]
            if not queue:
                del self._fetched[partition]
        return records

    def _in_worker(self, job: Callable[[], _T]) -> _T:
        """Run a job of the client in the worker, and its callbacks here meanwhile."""
        running = self._worker.submit(job)
        running.add_done_callback(lambda _: self._asks.put(None))
        while (ask := self._asks.get()) is not None:
            ask()
        return running.result()

    async def _serve(self, callback: PartitionsCallback, partitions: frozenset[TopicPartition]) -> None:
        """Have the caller's thread run a callback, while the network thread goes on with heartbeats."""
        served = ClientFuture()

        def ask() -> None:
            try:
                callback(partitions)
            except BaseException as error:  # noqa: BLE001 (raised again by the poll that asked)
                self._callback_error = self._callback_error or error
            # Only its own thread may complete what the network thread waits for.
            self._client._net.call_soon_threadsafe(lambda: served.success(None))

        self._asks.put(ask)
        await served

    def _assigned(self, partitions: frozenset[TopicPartition]) -> None:
        if self._on_assigned is not None:
            self._on_assigned(partitions)

    def _revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self._leaving = partitions
        self._lost(partitions)

    def _lost(self, partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions:
            self._fetched.pop(partition, None)
        self._paused -= partitions
        try:
            if self._on_revoked is not None:
                self._on_revoked(partitions)
        finally:
            self._leaving = frozenset()

    def _raise_callback_error(self) -> None:
        error, self._callback_error = self._callback_error, None
        if error is not None:
            raise error


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python is untyped
    """Passes rebalances on; an asynchronous listener, because only these may wait."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_assigned(self, assigned: Iterable[ClientPartition]) -> None:
        await self._consumer._serve(self._consumer._assigned, _ours(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[ClientPartition]) -> None:
        await self._consumer._serve(self._consumer._revoked, _ours(revoked))

    async def on_partitions_lost(self, lost: Iterable[ClientPartition]) -> None:
        await self._consumer._serve(self._consumer._lost, _ours(lost))


def _ours(partitions: Iterable[ClientPartition]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(*partition) for partition in partitions)


def record_of(message: Any) -> Record:
    """Build our record of kafka-python's."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.timestamp,
        message.key,
        message.value or b"",
        tuple(message.headers),
    )


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{partition.topic}/{partition.partition}" for partition in sorted(partitions))
