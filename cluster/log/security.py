"""Says how a Kafka is reached safely: whom a client trusts, and as whom it signs in. Knows paths, never secrets.

The settings travel in the log's URL, from the site file to Ray's actors and the gateways' processes. What is secret
stays in files, or in the environment, and is read by the process that connects, when it connects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from cluster.errors import BadConfig

ENVIRONMENT_PREFIX = "CAMWEAVE_KAFKA_"
PASSWORD_VARIABLE = "CAMWEAVE_KAFKA_PASSWORD"  # noqa: S105 (the name of a variable)
_SCHEME = "kafka://"
_FILES = ("ca_file", "certificate_file", "key_file", "password_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """Describes how clients reach a Kafka.

    Each field can be given as `CAMWEAVE_KAFKA_` and its name in capitals; that comes before the site file.

    Raises:
        BadConfig: fields that contradict each other, or one that is missing.
    """

    security: Literal["plain", "tls", "sasl_tls"] = "plain"
    """`plain` for a loopback or a trusted network, `tls` for an encrypted one (with a client certificate, if the
    broker asks for one), `sasl_tls` for a user and a password on top."""
    ca_file: str = ""
    """PEM file of the authority that signed the brokers' certificates; the system's authorities without it."""
    certificate_file: str = ""
    """PEM file of this client's certificate, for brokers that ask for one."""
    key_file: str = ""
    """PEM file of its private key, not encrypted; may be left out where `certificate_file` holds it too."""
    user: str = ""
    """Who signs in, for `sasl_tls`."""
    password_file: str = ""
    """File that holds the password and nothing else; without it, CAMWEAVE_KAFKA_PASSWORD holds the password."""
    mechanism: Literal["scram-sha-512", "scram-sha-256", "plain"] = "scram-sha-512"
    """How the password is proved, for `sasl_tls`; `plain` shows it to the broker."""

    def __post_init__(self) -> None:
        useless = [
            name
            for name, needed in (
                ("user", "sasl_tls"), ("password_file", "sasl_tls"),
                ("ca_file", "tls"), ("certificate_file", "tls"), ("key_file", "tls"),
            )
            if getattr(self, name) and self.security not in {needed, "sasl_tls"}
        ]  # fmt: skip
        if useless:
            needed = "sasl_tls" if {"user", "password_file"} & set(useless) else "tls or sasl_tls"
            raise BadConfig(
                f"kafka: {', '.join(useless)} would not be used with security {self.security!r}: set `security: "
                f"{needed}`, or leave them out"
            )
        if self.key_file and not self.certificate_file:
            raise BadConfig("kafka: key_file is given without certificate_file: name the certificate too")
        if self.security == "sasl_tls" and not self.user:
            raise BadConfig(
                "kafka: security 'sasl_tls' needs a `user` (or CAMWEAVE_KAFKA_USER), and a `password_file` or "
                f"{PASSWORD_VARIABLE}"
            )
        if self.mechanism != "plain" and set(self.user) & set(",="):
            raise BadConfig(
                f"kafka: user {self.user!r} holds ',' or '=', which SCRAM uses itself: choose another"
            )

    @property
    def password_place(self) -> str:
        """Say where the password is to be found."""
        return self.password_file or PASSWORD_VARIABLE

    def url(self, servers: str) -> str:
        """Return the URL of a Kafka that is reached like this; files are named from the root."""
        settings = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
        for name in _FILES:
            if name in settings:
                settings[name] = str(Path(settings[name]).expanduser().absolute())
        query = urlencode(settings, quote_via=quote, safe="/")
        return f"{_SCHEME}{servers}" + (f"?{query}" if query else "")

    def secure(self, url: str) -> str:
        """Return a log's URL with these settings in it; that of an embedded log, or one with settings, as it is.

        Raises:
            BadConfig: the URL holds other settings.
        """
        if not url.startswith(_SCHEME):
            return url
        servers, security = split_kafka_url(url)
        if security == KafkaSecurity():
            return self.url(servers)
        if self != KafkaSecurity() and self.url(servers) != security.url(servers):
            raise BadConfig(
                "the log's URL says how this Kafka is reached, and so does `kafka:` or CAMWEAVE_KAFKA_*, differently: "
                "write it in one place"
            )
        return security.url(servers)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Build it from plain names and values; raises BadConfig for a value that is not allowed."""
        try:
            return msgspec.convert(settings, cls)
        except msgspec.ValidationError as error:
            raise BadConfig(f"kafka: {error}") from error


def environment_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment says about reaching Kafka, by field; never the password."""
    names = (field.name for field in dataclasses.fields(KafkaSecurity))
    return {name: value for name in names if (value := environment.get(ENVIRONMENT_PREFIX + name.upper()))}


def split_kafka_url(url: str) -> tuple[str, KafkaSecurity]:
    """Take a Kafka's URL apart into `HOST:PORT[,HOST:PORT]` and how it is reached.

    Raises:
        BadConfig: a password stands in the URL, or a setting is unknown or wrong. It is not repeated.
    """
    servers, _, query = url.removeprefix(_SCHEME).partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    known = [field.name for field in dataclasses.fields(KafkaSecurity)]
    if "@" in servers or any("password" in name and name != "password_file" for name in settings):
        raise BadConfig(
            "a password has no place in a log's URL, where everyone can read it: set `user` and `password_file` under "
            f"`kafka:` in the site file, or CAMWEAVE_KAFKA_USER and {PASSWORD_VARIABLE}"
        )
    for name in settings:
        if name not in known:
            raise BadConfig(f"unknown setting {name[:64]!r} in the log's URL; known: {', '.join(known)}")
    return servers.rstrip("/"), KafkaSecurity.from_settings(settings)
