"""Knocks at a broker, signs in where that is asked for, and says in words why it cannot be talked to.

kafka-python tries again until its time is up, whatever the reason, and then says only that it was.
"""

import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka.net.sasl import get_sasl_mechanism

from cluster.log.security import KafkaSecurity

_CONNECT_S = 2.0
_ANSWER_S = 1.0
_MAX_ANSWER_BYTES = 4096
_HANDSHAKE, _AUTHENTICATE = 17, 36  # requests of Kafka's protocol
_UNSUPPORTED_MECHANISM = 33
_NO_SASL_HERE = 34  # ILLEGAL_SASL_STATE
_UNTRUSTED = frozenset({18, 19, 20, 21})  # OpenSSL: self-signed, or by an issuer that is not known
_EXPIRED, _NOT_YET_VALID, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says why a broker cannot be talked to."""

    cause: str
    lasting: bool = False
    """Whether waiting is of no use."""


def probe(server: str, security: KafkaSecurity, options: Mapping[str, Any]) -> Refusal | None:
    """Return why a broker cannot be talked to, or None. A broker that is slow to answer is left to the client.

    Args:
        server: `HOST:PORT`.
        security: how it should be reached.
        options: what `security_options` makes of that.
    """
    host, _, port = server.rpartition(":")
    address = (host.strip("[]"), int(port))
    context = options.get("ssl_context")
    try:
        with socket.create_connection(address, timeout=_CONNECT_S) as connection:
            if context is None:
                return _talk_in_time(connection, security, options, address)
            try:
                with context.wrap_socket(connection, server_hostname=address[0]) as secured:
                    return _talk_in_time(secured, security, options, address)
            except ssl.SSLCertVerificationError as error:
                return Refusal(_in_words(error, address[0], security), lasting=True)
            except (ssl.SSLError, ConnectionError) as error:
                return _failed_handshake(error, security, address)
    except OSError as error:
        return Refusal(error.strerror or str(error))


def _talk_in_time(
    connection: socket.socket, security: KafkaSecurity, options: Mapping[str, Any], address: tuple[str, int]
) -> Refusal | None:
    connection.settimeout(_ANSWER_S)
    try:
        return _talk(connection, security, options, address)
    except TimeoutError:
        return None  # it may be busy: the client has more patience


def _talk(
    connection: socket.socket, security: KafkaSecurity, options: Mapping[str, Any], address: tuple[str, int]
) -> Refusal | None:
    try:
        answer = _ask(connection, security.mechanism.upper())
    except ConnectionError:
        if security.security != "plain":
            raise
        answer = None
    if answer is None:
        if security.security == "plain" and _speaks_tls(address):
            return Refusal(
                "it speaks TLS there: set `security: tls` or `sasl_tls` under `kafka:`", lasting=True
            )
        return None
    code, offered = answer
    if security.security != "sasl_tls":
        if code in {0, _UNSUPPORTED_MECHANISM}:
            return Refusal(
                "it asks for a user: set `security: sasl_tls`, `user` and `password_file` under `kafka:`",
                lasting=True,
            )
        return None
    if code == _NO_SASL_HERE:
        return Refusal("it knows no users there: set `security: tls`, or name its SASL port", lasting=True)
    if code == _UNSUPPORTED_MECHANISM:
        names = ", ".join(offered).lower()
        return Refusal(
            f"it does not know {security.mechanism}: set `mechanism` to one of {names}", lasting=True
        )
    return _sign_in(connection, security, options)


def _ask(connection: socket.socket, mechanism: str) -> tuple[int, list[str]] | None:
    """Return the answer to Kafka's SaslHandshake request: an error code, and the mechanisms that are offered.

    Every listener answers it, one without SASL by an error. None if it says nothing, or hangs up.
    """
    answer = _exchange(connection, _HANDSHAKE, 1, _text(mechanism.encode()))
    if answer is None or len(answer) < 6:
        return None
    code, count = struct.unpack_from(">hi", answer)
    place, offered = 6, []
    for _ in range(min(count, 16)):
        size = int.from_bytes(answer[place : place + 2])
        offered.append(answer[place + 2 : place + 2 + size].decode(errors="replace"))
        place += 2 + size
    return code, offered


def _sign_in(
    connection: socket.socket, security: KafkaSecurity, options: Mapping[str, Any]
) -> Refusal | None:
    mechanism = get_sasl_mechanism(options["sasl_mechanism"])(host="", **options)
    while not mechanism.is_done():
        token = mechanism.auth_bytes()
        answer = _exchange(connection, _AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
        if answer is None or len(answer) < 4:
            return None
        code, size = struct.unpack_from(">hh", answer)
        said = answer[4 : 4 + max(0, size)]
        if code:
            return Refusal(
                f"it does not let user {security.user!r} in ({said.decode(errors='replace')}): the password in "
                f"{security.password_place} is wrong, or it has no such user for {security.mechanism}",
                lasting=True,
            )
        try:
            mechanism.receive(answer[4 + max(0, size) + 4 :])
        except (ValueError, KeyError):
            return Refusal(
                "it does not prove that it knows the password: is it the right broker?", lasting=True
            )
    return None


def _exchange(connection: socket.socket, request: int, version: int, body: bytes) -> bytes | None:
    """Send one request and return what follows the answer's head; None if no whole answer comes."""
    message = struct.pack(">hhih", request, version, 1, -1) + body
    connection.sendall(struct.pack(">i", len(message)) + message)
    length = int.from_bytes(_receive(connection, 4), signed=True)
    if not 4 <= length <= _MAX_ANSWER_BYTES:
        return None
    answer = _receive(connection, length)
    return answer[4:] if len(answer) == length else None


