"""Makes what a secured Kafka on loopback needs: certificates that live a week, a user, and the settings for both.

All of it lies in one folder that only its owner can read. The authority's key is never written: when the certificates
are about to expire, the next start makes a new authority.
"""

import base64
import hashlib
import os
import secrets
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=7)
RENEWED_BEFORE = timedelta(days=1)
USER = "camweave"
SCRAM_ITERATIONS = 8192


class Authority:
    """Signs certificates, for as long as it is in memory."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = _builder(self._name, self._name, self._key, now - timedelta(hours=1), now + LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self.certificate = builder.add_extension(identifier, critical=False).sign(self._key, hashes.SHA256())

    def pem(self) -> bytes:
        """Return its certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(
        self, name: str, *, hosts: tuple[str, ...] = (), until: datetime | None = None
    ) -> tuple[bytes, bytes]:
        """Return a new certificate for a name and its hosts (addresses too), and its private key, both as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = until or datetime.now(UTC) + LIFE
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._name, key, until - LIFE - timedelta(hours=1), until)
        if hosts:
            names = [x509.IPAddress(ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), private


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), begin, end
    )  # fmt: skip


class Secrets:
    """Is the folder of one cluster's certificates and password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make what is missing, and the certificates again on their last day."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self.folder / "password").exists():
            self._write("password", secrets.token_urlsafe(24).encode() + b"\n")
        if self._fresh():
            return
        authority = Authority("camweave test authority")
        for name in ("broker", "client"):
            certificate, key = authority.sign(name, hosts=("localhost", "127.0.0.1"))
            self._write(f"{name}.pem", certificate)
            self._write(f"{name}.key", key)
        self._write("keystore.pem", b"".join((self.folder / f"broker.{end}").read_bytes() for end in ("key", "pem")))  # fmt: skip
        self._write("ca.pem", authority.pem())  # the last one: it says that all others are there

    def scram_arguments(self) -> list[str]:
        """Return what tells Kafka's storage tool of the user; it holds the salted password only."""
        salt = secrets.token_bytes(16)
        password = (self.folder / "password").read_bytes().strip()
        salted = hashlib.pbkdf2_hmac("sha512", password, salt, SCRAM_ITERATIONS)
        fields = {
            "name": USER,
            "iterations": SCRAM_ITERATIONS,
            "salt": f'"{base64.b64encode(salt).decode()}"',
            "saltedpassword": f'"{base64.b64encode(salted).decode()}"',
        }
        text = ",".join(f"{name}={value}" for name, value in fields.items())
        return ["--add-scram", f"SCRAM-SHA-512=[{text}]"]

    def broker_settings(self) -> dict[str, str]:
        """Return what makes a broker speak TLS everywhere, and ask clients for a user, brokers for a certificate."""
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,CERTIFIED:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "CERTIFIED",
            "listener.name.certified.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
            "listener.name.clients.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.clients.scram-sha-512.sasl.jaas.config": login,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "keystore.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.folder / "ca.pem"),
        }

    def write_client_settings(self) -> Path:
        """Write what a shell sources so that camweave reaches this cluster; returns the file."""
        settings = {
            "SECURITY": "sasl_tls",
            "CA_FILE": self.folder / "ca.pem",
            "USER": USER,
            "PASSWORD_FILE": self.folder / "password",
        }
        lines = [f"export CAMWEAVE_KAFKA_{name}='{value}'\n" for name, value in settings.items()]
        self._write("client.env", "".join(lines).encode())
        return self.folder / "client.env"

    def _fresh(self) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate((self.folder / "ca.pem").read_bytes())
        except (OSError, ValueError):
            return False
        return certificate.not_valid_after_utc - datetime.now(UTC) > RENEWED_BEFORE

    def _write(self, name: str, content: bytes) -> None:
        partial = self.folder / f"{name}.partial"
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        partial.rename(self.folder / name)
