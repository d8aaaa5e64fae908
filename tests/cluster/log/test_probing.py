"""Servers that a broker may turn out to be: TLS is real, what is said over it is the one answer that counts."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.errors import LogUnavailable
from cluster.log.kafka import KafkaLog
from cluster.log.security import KafkaSecurity
from scripts.kafka_secrets import Authority

NO_SASL_HERE = bytes.fromhex("0000000a00000001002200000000")


@contextmanager
def listener(context: ssl.SSLContext | None, answer: bytes) -> Iterator[str]:
    """Serve on a port, with TLS if there is a context; answers every request with the same bytes, or hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        served = context.wrap_socket(connection, server_side=True) if context else connection
                        if served.recv(4096)[:1] == b"\0":  # of a request's length; TLS begins otherwise
                            served.sendall(answer)
                        served.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def broker_context(tmp_path: Path, certificate: bytes, key: bytes) -> ssl.SSLContext:
    (tmp_path / "broker.pem").write_bytes(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "broker.pem")
    return context


@pytest.fixture
def authority() -> Authority:
    return Authority("ours")


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> KafkaSecurity:
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    return KafkaSecurity(security="tls", ca_file=str(tmp_path / "ca.pem"))


def refusal(server: str, security: KafkaSecurity) -> str:
    with pytest.raises(LogUnavailable) as raised:
        KafkaLog([server], security=security).producer()
    assert server in str(raised.value)
    return str(raised.value)


def test_an_expired_certificate_is_told_from_others(
    authority: Authority, tls: KafkaSecurity, tmp_path: Path
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    pair = authority.sign("broker", hosts=("127.0.0.1",), until=yesterday)
    with listener(broker_context(tmp_path, *pair), b"") as server:
        assert "its certificate has expired: renew it on the broker" in refusal(server, tls)


def test_a_certificate_that_is_not_valid_yet_points_to_the_clock(
    authority: Authority, tls: KafkaSecurity, tmp_path: Path
) -> None:
    pair = authority.sign("broker", hosts=("127.0.0.1",), until=datetime.now(UTC) + timedelta(days=30))
    with listener(broker_context(tmp_path, *pair), b"") as server:
        assert "not valid yet: look at this machine's clock" in refusal(server, tls)


@pytest.mark.parametrize("hosts", [("broker.example",), ("10.0.0.1",)])
def test_a_certificate_of_another_host_is_told_from_others(
    hosts: tuple[str, ...], authority: Authority, tls: KafkaSecurity, tmp_path: Path
) -> None:
    pair = authority.sign("broker", hosts=hosts)
    with listener(broker_context(tmp_path, *pair), b"") as server:
        assert "for another host, not for '127.0.0.1'" in refusal(server, tls)


def test_a_certificate_of_another_authority_names_the_one_that_is_trusted(
    tls: KafkaSecurity, tmp_path: Path
) -> None:
    pair = Authority("theirs").sign("broker", hosts=("127.0.0.1",))
    with listener(broker_context(tmp_path, *pair), b"") as server:
        assert f"signed by none of ca_file {tls.ca_file}" in refusal(server, tls)


def test_a_broker_without_tls_is_told_from_one_that_is_away(tls: KafkaSecurity) -> None:
    with listener(None, NO_SASL_HERE) as server:
        assert "it speaks plain text there, not TLS" in refusal(server, tls)


def test_a_broker_with_tls_is_told_from_one_that_is_away(authority: Authority, tmp_path: Path) -> None:
    pair = authority.sign("broker", hosts=("127.0.0.1",))
    with listener(broker_context(tmp_path, *pair), b"") as server:
        assert "it speaks TLS there: set `security: tls` or `sasl_tls`" in refusal(server, KafkaSecurity())


@pytest.mark.parametrize("answer", [b"\x7f\xff\xff\xff" + b"x" * 4000, b"\0\0\0\x06\0\0\0\x01\0", b"\0"])
def test_a_peer_that_answers_nonsense_is_bounded_and_named(answer: bytes) -> None:
    from cluster.log.kafka.connection import KafkaTimeouts

    with listener(None, answer) as server:
        log = KafkaLog([server], timeouts=KafkaTimeouts(start_s=0.5, request_s=1.0))
        with pytest.raises(LogUnavailable, match=server):
            log.end_offsets("frames")
