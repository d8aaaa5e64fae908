"""Runs the blocking calls of a Kafka client in a thread, and its rebalance callbacks in the caller's thread."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from kafka import KafkaConsumer as Client
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.future import Future as ClientFuture
from kafka.structs import TopicPartition as ClientPartition

from cluster.log.protocol import PartitionsCallback, TopicPartition

_T = TypeVar("_T")


class Worker:
    """Is one thread that does jobs, one after the other, for one caller's thread.

    kafka-python calls rebalance listeners in its network thread, where they could neither flush nor commit. Here
    the network thread asks, and the caller's thread runs the callback while it waits for a job.
    """

    def __init__(self) -> None:
        self.serving = False
        """Whether the caller's thread is inside a callback; the worker stands still meanwhile."""
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._asks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._callback_error: BaseException | None = None
        # A daemon: a consumer that was not closed must not keep its process from ending.
        threading.Thread(target=self._run, name="log-poll", daemon=True).start()

    def submit(self, job: Callable[[], _T]) -> Future[_T]:
        """Have the thread do a job."""
        future: Future[_T] = Future()

        def do() -> None:
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 (raised again where the result is asked for)
                future.set_exception(error)
            self._asks.put(None)

        self._jobs.put(do)
        return future

    def wait(self, job: Future[Any], timeout_s: float) -> bool:
        """Run the callbacks that a job asks for; returns whether it is done within the time."""
        deadline_s = time.monotonic() + timeout_s
        while not job.done():
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                return False
            try:
                ask = self._asks.get(timeout=remaining_s)
            except Empty:
                continue
            if ask is not None:
                ask()
        return True

    def stop(self) -> None:
        """End the thread after its last job."""
        self._jobs.put(None)

    async def serve(self, client: Client, callback: PartitionsCallback, partitions: Iterable[Any]) -> None:
        """Ask for a callback from the network thread, which goes on with heartbeats until it has been run."""
        served = ClientFuture()
        ours = frozenset(TopicPartition(*partition) for partition in partitions)

        def ask() -> None:
            self.serving = True
            try:
                callback(ours)
            except BaseException as error:  # noqa: BLE001 (raised again by raise_callback_error)
                self._callback_error = self._callback_error or error
            finally:
                self.serving = False
                # Only its own thread may complete what the network thread waits for.
                client._net.call_soon_threadsafe(lambda: served.success(None))

        self._asks.put(ask)
        await served

    def raise_callback_error(self) -> None:
        """Raise what a callback raised since the last time."""
        error, self._callback_error = self._callback_error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python is untyped
    """Passes rebalances on to a worker; an asynchronous listener, because only these may wait."""

    def __init__(
        self, worker: Worker, client: Client, assigned: PartitionsCallback, revoked: PartitionsCallback,
        lost: PartitionsCallback,
    ) -> None:  # fmt: skip
        self._worker = worker
        self._client = client
        self._assigned = assigned
        self._revoked = revoked
        self._lost = lost

    async def on_partitions_assigned(self, assigned: Iterable[ClientPartition]) -> None:
        """Ask for the callback of partitions that this member has got."""
        await self._worker.serve(self._client, self._assigned, assigned)

    async def on_partitions_revoked(self, revoked: Iterable[ClientPartition]) -> None:
        """Ask for the callback of partitions that this member hands over."""
        await self._worker.serve(self._client, self._revoked, revoked)

    async def on_partitions_lost(self, lost: Iterable[ClientPartition]) -> None:
        """Ask for the callback of partitions that others may have already."""
        await self._worker.serve(self._client, self._lost, lost)
