"""Fetches, starts and stops a real Apache Kafka on this machine, for tests and for trying things out.

    python scripts/kafka.py fetch|start|stop|status [--dir .cache/kafka] [--port 9092] [--data DIR]
                            [--brokers 3] [--secure] [--node N]

It listens on loopback only. Needs Java 17 or newer, and Maven for `fetch` (once; `start` fetches if needed).
Brokers on different ports share the jars. With --secure, clients need TLS and a user with a password (SCRAM) on a
broker's first port, or a certificate on its third; `security/client.env` in the data folder tells camweave how.
"""

import argparse
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafka_secrets import Secrets

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.3"
START_S = 60
STOP_S = 30
CLUSTER_STOP_S = 5
PORTS_A_BROKER = 3
"""For clients, for the quorum of controllers, and for those who show a certificate."""
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
class Cluster:
    """Is the brokers that are started together, often only one."""

    libs: Path
    port: int
    data: Path
    num_brokers: int = 1
    secure: bool = False

    def brokers(self) -> "list[Broker]":
        """Return all of them."""
        alone = self.num_brokers == 1
        return [
            Broker(self, node, self.data if alone else self.data / f"broker-{node}")
            for node in range(1, self.num_brokers + 1)
        ]

    def secrets(self) -> "Secrets":
        """Return its certificates and passwords."""
        from kafka_secrets import Secrets  # late: a plain broker needs no `cryptography`

        return Secrets(self.data / "security")

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

    def start(self, brokers: "Sequence[Broker]") -> None:
        """Start those of the brokers that do not run, and wait until all answer."""
        waiting = []
        for broker in brokers:
            if broker.pid() is not None and broker.answers():
                print(f"Kafka already runs on 127.0.0.1:{broker.port} (pid {broker.pid()})")
            else:
                broker.check_ports()
                waiting.append(broker)
        if waiting:
            self.fetch()
            java = required(
                "java", "install Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
            )
            if self.secure:
                self.secrets().prepare()
            # All at once, here and below: a start is a second or two of Java warming up, and then waiting for others.
            formatting = [broker.format(java) for broker in waiting]
            for one in formatting:
                finish_formatting(one)
            started = [(broker, broker.launch(java)) for broker in waiting]
            for broker, process in started:
                broker.await_answer(process)
                print(
                    f"Kafka {KAFKA_VERSION} runs on 127.0.0.1:{broker.port} (pid {process.pid}, log {broker.log})"
                )
        if self.secure:
            servers = ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers())
            print(f". {self.secrets().write_client_settings()} && camweave demo --kafka {servers}")

    def stop(self, brokers: "Sequence[Broker]") -> None:
        """End the brokers in order and wait for them; those that do not run are left alone."""
        running = [(broker, pid) for broker in brokers if (pid := broker.pid()) is not None]
        if not running:
            print(f"no Kafka of {self.data} runs")
        for _, pid in running:
            os.kill(pid, signal.SIGTERM)
        for broker, pid in running:
            broker.await_end(pid)
            print(f"Kafka on port {broker.port} has ended")
        for broker in brokers:
            broker.pid_file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Broker:
    """Is one broker: its number from 1 on, and its files."""

    cluster: Cluster
    node: int
    data: Path

    @property
    def port(self) -> int:
        """Where its clients connect; it takes the next one or two ports as well."""
        return self.cluster.port + PORTS_A_BROKER * (self.node - 1)

    @property
    def log(self) -> Path:
        """What the broker prints."""
        return self.data / "kafka.log"

    @property
    def pid_file(self) -> Path:
        """The process id of the running broker."""
        return self.data / "kafka.pid"

    def check_ports(self) -> None:
        """Refuse to touch ports that another program listens on."""
        for port in range(self.port, self.port + (3 if self.cluster.secure else 2)):
            if port_in_use(port):
                raise KafkaFailed(
                    f"port {port} is in use by another program: end it, or choose another with --port "
                    "(Kafka takes that port and the next; the next two with --secure)"
                )

    def settings(self) -> dict[str, str]:
        """Return what the broker reads at its start."""
        num_brokers = self.cluster.num_brokers
        voters = [f"{broker.node}@127.0.0.1:{broker.port + 1}" for broker in self.cluster.brokers()]
        names = {"CLIENTS": 0, "CERTIFIED": 2} if self.cluster.secure else {"PLAINTEXT": 0}
        listeners = [f"{name}://127.0.0.1:{self.port + step}" for name, step in names.items()]
        replicas, in_sync = str(min(3, num_brokers)), str(min(2, num_brokers))
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(self.node),
            "controller.quorum.voters": ",".join(voters),
            "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{self.port + 1}"]),
            "advertised.listeners": ",".join(listeners),
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str((self.data / "records").resolve()),
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(8 * 1024 * 1024),
            "replica.fetch.max.bytes": str(8 * 1024 * 1024),
            "num.network.threads": "2",
            "num.io.threads": "4",
            # A quarter of the heap by default, for topics that are larger than ours.
            "log.cleaner.dedupe.buffer.size": str(32 * 1024 * 1024),
        }
        extra = self.cluster.secrets().broker_settings() if self.cluster.secure else {}
        return settings | (extra or {"inter.broker.listener.name": "PLAINTEXT"})

    def format(self, java: str) -> "subprocess.Popen[str] | None":
        """Write the configuration, and begin to prepare the storage, unless that was done before."""
        self.data.mkdir(parents=True, exist_ok=True)
        (self.data / "log4j2.properties").write_text(LOG4J)
        lines = [f"{name}={value}\n" for name, value in self.settings().items()]
        (self.data / "server.properties").write_text("".join(lines))
        if (self.data / "records" / "meta.properties").exists():
            return None
        identity = uuid.uuid5(uuid.NAMESPACE_URL, str(self.cluster.data)).hex[:22]
        arguments = ["format", "-t", identity, "-c", str(self.data / "server.properties")]
        if self.cluster.secure:
            arguments += self.cluster.secrets().scram_arguments()
        return subprocess.Popen(
            [*self.java(java), "kafka.tools.StorageTool", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def java(self, java: str) -> list[str]:
        """Return how Java is called; three brokers on one machine have to be modest."""
        heap = ["-Xms256m", "-Xmx512m"] if self.cluster.num_brokers == 1 else ["-Xms128m", "-Xmx320m"]
        logging = f"-Dlog4j2.configurationFile={self.data / 'log4j2.properties'}"
        return [java, *heap, logging, "-cp", f"{self.cluster.libs.resolve()}/*"]

    def launch(self, java: str) -> "subprocess.Popen[bytes]":
        """Start the process."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self.java(java), "kafka.Kafka", str(self.data / "server.properties")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.pid_file.write_text(f"{process.pid}\n")
        return process

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

    def await_end(self, pid: int) -> None:
        """Return once the broker has ended."""
        # The last ones of a cluster wait for a majority that has ended before them.
        patience_s = STOP_S if self.cluster.num_brokers == 1 else CLUSTER_STOP_S
        deadline_s = time.monotonic() + patience_s
        while self.pid() is not None:
            if time.monotonic() > deadline_s:
                if self.cluster.num_brokers == 1:
                    raise KafkaFailed(f"Kafka (pid {pid}) did not end within {patience_s} s: see {self.log}")
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

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
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as plain:
                connection = plain
                if self.cluster.secure:
                    # No secret is said, and whose certificate it is does not matter.
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                    connection = context.wrap_socket(plain)
                with connection:
                    connection.sendall(API_VERSIONS_REQUEST)
                    return receive(connection, 8)[4:8] == API_VERSIONS_REQUEST[8:12]
        except OSError:
            return False


def finish_formatting(process: "subprocess.Popen[str] | None") -> None:
    """Wait until the storage is prepared."""
    if process is not None and (said := process.communicate()[0]) is not None and process.returncode:
        raise KafkaFailed(f"the storage could not be formatted: {said.strip()[-800:]}")


def receive(connection: socket.socket, num_bytes: int) -> bytes:
    """Return so many bytes, or fewer if no more come."""
    received = b""
    while len(received) < num_bytes and (part := connection.recv(num_bytes - len(received))):
        received += part
    return received


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
    parser.add_argument("--data", type=Path, help="where the records lie (default DIR/PORT)")
    parser.add_argument(
        "--brokers", type=int, default=1, help="how many; each is three ports from the one before"
    )
    parser.add_argument("--secure", action="store_true", help="speak TLS, and let only known users in")
    parser.add_argument("--node", type=int, help="start or stop only this one of the brokers (from 1 on)")
    options = parser.parse_args()
    cluster = Cluster(
        libs=options.dir / "libs", port=options.port, num_brokers=options.brokers, secure=options.secure,
        data=(options.data or options.dir / str(options.port)).resolve(),
    )  # fmt: skip
    brokers = [one for one in cluster.brokers() if options.node in {None, one.node}]
    try:
        if not brokers:
            raise KafkaFailed(f"there is no broker {options.node} of {options.brokers}")
        if options.command == "status":
            running = [broker.pid() is not None and broker.answers() for broker in brokers]
            for broker, runs in zip(brokers, running, strict=True):
                print(f"Kafka {'runs' if runs else 'does not run'} on 127.0.0.1:{broker.port}")
            return 0 if all(running) else 3
        if options.command == "fetch":
            cluster.fetch()
        else:
            (cluster.start if options.command == "start" else cluster.stop)(brokers)
    except KafkaFailed as error:
        print(f"kafka.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
