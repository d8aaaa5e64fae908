"""Says how clients reach the brokers, and translates every kafka-python error at this one edge."""

import importlib.util
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import errors as kafka_errors

from cluster.errors import LogUnavailable
from pipeline.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTimeouts:
    """Bounds how long the broker may be away before someone is told."""

    start_s: float = 10.0
    """From opening a client to its first answer."""
    request_s: float = 15.0
    """One request to a broker that is connected."""
    delivery_s: float = 120.0
    """From `produce` to being durable; a record that takes longer is given up, and the producer with it."""
    block_s: float = 60.0
    """How long `produce` waits for room in a full buffer."""
    session_s: float = 10.0
    """A member not heard of for so long is dead, and its partitions move."""
    max_poll_interval_s: float = 300.0
    """A member that lives but does not poll for so long counts as dead too."""


@dataclass(frozen=True, slots=True)
class Brokers:
    """Names the brokers of one cluster."""

    servers: tuple[str, ...]
    timeouts: KafkaTimeouts

    def __str__(self) -> str:
        return ",".join(self.servers)

    def client_options(self) -> dict[str, Any]:
        """Return what producers, consumers and the admin client have in common."""
        return {
            "bootstrap_servers": list(self.servers),
            "client_id": "camweave",
            "request_timeout_ms": int(1000 * self.timeouts.request_s),
            # The default backs off up to 30 s: a broker that is back would be ignored for as long.
            "reconnect_backoff_max_ms": 1000,
            "metrics_enabled": False,
            "bootstrap_timeout_ms": int(1000 * self.timeouts.start_s),
        }

    def require(self) -> None:
        """Wait until one broker accepts connections; raises LogUnavailable after `start_s`.

        kafka-python's own wait leaves a thread behind when it fails, and does not say why it failed.
        """
        deadline_s = time.monotonic() + self.timeouts.start_s
        while True:
            causes = [cause for server in self.servers if (cause := _cannot_connect(server))]
            if len(causes) < len(self.servers):
                return
            if time.monotonic() > deadline_s:
                raise LogUnavailable(
                    f"no Kafka broker at {self} within {self.timeouts.start_s:g} s ({'; '.join(causes)}): start it "
                    "(`make kafka` starts one on this machine), correct the address, or leave Kafka out to use the "
                    "embedded log"
                )
            time.sleep(0.2)

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn kafka-python's errors into ours; misuse of the library stays what it is."""
        try:
            yield
        except kafka_errors.CommitFailedError as error:
            raise LogUnavailable(
                f"cannot {doing} Kafka at {self}: this member is no longer part of the group ({_text(error)}). "
                "Nothing was stored; poll again, the new owner reads on from the last commit"
            ) from error
        except kafka_errors.RebalanceInProgressError as error:
            raise LogUnavailable(
                f"cannot {doing} Kafka at {self}: its group is being rebalanced. Nothing was stored; poll until the "
                "partitions are settled, a later commit covers this one"
            ) from error
        except kafka_errors.MessageSizeTooLargeError as error:
            raise BadInput(
                f"Kafka at {self} refuses the record ({_text(error)}): raise the topic's max.message.bytes to 8 MiB"
            ) from error
        except kafka_errors.AuthorizationError as error:
            raise LogUnavailable(
                f"Kafka at {self} does not allow to {doing} it ({_text(error)}): grant the right"
            ) from error
        except (kafka_errors.IllegalStateError, kafka_errors.IllegalArgumentError):
            raise
        except kafka_errors.KafkaError as error:
            raise LogUnavailable(
                f"cannot {doing} Kafka at {self} ({_text(error)}): check the broker's log; trying again resumes"
            ) from error


def require_crc32c() -> None:
    """Raise LogUnavailable unless checksums are computed in C.

    In Python they take 11 ms for a 64 kB frame instead of 0.2 ms; kafka-python falls back silently.
    """
    if importlib.util.find_spec("crc32c") is None:
        raise LogUnavailable(
            "the package crc32c is missing, without it Kafka is 60 times slower: pip install 'kafka-python[crc32c]'"
        )


def _cannot_connect(server: str) -> str | None:
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2.0):
            return None
    except OSError as error:
        return f"{server}: {error.strerror or error}"


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) != type(error).__name__ else str(error)
