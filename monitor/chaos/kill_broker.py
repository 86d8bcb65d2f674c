"""The broker under `chaos kill`: the embedded one, which forgets all when it ends, or Apache Kafka, which may not.

Apache Kafka is killed with SIGKILL and comes back with what it had; what it acknowledged before is held against it in
the end. It owns how a broker is restarted, and knows nothing of alerts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from dosimeter.monitor.lab.apache_kafka import ApacheKafka
from dosimeter.monitor.lab.broker import EmbeddedBroker

NODE = 1


class Broker(Protocol):
    forgets: bool
    port: int

    def restart(self) -> None:
        """Return when it serves again. Raises BrokerError."""
        ...


class Embedded:
    forgets = True

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker, self.port = broker, broker.port

    def restart(self) -> None:
        self._broker.stop()
        self._broker.start()


class Apache:
    forgets = False

    def __init__(self, cluster: ApacheKafka) -> None:
        self._cluster = cluster
        self.port = int(cluster.bootstrap()[0].rpartition(":")[2])

    def restart(self) -> None:
        self._cluster.kill(NODE)
        self._cluster.begin(NODE)
        self._cluster.wait(NODE)


@contextmanager
def serving(jars: Path | None, folder: Path, seen_at: int) -> Iterator[Broker]:
    """jars: of Apache Kafka; None: the embedded one. seen_at: the port that clients are told of. Raises BrokerError."""
    if jars is None:
        with EmbeddedBroker(seen_at=seen_at) as broker:
            yield Embedded(broker)
    else:
        told = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{seen_at}"}
        with ApacheKafka(jars, folder / "kafka", properties=told) as cluster:
            yield Apache(cluster)
