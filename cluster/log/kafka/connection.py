"""Says how clients reach the brokers, and translates every kafka-python error at this one edge."""

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafka import errors as kafka_errors

from cluster.errors import LogUnavailable
from cluster.log.kafka.probing import Refusal, probe
from cluster.log.kafka.securing import security_options
from cluster.log.security import KafkaSecurity
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
    """Names the brokers of one cluster, and how they are reached."""

    servers: tuple[str, ...]
    timeouts: KafkaTimeouts
    security: KafkaSecurity = field(default_factory=KafkaSecurity)

    def __str__(self) -> str:
        return ",".join(self.servers)

    def client_options(self) -> dict[str, Any]:
        """Return what producers, consumers and the admin client have in common; never log it.

        Certificates and the password are read anew, so that clients opened later follow what was renewed.

        Raises:
            BadConfig: a certificate or a password cannot be read.
        """
        return {
            "bootstrap_servers": list(self.servers),
            "client_id": "camweave",
            "request_timeout_ms": int(1000 * self.timeouts.request_s),
            # The default backs off up to 30 s: a broker that is back would be ignored for as long.
            "reconnect_backoff_max_ms": 1000,
            "metrics_enabled": False,
            "bootstrap_timeout_ms": int(1000 * self.timeouts.start_s),
            **security_options(self.security),
        }

    def require(self) -> None:
        """Wait until one broker can be talked to, within `start_s`.

        kafka-python's own wait leaves a thread behind when it fails, and does not say why it failed.

        Raises:
            LogUnavailable: none can; at once, if waiting would not help.
            BadConfig: a certificate or a password cannot be read.
        """
        options = security_options(self.security)
        deadline_s = time.monotonic() + self.timeouts.start_s
        while True:
            refusals: dict[str, Refusal] = {}
            for server in self.servers:
                refusal = probe(server, self.security, options)
                if refusal is None:
                    return
                refusals[server] = refusal
            causes = "; ".join(f"{server}: {refusal.cause}" for server, refusal in refusals.items())
            if all(refusal.lasting for refusal in refusals.values()):
                raise LogUnavailable(f"Kafka at {self} cannot be talked to ({causes})")
            if time.monotonic() > deadline_s:
                raise LogUnavailable(
                    f"no Kafka broker at {self} within {self.timeouts.start_s:g} s ({causes}): start it "
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
        except kafka_errors.SaslAuthenticationFailedError as error:
            raise LogUnavailable(
                f"Kafka at {self} does not let user {self.security.user!r} in: the password in {self.security.password_place} is wrong, or "
                f"the broker has no such user for {self.security.mechanism} ({error}): correct `user` or the password"
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


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) != type(error).__name__ else str(error)
