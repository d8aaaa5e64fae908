"""Starts Kafka brokers that a test may kill."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KAFKA_DIR = Path(os.environ.get("CAMWEAVE_KAFKA_DIR", ROOT / ".cache" / "kafka"))


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
