"""Kafka, as the sidecar's file says it: which brokers, which topic, and kafka-python's own security settings.

Owns the keys of every `kafka` and `ship`. What kafka-python would take for something else, or quote in a message, is
refused here. It imports no client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import InputError, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node, load_file
from dosimeter.monitor.config_values import scalars
from dosimeter.monitor.in_the_clear import LOOPBACK
from dosimeter.monitor.sinks.config import KafkaConfig

_WAYS = Callable[[Node], Path | None]
AS_IT_IS = frozenset({"PLAIN", "OAUTHBEARER"})
"""Mechanisms of SASL that send what they know; the others prove that they know it."""
SETTINGS = (
    "security_protocol",
    "ssl_check_hostname",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_crlfile",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_kerberos_name",
    "sasl_kerberos_service_name",
    "sasl_kerberos_domain_name",
)
"""All that its connections look at and that can be written. An unknown one it repeats in a message, with its value."""
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
"""Anything else, `ssl` too, it takes for PLAINTEXT, and says nothing."""
BROKER = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/,\[\]]+))(?::([0-9]{1,5}))?")
BROKERS = "`[kafka-0:9092, kafka-1:9092]`: host and port, TLS is under `security`"
PORTS = range(1, 1 << 16)


def read_kafka(
    node: Node, reader: Reader, path: _WAYS, default: KafkaConfig, *, scores: bool = False
) -> KafkaConfig:
    """default: what is not said. scores: whether a topic for them may be named."""
    names = ("bootstrap", "topic", "security", "security-file", *(("scores",) if scores else ()))
    keys = reader.mapping(node, names, required=("bootstrap",))
    changes: dict[str, Any] = {}
    if "bootstrap" in keys:
        one = keys["bootstrap"]
        nodes = reader.items(one) if one.kind == "list" else (one,)
        if one.kind == "list" and not nodes:
            reader.error(one, "names no broker", BROKERS)
        changes["bootstrap"] = tuple(text for item in nodes if (text := _broker(item, reader)))
    if "topic" in keys and (topic := reader.text(keys["topic"])):
        changes["topic"] = topic
    if "security" in keys:
        changes["security"] = _security(keys["security"], reader)
    if "security-file" in keys and (file := path(keys["security-file"])) is not None:
        changes["security"] = {**changes.get("security", {}), **_security_file(file, reader)}
    if "scores" in keys and (topic := reader.text(keys["scores"])):
        changes["scores"] = topic
    found = replace(default, **changes)
    if found.scores == found.topic:
        hint = f"`{found.topic}` is the topic of alerts: `scores: dosimeter.scores.v1`"
        reader.error(keys["scores"], "scores among alerts", hint)
    place = keys.get("security", keys.get("security-file"))
    if place is not None:
        _refuse_unsafe(found, place, reader)
    return found


def _broker(node: Node, reader: Reader) -> str | None:
    text = reader.text(node)
    if text is not None and (BROKER.fullmatch(text) is None or peer(text)[1] not in PORTS):
        reader.error(node, f"`{visible(text)[:80]}` is no broker", BROKERS)
    return text


def _refuse_unsafe(found: KafkaConfig, place: Node, reader: Reader) -> None:
    protocol = str(found.security.get("security_protocol", PROTOCOLS[0]))
    if protocol not in PROTOCOLS:
        message = f"`security_protocol: {visible(protocol)[:80]}` is none"
        reader.error(place, message, f"one of {', '.join(PROTOCOLS)}")
    if (host := _told_in_the_clear(found)) is not None:
        hint = "`security_protocol: SASL_SSL`, or `sasl_mechanism: SCRAM-SHA-512`"
        message = f"the login would be sent to `{visible(host)}` in the clear"
        reader.error(place, message, hint)


def _told_in_the_clear(config: KafkaConfig) -> str | None:
    """The first broker not on this machine that would be sent the password or the token as it is."""
    protocol = str(config.security.get("security_protocol", "")).upper()
    mechanism = str(config.security.get("sasl_mechanism", "")).upper()
    if protocol != "SASL_PLAINTEXT" or mechanism not in AS_IT_IS:
        return None
    hosts = (peer(one)[0] for one in config.bootstrap)
    return next((host for host in hosts if host not in LOOPBACK), None)


def peer(server: str) -> tuple[str, int]:
    """Host and port of a broker."""
    found = BROKER.fullmatch(server)
    return (found[1] or found[2], int(found[3] or 9092)) if found else (server, 9092)


def _security(node: Node, reader: Reader) -> dict[str, Any]:
    """kafka-python's own settings, by their own names."""
    found: dict[str, Any] = {}
    for name, value in scalars(node, reader).items():
        if name not in SETTINGS:
            place, hint = node.entries[name].place, "as kafka-python names them: `sasl_mechanism`"
            reader.error(place, f"`{visible(name)}` is no security setting", hint, "unknown-key")
        elif name == "ssl_check_hostname":
            found[name] = reader.boolean(value)
        elif value.kind == "null":
            reader.error(value, f"`{name}` has no value", "write it, or remove the key")
        else:
            found[name] = value.written  # a password of digits is text
    return found


def _security_file(path: Path, reader: Reader) -> dict[str, Any]:
    """The same settings in a file of their own. What is wrong with it is said by its place alone: it is a secret."""
    own, found = Reader(), dict[str, Any]()
    try:
        found = _security(load_file(path), own)
    except InputError as error:
        own.findings += error.findings
    for finding in own.findings[:1]:
        unreadable = finding.code == "unreadable"
        message = finding.message if unreadable else "no mapping of security settings"
        hint = "kafka-python's own, one a line: `sasl_plain_password: …`"
        reader.error(finding.place, message, hint)
    return found
