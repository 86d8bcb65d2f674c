"""History, as the sidecar's file says it: where it is fed from, how long it keeps what, who may read it, who vouches.

Owns the keys under `history`. It imports nothing of history itself: the line reads the same file.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dosimeter.detectors.findings import InputError, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.monitor.config_kafka import read_kafka
from dosimeter.monitor.config_outward import read_otlp
from dosimeter.monitor.config_pages import OidcConfig, PagesConfig
from dosimeter.monitor.config_values import read_texts, read_url
from dosimeter.monitor.sinks.config import KafkaConfig, OtlpConfig, SinkConfig

FEED = KafkaConfig(topic="dosimeter.history", name="history")
CHECKPOINTS = KafkaConfig(topic="dosimeter.checkpoints", name="checkpoints")
_SPAN = re.compile(r"([1-9][0-9]{0,3}) (days?|months?)")
T = TypeVar("T")
_WAYS = Callable[[Node], Path | None]


@dataclass(frozen=True, slots=True)
class TimestampConfig:
    """A time-stamping authority (RFC 3161). certificate: a file with what its stamps are checked against."""

    url: str
    certificate: Path


@dataclass(frozen=True, slots=True)
class AnchorsConfig:
    """Where checkpoints go besides the log itself."""

    file: Path | None = None
    kafka: KafkaConfig | None = None
    otlp: OtlpConfig | None = None
    timestamp: TimestampConfig | None = None


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """kafka: fed by the sidecars of a fleet; None: by the ledger beside it.

    ship: this sidecar sends there, and keeps no history of its own.
    """

    name: str = field(default_factory=socket.gethostname)
    kafka: KafkaConfig | None = None
    ship: KafkaConfig | None = None
    core_months: int = 24
    evidence_days: int = 30
    host: str = "127.0.0.1"
    port: int = 7788
    anchors: AnchorsConfig = field(default_factory=AnchorsConfig)
    pages: PagesConfig = field(default_factory=PagesConfig)


def read_history(node: Node, reader: Reader, path: _WAYS) -> HistoryConfig:
    names = ("name", "kafka", "ship", "keep", "http", "anchors", "pages")
    keys = reader.mapping(node, names)
    changes: dict[str, Any] = {}
    if "name" in keys and (name := reader.text(keys["name"], 200)):
        changes["name"] = name
    for name in ("kafka", "ship"):
        if name in keys:
            changes[name] = read_kafka(keys[name], reader, path, FEED)
    if "kafka" in keys and "ship" in keys:
        hint = "`ship` on a sidecar that sends, `kafka` where history is kept"
        reader.error(keys["ship"], "`ship` beside `kafka`: it would be fed by itself", hint)
    if "keep" in keys:
        changes |= _keep(keys["keep"], reader)
    if "http" in keys:
        changes |= _http(keys["http"], reader)
    if "anchors" in keys:
        changes["anchors"] = _anchors(keys["anchors"], reader, path)
    if "pages" in keys:
        changes["pages"] = _pages(keys["pages"], reader, path)
    return HistoryConfig(**changes)


def _http(node: Node, reader: Reader) -> dict[str, Any]:
    keys = reader.mapping(node, ("host", "port"))
    found: dict[str, Any] = {}
    if "host" in keys and (host := reader.text(keys["host"])):
        found["host"] = host
    if "port" in keys and (port := reader.integer(keys["port"], 0, 65535)) is not None:
        found["port"] = port
    return found


def _keep(node: Node, reader: Reader) -> dict[str, int]:
    """`core` in months, `evidence` in days."""
    keys = reader.mapping(node, ("core", "evidence"))
    units = {"core": ("month", "core_months"), "evidence": ("day", "evidence_days")}
    found = {}
    for name, (unit, field_) in units.items():
        text = reader.text(keys[name]) if name in keys else None
        if text is None:
            continue
        match = _SPAN.fullmatch(text)
        if match is None or not match[2].startswith(unit):
            hint = f"a number of {unit}s: `30 {unit}s`"
            reader.error(keys[name], f"`{visible(text)[:80]}` is no value of `{name}`", hint)
        else:
            found[field_] = int(match[1])
    return found


def _anchors(node: Node, reader: Reader, path: _WAYS) -> AnchorsConfig:
    keys = reader.mapping(node, ("file", "kafka", "otlp", "timestamp"))
    return AnchorsConfig(
        file=path(keys["file"]) if "file" in keys else None,
        kafka=read_kafka(keys["kafka"], reader, path, CHECKPOINTS) if "kafka" in keys else None,
        otlp=read_otlp(keys["otlp"], reader, path) if "otlp" in keys else None,
        timestamp=_timestamp(keys["timestamp"], reader, path) if "timestamp" in keys else None,
    )


def _timestamp(node: Node, reader: Reader, path: _WAYS) -> TimestampConfig | None:
    names = ("url", "certificate")
    keys = reader.mapping(node, names, required=names)
    url = read_url(keys["url"], reader) if "url" in keys else None
    certificate = path(keys["certificate"]) if "certificate" in keys else None
    return TimestampConfig(url, certificate) if url and certificate else None


def _pages(node: Node, reader: Reader, path: _WAYS) -> PagesConfig:
    keys = reader.mapping(node, ("oidc", "public-url", "transcript-url", "trace-url", "zone"))
    changes: dict[str, Any] = {}
    for name in ("public-url", "transcript-url", "trace-url", "zone"):
        if name in keys and (text := reader.text(keys[name])):
            changes[name.replace("-", "_")] = text
    if "oidc" in keys:
        changes["oidc"] = _oidc(keys["oidc"], reader, path)
    return _checked(PagesConfig, node, reader, changes) or PagesConfig()


_CLAIMS = ("roles-claim", "tenants-claim", "name-claim")


def _oidc(node: Node, reader: Reader, path: _WAYS) -> OidcConfig | None:
    required = ("issuer", "audience", "jwks")
    keys = reader.mapping(node, (*required, *_CLAIMS, "roles"), required=required)
    changes: dict[str, Any] = {}
    for name in ("issuer", "audience", *_CLAIMS):
        if name in keys and (text := reader.text(keys[name])):
            changes[name.replace("-", "_")] = text
    if "jwks" in keys and (jwks := reader.text(keys["jwks"])):
        changes["jwks"] = jwks if "://" in jwks else path(keys["jwks"])
    if "roles" in keys:
        changes["roles"] = read_texts(keys["roles"], reader)
    if not {"issuer", "audience", "jwks"} <= changes.keys():
        return None  # what is missing was said
    return _checked(OidcConfig, node, reader, changes)


def _checked(
    made: Callable[..., T], node: Node, reader: Reader, changes: dict[str, Any]
) -> T | None:
    """A record that checks itself: what it says is said at its place in the file."""
    try:
        return made(**changes)
    except InputError as error:
        for finding in error.findings:
            reader.error(node, finding.message, finding.hint)
        return None


def as_plain(
    of: HistoryConfig,
    sink: Callable[[SinkConfig], Mapping[str, object]],
    where: Callable[[Path], str],
) -> dict[str, object]:
    """Every setting with its value, as `read_history` reads it. sink: the keys of one of Kafka or OTLP."""
    anchors, pages = of.anchors, of.pages
    found: dict[str, object] = {
        "name": of.name,
        "keep": {
            "core": f"{of.core_months} months",
            "evidence": f"{of.evidence_days} days",
        },
        "http": {"host": of.host, "port": of.port},
        "anchors": ({"file": where(anchors.file)} if anchors.file else {})
        | ({"kafka": sink(anchors.kafka)} if anchors.kafka else {})
        | ({"otlp": sink(anchors.otlp)} if anchors.otlp else {})
        | (
            {
                "timestamp": {
                    "url": anchors.timestamp.url,
                    "certificate": where(anchors.timestamp.certificate),
                }
            }
            if anchors.timestamp
            else {}
        ),
        "pages": {
            name.replace("_", "-"): getattr(pages, name)
            for name in ("public_url", "transcript_url", "trace_url", "zone")
            if getattr(pages, name)
        }
        | ({"oidc": _plain_oidc(pages.oidc, where)} if pages.oidc else {}),
    }
    for name, kafka in (("kafka", of.kafka), ("ship", of.ship)):
        if kafka is not None:
            found[name] = sink(kafka)
    return found


def _plain_oidc(of: OidcConfig, where: Callable[[Path], str]) -> dict[str, object]:
    return {
        "issuer": of.issuer,
        "audience": of.audience,
        "jwks": of.jwks if isinstance(of.jwks, str) else where(of.jwks),
        "roles-claim": of.roles_claim,
        "roles": dict(of.roles),
        "tenants-claim": of.tenants_claim,
        "name-claim": of.name_claim,
    }
