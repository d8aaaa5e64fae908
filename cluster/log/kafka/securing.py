"""Reads certificates and passwords, and makes of them what kafka-python needs to connect."""

import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.errors import BadConfig
from cluster.log.security import PASSWORD_VARIABLE, KafkaSecurity

MAX_PEM_BYTES = 1 << 20
MAX_PASSWORD_BYTES = 4096


class Hidden(str):
    """Is a secret that shows itself only to who asks for its characters: kafka-python logs its options."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'(hidden)'"


def security_options(security: KafkaSecurity, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return kafka-python's options for connections as `security` says.

    Raises:
        BadConfig: a file is missing, is readable by everyone or does not hold what it should; no password.
    """
    if security.security == "plain":
        return {}
    options: dict[str, Any] = {"security_protocol": "SSL", "ssl_context": tls_context(security)}
    if security.security == "sasl_tls":
        options |= {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": security.mechanism.upper(),
            "sasl_plain_username": security.user,
            "sasl_plain_password": read_password(security, environment),
        }
    return options


def tls_context(security: KafkaSecurity) -> ssl.SSLContext:
    """Build what checks the brokers' certificates and names, and shows this client's.

    Raises:
        BadConfig: a file is missing, is readable by everyone or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if security.ca_file:
        authorities = _read("ca_file", security.ca_file, MAX_PEM_BYTES)
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise BadConfig(
                f"kafka: ca_file {security.ca_file} holds no certificate ({error}): it must be a PEM file with "
                "-----BEGIN CERTIFICATE-----"
            ) from error
    else:
        context.load_default_certs()
    if security.certificate_file:
        _show_certificate(context, security)
    return context


def _show_certificate(context: ssl.SSLContext, security: KafkaSecurity) -> None:
    _read("certificate_file", security.certificate_file, MAX_PEM_BYTES, secret=not security.key_file)
    name = "key_file" if security.key_file else "certificate_file"
    key_file = getattr(security, name)
    if b"ENCRYPTED" in _read(name, key_file, MAX_PEM_BYTES, secret=True):
        raise BadConfig(
            f"kafka: the private key in {key_file} is encrypted: decrypt it (openssl pkey -in FILE -out KEY), and "
            "protect it by its permissions"
        )
    try:
        context.load_cert_chain(security.certificate_file, security.key_file or None)
    except ssl.SSLError as error:
        raise BadConfig(
            f"kafka: {security.certificate_file} and {key_file} are not a certificate and its private key as PEM "
            f"({error.reason or error})"
        ) from error


def read_password(security: KafkaSecurity, environment: Mapping[str, str]) -> Hidden:
    """Return the password, from its file or else the environment.

    Raises:
        BadConfig: there is none, or its file is missing, readable by everyone, or holds more than one line.
    """
    if not security.password_file:
        password = environment.get(PASSWORD_VARIABLE, "")
        if not password:
            raise BadConfig(
                f"kafka: no password for user {security.user!r}: set `password_file`, or {PASSWORD_VARIABLE} in the "
                "environment of every process that connects (Ray's workers have that of `ray start`)"
            )
        return Hidden(password)
    raw = _read("password_file", security.password_file, MAX_PASSWORD_BYTES, secret=True)
    try:
        password = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""  # not chained: the error would show the bytes
    if not password or "\n" in password:
        raise BadConfig(
            f"kafka: password_file {security.password_file} must hold the password as one line of UTF-8, "
            f"got {len(raw)} bytes that are not"
        )
    return Hidden(password)


def _read(setting: str, path: str, max_bytes: int, *, secret: bool = False) -> bytes:
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise BadConfig(
            f"kafka: cannot read {setting} {path} ({error.strerror}): every machine that connects needs the file"
        ) from error
    if secret and mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise BadConfig(
            f"kafka: {setting} {path} holds a secret and is open to others (mode {stat.S_IMODE(mode):04o}): "
            "chmod 600 it (in Kubernetes: defaultMode 0440 and an fsGroup)"
        )
    if len(raw) > max_bytes:
        raise BadConfig(f"kafka: {setting} {path} is larger than {max_bytes} bytes; is it the right file?")
    return raw
