"""The sidecar's configuration as people read it: every setting with its value, credentials hidden on request.

Owns the way back from the record to a file that reads as the same; what the keys mean is `config.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from dosimeter.detectors.strict_yaml import dump
from dosimeter.monitor.config import VERSION, ArchiveConfig, Config, LedgerConfig
from dosimeter.monitor.config_history import as_plain
from dosimeter.monitor.config_peers import plain_peers
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.sinks.config import (
    AlertmanagerConfig,
    KafkaConfig,
    OtlpConfig,
    OverHttp,
    SinkConfig,
    StdoutConfig,
    WebhookConfig,
)
from dosimeter.monitor.sinks.http import origin

HIDDEN = "(hidden)"
S = TypeVar("S", bound=SinkConfig)


def without_secrets(config: Config) -> Config:
    """The same settings with what may be a credential hidden: for people to read, not to run."""

    def hidden(sink: S) -> S:
        if isinstance(sink, KafkaConfig):
            return replace(sink, security=dict.fromkeys(sink.security, HIDDEN))
        if isinstance(sink, StdoutConfig):
            return sink
        headers = dict.fromkeys(sink.headers, HIDDEN)
        if isinstance(sink, OtlpConfig):
            return replace(sink, endpoint=_bare(sink.endpoint), headers=headers)
        return replace(sink, url=_bare(sink.url), headers=headers)

    history = config.history
    if history is not None:
        anchors = history.anchors
        history = replace(
            history,
            kafka=hidden(history.kafka) if history.kafka else None,
            ship=hidden(history.ship) if history.ship else None,
            anchors=replace(
                anchors,
                kafka=hidden(anchors.kafka) if anchors.kafka else None,
                otlp=hidden(anchors.otlp) if anchors.otlp else None,
            ),
        )
    fleet = config.fleet
    return replace(
        config,
        history=history,
        telemetry=hidden(config.telemetry) if config.telemetry else None,
        fleet=replace(fleet, kafka=hidden(fleet.kafka)) if fleet is not None else None,
        sinks=tuple(hidden(sink) for sink in config.sinks),
        confirmers=tuple(
            replace(one, url=_bare(one.url), headers=dict.fromkeys(one.headers, HIDDEN))
            for one in config.confirmers
        ),
    )


def _bare(url: str) -> str:
    """Its path may be a credential."""
    own = origin(url) if url else ""
    return url if url.rstrip("/") == own else f"{own}/{HIDDEN}"


def as_yaml(config: Config) -> str:
    """Every setting with its value, as a file that reads back as the same configuration."""

    def sink(one: SinkConfig) -> tuple[str, Mapping[str, object]]:
        if isinstance(one, KafkaConfig):
            return "kafka", {
                "bootstrap": list(one.bootstrap),
                "topic": one.topic,
                "security": dict(one.security),
                **({} if one.scores is None else {"scores": one.scores}),
            }
        if isinstance(one, OtlpConfig):
            return "otlp", {
                "endpoint": one.endpoint,
                "resource": dict(one.resource),
                **over_http(one),
            }
        if isinstance(one, WebhookConfig):
            return "webhook", {
                "url": one.url,
                **({} if one.secret is None else {"secret": where(one.secret)}),
                **over_http(one),
            }
        if isinstance(one, AlertmanagerConfig):
            return "alertmanager", {
                "url": one.url,
                "hold": one.hold_s,
                "tenants": list(one.tenants),
                "routes": list(one.routes),
                **({} if one.link is None else {"link": one.link}),
                **over_http(one),
            }
        return "stdout", {} if one.path is None else {"path": where(one.path)}

    def confirmer(one: ConfirmerConfig) -> dict[str, object]:
        if one.call:
            return {"call": one.call, "timeout": int(one.timeout_s)}
        return {"url": one.url, **over_http(one)}

    def where(path: Path) -> str:
        """The same from whatever folder the printed file is read."""
        return str(path.absolute())

    def over_http(one: OverHttp) -> dict[str, object]:
        files = {name: where(path) for name, path in one.files.items() if path is not None}
        return {"headers": dict(one.headers), "timeout": int(one.timeout_s), **files}

    def archive(one: ArchiveConfig) -> dict[str, str]:
        return {"sample": f"1 in {one.one_in}", "keep": f"{one.days} days"}

    def ledger(one: LedgerConfig) -> dict[str, str]:
        quota = {} if one.quota is None else {"quota": f"{one.quota >> 30} GiB"}
        return {"keep": f"{one.days} days", **quota}

    return dump(
        {
            "version": VERSION,
            "data-dir": where(config.data_dir),
            "socket": where(config.socket_path),
            "peers": plain_peers(config.peers),
            "rules": [where(path) for path in config.rules],
            "calibrations": [where(path) for path in config.calibrations],
            "sinks": dict(sink(one) for one in config.sinks),
            "http": {"host": config.http.host, "port": config.http.port},
            "expect": config.expect,
            "ledger": ledger(config.ledger),
        }
        | ({"counted-by": config.counted_by} if config.counted_by != "sidecar" else {})
        | (
            {
                "fleet": {
                    "kafka": sink(config.fleet.kafka)[1],
                    "hits": config.fleet.hits,
                    "group": config.fleet.group,
                }
            }
            if config.fleet
            else {}
        )
        | ({"telemetry": sink(config.telemetry)[1]} if config.telemetry else {})
        | ({"archive": archive(config.archive)} if config.archive else {})
        | (
            {"history": as_plain(config.history, lambda one: sink(one)[1], where)}
            if config.history
            else {}
        )
        | (
            {"confirmers": {c.name: confirmer(c) for c in config.confirmers}}
            if config.confirmers
            else {}
        )
    ).decode()