def _receive(connection: socket.socket, num_bytes: int) -> bytes:
    received = b""
    while len(received) < num_bytes and (part := connection.recv(num_bytes - len(received))):
        received += part
    return received


def _text(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def _failed_handshake(error: OSError, security: KafkaSecurity, address: tuple[str, int]) -> Refusal:
    reason = (getattr(error, "reason", None) or "").upper()
    if ("ALERT" in reason and "CERTIFICATE" in reason) or "UNKNOWN_CA" in reason:
        if not security.certificate_file:
            return Refusal(
                "it asks for a client certificate: set `certificate_file` and `key_file` under `kafka:`",
                lasting=True,
            )
        said = reason.partition("ALERT_")[2].replace("_", " ").lower()
        return Refusal(
            f"it refuses this client's certificate, {security.certificate_file} ({said}): have it signed by an "
            "authority that the broker trusts, and look at its dates",
            lasting=True,
        )
    if _speaks_plain(address):
        return Refusal(
            "it speaks plain text there, not TLS: name its TLS port, or set `security: plain`", lasting=True
        )
    return Refusal(f"the TLS handshake failed ({reason.replace('_', ' ').lower() or error})")


def _in_words(error: ssl.SSLCertVerificationError, host: str, security: KafkaSecurity) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired: renew it on the broker, and look at this machine's clock"
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet: look at this machine's clock, and the certificate's dates"
    if code in {_OTHER_NAME, _OTHER_ADDRESS}:
        return (
            f"its certificate is for another host, not for {host!r}: use a name that stands in it, or add this one "
            "to its subjectAltName on the broker"
        )
    if code in _UNTRUSTED:
        trusted = f"ca_file {security.ca_file}" if security.ca_file else "the system's authorities"
        return (
            f"its certificate is signed by none of {trusted} ({error.verify_message}): set `ca_file` to the "
            "certificate of the authority that signed it"
        )
    return f"its certificate is not accepted ({error.verify_message})"


def _speaks_plain(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=_CONNECT_S) as connection:
            return _ask(connection, "PLAIN") is not None
    except OSError:
        return False


def _speaks_tls(address: tuple[str, int]) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is said over it, only whether it comes about
    try:
        with socket.create_connection(address, timeout=_CONNECT_S) as connection:
            context.wrap_socket(connection).close()
    except OSError:
        return False
    return True
