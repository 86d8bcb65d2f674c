"""Attacks the sidecar's configuration: any bytes, or a valid file after hostile edits.

The properties: `InputError` and nothing else; what is read is printed so that it reads back as the same, with
no secret in what is shown to people; no text in it can break a header or a path.
"""

from __future__ import annotations

from pathlib import Path

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config import Config, load_config
from dosimeter.monitor.config_shown import HIDDEN, as_yaml, without_secrets
from dosimeter.monitor.sinks.config import KafkaConfig, OtlpConfig
from targets.folders import folder
from targets.rules import SNIPPETS, tame
from targets.source import Source, edited

BASE = b"""\
version: 1
data-dir: data
socket: /run/dosimeter/tap.sock
rules: [rules, "more rules"]
calibrations: [c]
sinks:
  kafka:
    bootstrap: ["kafka-0:9092", "kafka-1:9092"]
    topic: alerts
    security: {security_protocol: SASL_SSL, sasl_plain_password: "secret"}
  otlp: {endpoint: "https://host:4318", headers: {authorization: "secret"}, resource: {a: "1e3"}}
  stdout: {path: alerts.jsonl}
http: {host: 127.0.0.1, port: 0}
telemetry: {endpoint: "https://host:4318"}
"""
MORE = (
    *SNIPPETS,
    b"~nobody-of-this-name/x",
    b"~",
    b'"a\\0b"',
    b'"a\\r\\nb: c"',
    b"null",
    b"port: 65536",
    b"1e3",
)


def attack(data: bytes) -> None:
    source = Source(data)
    text = source.take(source.left) if source.byte() & 1 else edited(BASE, source, MORE)
    path = folder("config") / "sidecar.yaml"
    path.write_bytes(text)
    found: Config | InputError
    try:
        found = load_config(path)
    except InputError as error:
        found = error
    if isinstance(found, Config):
        check(found, path.with_name("again.yaml"))
    else:
        assert found.findings
        assert tame(str(found))


def check(config: Config, again: Path) -> None:
    again.write_text(as_yaml(config))
    assert load_config(again).sinks == config.sinks
    assert as_yaml(load_config(again)) == as_yaml(config)
    for path in (*config.rules, *config.calibrations, config.data_dir, config.socket_path):
        path.exists()  # no path that the system refuses to look at
    for sink in without_secrets(config).sinks:
        if isinstance(sink, KafkaConfig):
            assert set(sink.security.values()) <= {HIDDEN}
        if isinstance(sink, OtlpConfig):
            assert set(sink.headers.values()) <= {HIDDEN}
            assert tame("".join((*sink.headers, *sink.resource, *sink.resource.values())))
    for sink in config.sinks:
        if isinstance(sink, OtlpConfig):
            assert all(tame(v) and "\n" not in v for v in sink.headers.values())
