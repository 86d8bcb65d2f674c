"""An authority of our own, whose certificates tests give to real servers over TLS."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = ipaddress.ip_address("127.0.0.1")
END = "-----END PRIVATE KEY-----\n"


class Authority:
    """Signs certificates of servers at 127.0.0.1; `path` is what clients trust."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.path = folder / "authority.pem"
        own = self._certificate(self._name, self._key.public_key(), -2, 2, authority=True)
        self.path.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def pair(self, name: str, from_days: int = -1, to_days: int = 30) -> tuple[Path, Path]:
        """Certificate and key of a client, in files of their own."""
        key, found, certificate = self.server(name, from_days, to_days).read_text().partition(END)
        paths = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        paths[0].write_text(certificate)
        paths[1].write_text(key + found)
        return paths

    def server(self, name: str, from_days: int, to_days: int) -> Path:
        """Key and certificate in one file, valid between these days from now. The same name again takes its place."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
        made = self._certificate(subject, key.public_key(), from_days, to_days, authority=False)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = self._folder / f"{name}.pem"
        path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        return path

    def _certificate(
        self, subject: x509.Name, key: Any, from_days: int, to_days: int, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=from_days))
            .not_valid_after(now + datetime.timedelta(days=to_days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(HERE)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
