"""Fetches, starts and stops a real Apache Kafka on this machine, for tests and for trying things out.

    python scripts/kafka.py fetch|start|stop|status [--dir .cache/kafka] [--port 9092] [--data DIR]

It listens on loopback only. Needs Java 17 or newer, and Maven for `fetch` (once; `start` fetches if needed).
Brokers on different ports share the jars.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.3"
START_S = 60
STOP_S = 30
API_VERSIONS_REQUEST = bytes.fromhex("0000000a0012000000000001ffff")
"""The smallest question of Kafka's protocol, version 0: whoever answers it with the same id is a Kafka."""

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>camweave</groupId><artifactId>kafka-runtime</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""

LOG4J = """\
rootLogger.level = WARN
rootLogger.appenderRef.stdout.ref = stdout
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
"""


class KafkaFailed(Exception):
    """Says that the broker could not be fetched, started or stopped, and what to do."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Is one broker: its jars, its port and its files."""

    libs: Path
    port: int
    data: Path

    @property
    def log(self) -> Path:
        """What the broker prints."""
        return self.data / "kafka.log"

    @property
    def pid_file(self) -> Path:
        """The process id of the running broker."""
        return self.data / "kafka.pid"

    def fetch(self) -> None:
        """Collect the jars with Maven, unless this version is there."""
        if any(self.libs.glob(f"kafka_2.13-{KAFKA_VERSION}.jar")):
            return
        maven = required("mvn", "install Maven (Debian: apt-get install maven)")
        self.libs.parent.mkdir(parents=True, exist_ok=True)
        pom = self.libs.parent / "pom.xml"
        pom.write_text(POM)
        shutil.rmtree(self.libs, ignore_errors=True)
        partial = self.libs.with_name("libs.partial")
        shutil.rmtree(partial, ignore_errors=True)
        print(f"fetching Apache Kafka {KAFKA_VERSION} (44 MB) into {self.libs}")
        goal = ["-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={partial.resolve()}"]
        done = subprocess.run([maven, "-q", "-B", *goal], capture_output=True, text=True, check=False)
        if done.returncode:
            raise KafkaFailed(
                f"Maven could not fetch Kafka {KAFKA_VERSION}: {(done.stdout + done.stderr).strip()[-800:]}\n"
                "Is Maven Central, or the mirror in ~/.m2/settings.xml, reachable?"
            )
        partial.rename(self.libs)

    def start(self) -> None:
        """Start the broker and wait until it answers; does nothing if it runs already."""
        if self.pid() is not None and self.answers():
            print(f"Kafka already runs on 127.0.0.1:{self.port} (pid {self.pid()})")
            return
        for port in (self.port, self.port + 1):
            if port_in_use(port):
                raise KafkaFailed(
                    f"port {port} is in use by another program: end it, or choose another with --port "
                    "(Kafka takes that port and the next)"
                )
        self.fetch()
        java = required("java", "install Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)")
        self.write_configuration()
        command = [
            java,
            "-Xms256m",
            "-Xmx512m",
            f"-Dlog4j2.configurationFile={self.data / 'log4j2.properties'}",
        ]
        command += ["-cp", f"{self.libs.resolve()}/*"]
        self.format(command)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*command, "kafka.Kafka", str(self.data / "server.properties")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.pid_file.write_text(f"{process.pid}\n")
        self.await_answer(process)
        print(f"Kafka {KAFKA_VERSION} runs on 127.0.0.1:{self.port} (pid {process.pid}, log {self.log})")

    def write_configuration(self) -> None:
        """Write what the broker reads at its start."""
        self.data.mkdir(parents=True, exist_ok=True)
        (self.data / "log4j2.properties").write_text(LOG4J)
        controller = f"127.0.0.1:{self.port + 1}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str((self.data / "records").resolve()),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(8 * 1024 * 1024),
            "replica.fetch.max.bytes": str(8 * 1024 * 1024),
            "num.network.threads": "2",
            "num.io.threads": "4",
        }
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        (self.data / "server.properties").write_text("".join(lines))

    def format(self, java: list[str]) -> None:
        """Prepare the storage, once."""
        if (self.data / "records" / "meta.properties").exists():
            return
        cluster = uuid.uuid4().hex[:22]
        arguments = [
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster,
            "-c",
            str(self.data / "server.properties"),
        ]
        done = subprocess.run([*java, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise KafkaFailed(
                f"the storage could not be formatted: {(done.stdout + done.stderr).strip()[-800:]}"
            )

    def await_answer(self, process: "subprocess.Popen[bytes]") -> None:
        """Return once the broker answers; if it does not, end it and say what its log says."""
        deadline_s = time.monotonic() + START_S
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline_s:
                process.kill()
                self.pid_file.unlink(missing_ok=True)
                tail = self.log.read_text(errors="replace")[-1200:]
                raise KafkaFailed(f"Kafka did not start within {START_S} s; the end of {self.log}:\n{tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the broker in order and wait for it; does nothing if it does not run."""
        pid = self.pid()
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            print(f"no Kafka of {self.data} runs")
            return
        os.kill(pid, signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        while self.pid() is not None:
            if time.monotonic() > deadline_s:
                raise KafkaFailed(f"Kafka (pid {pid}) did not end within {STOP_S} s: see {self.log}")
            time.sleep(0.1)
        self.pid_file.unlink(missing_ok=True)
        print(f"Kafka on port {self.port} has ended")

    def pid(self) -> int | None:
        """Return the broker's process id, if it is alive and indeed this broker."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # a child of ours that has ended would look alive
        ps = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return pid if str(self.data / "server.properties") in ps.stdout else None

    def answers(self) -> bool:
        """Tell whether a Kafka answers on the port."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.settimeout(2)
                connection.sendall(API_VERSIONS_REQUEST)
                return connection.recv(8, socket.MSG_WAITALL)[4:8] == API_VERSIONS_REQUEST[8:12]
        except OSError:
            return False


def port_in_use(port: int) -> bool:
    """Tell whether anything listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def required(program: str, remedy: str) -> str:
    """Return where a program is."""
    path = shutil.which(program)
    if path is None:
        raise KafkaFailed(f"{program} is not installed: {remedy}")
    return path


def main() -> int:
    """Do what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=["fetch", "start", "stop", "status"])
    parser.add_argument("--dir", type=Path, default=Path(".cache/kafka"), help="where jars and data lie")
    parser.add_argument("--port", type=int, default=9092, help="this port and the next are used")
    parser.add_argument("--data", type=Path, help="where this broker's records lie (default DIR/PORT)")
    options = parser.parse_args()
    data = (options.data or options.dir / str(options.port)).resolve()
    broker = Broker(libs=options.dir / "libs", port=options.port, data=data)
    try:
        if options.command == "status":
            running = broker.pid() is not None and broker.answers()
            print(f"Kafka {'runs' if running else 'does not run'} on 127.0.0.1:{broker.port}")
            return 0 if running else 3
        {"fetch": broker.fetch, "start": broker.start, "stop": broker.stop}[options.command]()
    except KafkaFailed as error:
        print(f"kafka.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
