"""Settings of the sinks and how to build each: plain frozen records that import no client library.

A sink's module, and with it Kafka's or OpenTelemetry's, is imported only when that sink is built,
so that reading a config file stays cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dosimeter.monitor.sinks.client_pair import ClientPair
from dosimeter.monitor.sinks.sink import Sink

TOPIC = "dosimeter.alerts.v1"


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    bootstrap: tuple[str, ...] = ("localhost:9092",)
    topic: str = TOPIC
    name: str = "kafka"
    connect_timeout_s: float = 5.0  # first contact with the cluster, and metadata of the topic
    delivery_timeout_s: float = 10.0  # from send to the last acknowledgement, retries included
    security: Mapping[str, Any] = field(default_factory=dict)  # kafka-python's ssl_*, sasl_*
    scores: str | None = None  # the topic of kept scores; of the sink of alerts alone


def is_unnamed(security: Mapping[str, Any]) -> bool:
    """Whether a broker's certificate may be in anybody's name."""
    protocol = str(security.get("security_protocol", "")).upper()
    return protocol.endswith("SSL") and security.get("ssl_check_hostname") is False


@dataclass(frozen=True, slots=True, kw_only=True)
class OverHttp:
    """What all receivers over HTTP have.

    headers_file  more headers, a line each, so that no token has to stand in the configuration
    ca            certificates that are trusted instead of the system's
    client_cert   shown to a receiver that asks for one, with client_key; None: the key is in the same file
    timeout_s     for each answer, from connecting to its end
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    headers_file: Path | None = None
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    timeout_s: float = 10.0

    @property
    def pair(self) -> ClientPair | None:
        return None if self.client_cert is None else ClientPair(self.client_cert, self.client_key)

    @property
    def files(self) -> dict[str, Path | None]:
        """By their keys in a configuration."""
        return {
            "headers-file": self.headers_file,
            "ca": self.ca,
            "client-cert": self.client_cert,
            "client-key": self.client_key,
        }


@dataclass(frozen=True, slots=True)
class OtlpConfig(OverHttp):
    endpoint: str = "http://localhost:4318"  # without `/v1/logs`: the signal's path is added
    name: str = "otlp"
    resource: Mapping[str, str] = field(default_factory=dict)  # beside `service.name`


@dataclass(frozen=True, slots=True)
class StdoutConfig:
    name: str = "stdout"
    path: Path | None = None  # None: standard output; else a file, appended to


@dataclass(frozen=True, slots=True)
class WebhookConfig(OverHttp):
    """One POST an alert."""

    url: str = ""  # its path may be a credential
    name: str = "webhook"
    secret: Path | None = None  # a file; None: nothing is signed


@dataclass(frozen=True, slots=True)
class AlertmanagerConfig(OverHttp):
    url: str = "http://localhost:9093"  # without `/api/v2/alerts`
    name: str = "alertmanager"
    hold_s: int = 300  # how long an event is stated to go on, from when it is sent
    tenants: tuple[str, ...] = ()  # that may stand in a label, and so may routes
    routes: tuple[str, ...] = ()
    link: str | None = None  # the page of an alert in history, with `{event_id}` in it


SinkConfig = KafkaConfig | OtlpConfig | StdoutConfig | WebhookConfig | AlertmanagerConfig


def build_sink(config: SinkConfig) -> Sink:
    """The sink, not yet connected to anything."""
    if isinstance(config, KafkaConfig):
        from dosimeter.monitor.sinks.kafka import KafkaSink

        return KafkaSink(config)
    if isinstance(config, OtlpConfig):
        from dosimeter.monitor.sinks.otlp import OtlpSink

        return OtlpSink(config)
    if isinstance(config, WebhookConfig):
        from dosimeter.monitor.sinks.webhook import WebhookSink

        return WebhookSink(config)
    if isinstance(config, AlertmanagerConfig):
        from dosimeter.monitor.sinks.alertmanager import AlertmanagerSink

        return AlertmanagerSink(config)
    from dosimeter.monitor.sinks.stdout import StdoutSink

    return StdoutSink(config)
