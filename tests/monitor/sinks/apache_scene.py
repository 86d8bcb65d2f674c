"""A broker of Apache Kafka with credentials, rights and certificates, and what an operator does to it.

Whoever comes over PLAINTEXT may do everything; over SECURE and STALE one logs in with SCRAM over TLS and may do what
was granted. STALE has a certificate of its own, which has expired until it is renewed. Over MUTUAL one shows a
certificate and no password.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from tests.monitor.sinks.authority import Authority

JARS = Path(__file__).parents[3] / ".kafka"
USER, PASSWORD = "sidecar", "correct horse"
OTHERS = ("history", "fleet", "checkpoints", "auditor")
"""Principals beside it, with the same password."""
MECHANISM = "SCRAM-SHA-512"


class Guarded:
    """The broker, and the operator's hands on it."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder)
        self._stale = self._authority.server("stale", -2, -1)
        properties = {
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,STALE:SASL_SSL,MUTUAL:SSL"
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
        logins = [f"{MECHANISM}=[name={name},password={PASSWORD}]" for name in (USER, *OTHERS)]
        properties |= {
            "listener.name.mutual.ssl.keystore.type": "PEM",
            "listener.name.mutual.ssl.keystore.location": str(good),
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": str(self._authority.path),
            "listener.name.mutual.ssl.client.auth": "required",
        }
        self.kafka = ApacheKafka(
            JARS,
            folder / "kafka",
            properties=properties,
            listeners=("SECURE", "STALE", "MUTUAL"),
            format_args=[word for login in logins for word in ("--add-scram", login)],
        )

    def security(self, password: str = PASSWORD, user: str = USER) -> dict[str, str]:
        """As it stands under `sinks.kafka.security`."""
        return {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(self._authority.path),
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": user,
            "sasl_plain_password": password,
        }

    def mutual(self) -> dict[str, str]:
        """The same for MUTUAL, where the broker knows one by the name in its certificate: `User:CN=broker`."""
        cert, key = self._authority.pair("client")
        return {
            "security_protocol": "SSL",
            "ssl_cafile": str(self._authority.path),
            "ssl_certfile": str(cert),
            "ssl_keyfile": str(key),
        }

    def grant(self, topic: str, *rights: ACLOperation, to: str = USER) -> None:
        """Unless said: what docs/alerts.md says the sink's principal needs, and no more."""
        pattern = ResourcePattern(ResourceType.TOPIC, topic)
        rights = rights or (ACLOperation.WRITE, ACLOperation.DESCRIBE)
        self.allow([(f"User:{to}", pattern, of) for of in rights])

    def allow(self, rights: Sequence[tuple[str, ResourcePattern, ACLOperation]]) -> None:
        """principal, what it is about, what it may."""
        allowing = ACLPermissionType.ALLOW
        with self._admin() as admin:
            admin.create_acls([ACL(who, "*", of, allowing, what) for who, what, of in rights])

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
