"""A broker of Apache Kafka with credentials, rights and certificates, and what an operator does to it.

Whoever comes over PLAINTEXT may do everything; over SECURE and STALE one logs in with SCRAM over TLS and may do what
was granted. STALE has a certificate of its own, which has expired until it is renewed.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourceType,
)

from dosimeter.monitor.lab.apache_kafka import ApacheKafka

JARS = Path(__file__).parents[3] / ".kafka"
USER, PASSWORD = "sidecar", "correct horse"
MECHANISM = "SCRAM-SHA-512"
HERE = ipaddress.ip_address("127.0.0.1")


class Authority:
    """Signs certificates of servers at 127.0.0.1; `path` is what clients trust."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.path = folder / "authority.pem"
        own = self._certificate(self._name, self._key.public_key(), -2, 2, authority=True)
        self.path.write_bytes(own.public_bytes(serialization.Encoding.PEM))

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


class Guarded:
    """The broker, and the operator's hands on it."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder)
        self._stale = self._authority.server("stale", -2, -1)
        properties = {
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,STALE:SASL_SSL"
            ),
            "sasl.enabled.mechanisms": MECHANISM,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        good = self._authority.server("secure", -1, 1)
        for name, path in (("secure", good), ("stale", self._stale)):
            properties |= {
                f"listener.name.{name}.{MECHANISM.lower()}.sasl.jaas.config": login,
                f"listener.name.{name}.ssl.keystore.type": "PEM",
                f"listener.name.{name}.ssl.keystore.location": str(path),
            }
        user = f"{MECHANISM}=[name={USER},password={PASSWORD}]"
        self.kafka = ApacheKafka(
            JARS,
            folder / "kafka",
            properties=properties,
            listeners=("SECURE", "STALE"),
            format_args=("--add-scram", user),
        )

    def security(self, password: str = PASSWORD) -> dict[str, str]:
        """As it stands under `sinks.kafka.security`."""
        return {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(self._authority.path),
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": USER,
            "sasl_plain_password": password,
        }

    def grant(self, topic: str, *rights: ACLOperation) -> None:
        """Unless said: what docs/alerts.md says the sink's principal needs, and no more."""
        pattern = ResourcePattern(ResourceType.TOPIC, topic)
        rights = rights or (ACLOperation.WRITE, ACLOperation.DESCRIBE)
        with self._admin() as admin:
            admin.create_acls(
                [ACL(f"User:{USER}", "*", of, ACLPermissionType.ALLOW, pattern) for of in rights]
            )

    def limit(self, topic: str, size: int) -> None:
        """The largest batch the topic takes, in bytes."""
        said = {"max.message.bytes": str(size)}
        with self._admin() as admin:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, said)])

    def renew(self) -> None:
        """A certificate that is valid, under a new name: the broker reads it without a restart."""
        path = self._authority.server("renewed", -1, 1)
        said = {"listener.name.stale.ssl.keystore.location": str(path)}
        resource = ConfigResource(ConfigResourceType.BROKER, "1", said)
        with self._admin() as admin:
            admin.alter_configs([resource], raise_on_unknown=False)  # the client's list lacks it

    def _admin(self) -> Any:
        return KafkaAdminClient(bootstrap_servers=self.kafka.bootstrap())
