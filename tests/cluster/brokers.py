"""Starts Kafka brokers that a test may kill."""

import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cluster.log.security import KafkaSecurity

ROOT = Path(__file__).parents[2]
KAFKA_DIR = Path(os.environ.get("CAMWEAVE_KAFKA_DIR", ROOT / ".cache" / "kafka"))


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(number: int) -> int:
    """Find the first of so many ports in a row that nobody listens on, below those that the system hands out."""
    while True:
        first = random.randrange(20_000, 32_000)
        with ExitStack() as stack:
            try:
                for port in range(first, first + number):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return first


def jars_are_there() -> bool:
    """Tell whether Kafka has been fetched."""
    return any(KAFKA_DIR.glob("libs/kafka_2.13-*.jar"))


@dataclass
class OwnBroker:
    """Is a broker of this test alone, with its own port and data."""

    port: int
    data: Path

    def run(self, command: str) -> None:
        """Run `scripts/kafka.py start` or `stop` for it."""
        script = [sys.executable, str(ROOT / "scripts" / "kafka.py"), command, "--port", str(self.port)]
        done = subprocess.run(
            [*script, "--dir", str(KAFKA_DIR), "--data", str(self.data)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        os.kill(int((self.data / "kafka.pid").read_text()), signal.SIGKILL)


@dataclass
class OwnCluster:
    """Is three brokers of this test alone, with TLS and a user; each takes three ports."""

    port: int
    data: Path
    num_brokers: int = 3

    @property
    def servers(self) -> list[str]:
        """Where users sign in."""
        return [f"127.0.0.1:{self.port + 3 * number}" for number in range(self.num_brokers)]

    @property
    def certified_server(self) -> str:
        """Where a certificate is asked for instead."""
        return f"127.0.0.1:{self.port + 2}"

    def file(self, name: str) -> str:
        """Return the path of a certificate or of the password."""
        return str(self.data / "security" / name)

    def security(self) -> KafkaSecurity:
        """Return how it is reached."""
        return KafkaSecurity(
            security="sasl_tls", ca_file=self.file("ca.pem"), user="camweave", password_file=self.file("password")
        )  # fmt: skip

    def run(self, command: str, *more: str) -> None:
        """Run `scripts/kafka.py start` or `stop` for all, or for one with `--node N`."""
        script = [sys.executable, str(ROOT / "scripts" / "kafka.py"), command, "--port", str(self.port)]
        script += ["--dir", str(KAFKA_DIR), "--data", str(self.data)]
        done = subprocess.run(
            [*script, "--brokers", str(self.num_brokers), "--secure", *more],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def kill(self, node: int) -> None:
        """End one of them without a word."""
        os.kill(int((self.data / f"broker-{node}" / "kafka.pid").read_text()), signal.SIGKILL)
