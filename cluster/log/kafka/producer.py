"""Appends records to Kafka: idempotent, acknowledged by all replicas, in bounded memory."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from kafka import KafkaProducer as Client

from cluster.errors import LogUnavailable, RecordsLost
from cluster.log.checks import check_key, check_partition, record_size
from cluster.log.kafka.connection import Brokers
from cluster.log.partitioner import Partitioner
from cluster.log.protocol import Headers, Topic

MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""Above MAX_RECORD_BYTES, by what Kafka adds to a record."""
_BATCH_BYTES = 1_000_000
"""The default of 16 kB would send each frame in a batch of its own."""
_BUFFER_BYTES = 64_000_000
"""kafka-python bounds no buffer by itself."""


class KafkaProducer:
    """Appends records; one thread at a time."""

    def __init__(self, brokers: Brokers, describe: Callable[[str], Topic]) -> None:
        self._brokers = brokers
        self._describe = describe
        self._partitioner = Partitioner()
        self._topics: dict[str, Topic] = {}
        self._state = threading.Condition()  # guards the next three; deliveries come from the client's thread
        self._undelivered_bytes = 0
        self._num_undelivered = 0
        self._lost: Exception | None = None
        self._closed = False
        with brokers.translated("open a producer on"):
            self._client = Client(
                **brokers.client_options(),
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                batch_size=_BATCH_BYTES,
                max_request_size=MAX_REQUEST_BYTES,
                # JPEG does not compress further, and results are small beside it.
                compression_type=None,
                allow_auto_create_topics=False,
                delivery_timeout_ms=int(1000 * brokers.timeouts.delivery_s),
                max_block_ms=int(1000 * brokers.timeouts.start_s),
            )

    def produce(
        self, topic: str, value: bytes, *, key: bytes | None = None, headers: Headers = (),
        partition: int | None = None,
    ) -> None:  # fmt: skip
        """Buffer one record; see `cluster.log.protocol.Producer.produce`."""
        size = record_size(topic, value, key, headers)
        found = self._topics.get(topic) or self._find(topic)
        check_key(topic, key, found.compacted)
        if partition is None:
            partition = self._partitioner.choose(key, found.num_partitions)
        check_partition(topic, partition, found.num_partitions)
        self._reserve(size)
        try:
            with self._brokers.translated("produce to"):
                future = self._client.send(
                    topic, value=value, key=key, headers=list(headers), partition=partition
                )
        except BaseException:
            self._settle(size, None, None)
            raise
        future.add_callback(partial(self._settle, size, None))
        future.add_errback(partial(self._settle_failed, size))

    def flush(self, timeout_s: float = 60.0) -> None:
        """Return once all is acknowledged by all replicas; see `cluster.log.protocol.Producer.flush`."""
        self._check_open()
        self._flush(timeout_s)

    def close(self) -> None:
        """Flush and free; closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        try:
            self._flush(self._brokers.timeouts.block_s)
        finally:
            with self._brokers.translated("close a producer on"):
                if self._num_undelivered:
                    # The client's own close waits for what has just been reported as not durable.
                    self._client._sender.force_close()
                self._client.close(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this producer is closed")

    def _find(self, topic: str) -> Topic:
        found = self._topics[topic] = self._describe(topic)
        return found

    def _reserve(self, size: int) -> None:
        block_s = self._brokers.timeouts.block_s
        with self._state:
            self._check_open()
            self._state.wait_for(
                lambda: (
                    not self._num_undelivered or self._undelivered_bytes + size <= _BUFFER_BYTES or self._lost
                ),
                block_s,
            )
            self._raise_lost()
            if self._num_undelivered and self._undelivered_bytes + size > _BUFFER_BYTES:
                raise LogUnavailable(
                    f"Kafka at {self._brokers} has taken nothing for {block_s:g} s and {self._num_undelivered} "
                    "records wait: check the broker; producing again waits on"
                )
            self._undelivered_bytes += size
            self._num_undelivered += 1

    def _settle_failed(self, size: int, error: Exception) -> None:
        self._settle(size, error, None)

    def _settle(self, size: int, error: Exception | None, _metadata: Any) -> None:
        with self._state:
            self._undelivered_bytes -= size
            self._num_undelivered -= 1
            if error is not None and self._lost is None:
                self._lost = error
            self._state.notify_all()

    def _flush(self, timeout_s: float) -> None:
        # The client's own flush waits so long for each batch; without it, records leave after the linger time.
        with self._state:
            self._state.wait_for(lambda: not self._num_undelivered or self._lost, timeout_s)
            self._raise_lost()
            if self._num_undelivered:
                raise LogUnavailable(
                    f"{self._num_undelivered} records are not yet durable on Kafka at {self._brokers} after "
                    f"{timeout_s:g} s: check the broker; flushing again waits on"
                )

    def _raise_lost(self) -> None:
        if self._lost is not None:
            raise RecordsLost(
                f"Kafka at {self._brokers} has not taken a record ({type(self._lost).__name__}: {self._lost}), it is "
                "lost to this producer: open a new one and replay from the last commit"
            ) from self._lost
