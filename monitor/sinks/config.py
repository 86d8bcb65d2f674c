"""Settings of the sinks and how to build each: plain frozen records that import no client library.

A sink's module, and with it Kafka's or OpenTelemetry's, is imported only when that sink is built,
so that reading a config file stays cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class OtlpConfig:
    endpoint: str = "http://localhost:4318"  # without `/v1/logs`: the signal's path is added
    name: str = "otlp"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 10.0
    resource: Mapping[str, str] = field(default_factory=dict)  # beside `service.name`


@dataclass(frozen=True, slots=True)
class StdoutConfig:
    name: str = "stdout"
    path: Path | None = None  # None: standard output; else a file, appended to


SinkConfig = KafkaConfig | OtlpConfig | StdoutConfig


def build_sink(config: SinkConfig) -> Sink:
    """The sink, not yet connected to anything."""
    if isinstance(config, KafkaConfig):
        from dosimeter.monitor.sinks.kafka import KafkaSink

        return KafkaSink(config)
    if isinstance(config, OtlpConfig):
        from dosimeter.monitor.sinks.otlp import OtlpSink

        return OtlpSink(config)
    from dosimeter.monitor.sinks.stdout import StdoutSink

    return StdoutSink(config)
