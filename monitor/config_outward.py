"""Where alerts go, as the sidecar's file says it: sinks, and the confirmers that are asked before them.

Owns the keys under `sinks` and `confirmers`, and the reading of what is someone else's: headers, security settings.
The rest of the file is `config.py`; what a sink or a confirmer does with its settings is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dosimeter.detectors.findings import InputError, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node, load_file
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.in_the_clear import LOOPBACK, in_the_clear
from dosimeter.monitor.sinks.config import (
    AlertmanagerConfig,
    KafkaConfig,
    OtlpConfig,
    SinkConfig,
    StdoutConfig,
    WebhookConfig,
)
from dosimeter.monitor.sinks.headers import credential
from dosimeter.rules.policy import CONFIRMER

CALL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)

_WAYS = Callable[[Node], Path | None]
AS_IT_IS = frozenset({"PLAIN", "OAUTHBEARER"})
"""Mechanisms of SASL that send what they know; the others prove that they know it."""
UNHEARD = "`https://…`, or a proxy of this pod at `http://127.0.0.1:…`"


def read_url(node: Node, reader: Reader) -> str | None:
    text = reader.text(node)
    if text is not None and not text.startswith(("http://", "https://")):
        reader.error(node, f"`{visible(text)}` is not a URL", "write `http://host:4318`")
    elif text is not None and "@" in text.partition("://")[2].partition("/")[0]:
        hint = "put the credential under `headers`: an address is shown in logs and status"
        reader.error(node, "the URL has a user or a password in it", hint)
    return text


def read_sinks(
    node: Node, reader: Reader, path: Callable[[Node], Path | None]
) -> tuple[SinkConfig, ...]:
    readers: dict[str, Callable[[Node], SinkConfig]] = {
        "kafka": lambda value: read_kafka(value, reader, path, KafkaConfig(), scores=True),
        "otlp": lambda value: read_otlp(value, reader, path),
        "stdout": lambda value: _stdout(value, reader, path),
        "webhook": lambda value: _webhook(value, reader, path),
        "alertmanager": lambda value: _alertmanager(value, reader, path),
    }
    found = reader.mapping(node, tuple(readers))
    return tuple(readers[name](value) for name, value in found.items())


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
        changes["bootstrap"] = tuple(text for item in nodes if (text := reader.text(item)))
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
    if place is not None and (host := _told_in_the_clear(found)) is not None:
        hint = "`security_protocol: SASL_SSL`, or `sasl_mechanism: SCRAM-SHA-512`"
        message = f"the login would be sent to `{visible(host)}` in the clear"
        reader.error(place, message, hint)
    return found


def _told_in_the_clear(config: KafkaConfig) -> str | None:
    """The first broker not on this machine that would be sent the password or the token as it is."""
    protocol = str(config.security.get("security_protocol", "")).upper()
    mechanism = str(config.security.get("sasl_mechanism", "")).upper()
    if protocol != "SASL_PLAINTEXT" or mechanism not in AS_IT_IS:
        return None
    hosts = (peer(one)[0] for one in config.bootstrap)
    return next((host for host in hosts if host not in LOOPBACK), None)


def peer(server: str) -> tuple[str, int]:
    """Host and port of a broker, as kafka-python reads them."""
    host, _, port = server.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else (server, 9092)


def read_otlp(node: Node, reader: Reader, path: _WAYS) -> OtlpConfig:
    keys = reader.mapping(node, ("endpoint", "resource", *OVER_HTTP), required=("endpoint",))
    endpoint = _own_url(keys["endpoint"], reader) if "endpoint" in keys else None
    return OtlpConfig(
        endpoint=endpoint or OtlpConfig().endpoint,
        resource=read_texts(keys["resource"], reader) if "resource" in keys else {},
        **_over_http(keys, endpoint, reader, path),
    )


FILES = ("headers-file", "ca", "client-cert", "client-key")
OVER_HTTP = ("headers", *FILES, "timeout")


def _over_http(
    keys: Mapping[str, Node], url: str | None, reader: Reader, path: _WAYS
) -> dict[str, Any]:
    """What all receivers over HTTP have."""
    found: dict[str, Any] = {"headers": _headers(keys, url, reader)}
    if "client-key" in keys and "client-cert" not in keys:
        hint = "name its certificate under `client-cert`"
        reader.error(keys["client-key"], "`client-key` without `client-cert`", hint)
    if "client-cert" in keys and url is not None and not url.startswith("https://"):
        hint = "a certificate is shown over TLS alone: `https://…`, or remove it"
        reader.error(keys["client-cert"], "`client-cert` and an `http://` URL", hint)
    if "timeout" in keys and (timeout_s := reader.integer(keys["timeout"], 1, 60)):
        found["timeout_s"] = float(timeout_s)
    for name in FILES:
        if name in keys:
            found[name.replace("-", "_")] = path(keys[name])
    return found


def _headers(keys: Mapping[str, Node], url: str | None, reader: Reader) -> dict[str, str]:
    """What is sent with each request. A credential goes to nobody in the clear but to this machine."""
    headers = read_texts(keys["headers"], reader) if "headers" in keys else {}
    secret = "headers-file" if "headers-file" in keys else credential(headers)
    if secret is not None and url is not None and in_the_clear(url):
        host = visible(urlsplit(url).hostname or "")
        place = keys["headers-file" if secret == "headers-file" else "headers"]
        reader.error(place, f"`{visible(secret)}` would be sent to `{host}` in the clear", UNHEARD)
    return headers


def _webhook(node: Node, reader: Reader, path: Callable[[Node], Path | None]) -> WebhookConfig:
    keys = reader.mapping(node, ("url", "secret", *OVER_HTTP), required=("url",))
    url = _own_url(keys["url"], reader) if "url" in keys else None
    if url and in_the_clear(url):
        # What it is sent has labels of users.
        host = visible(urlsplit(url).hostname or "")
        reader.error(keys["url"], f"`{host}` would be sent alerts in the clear", UNHEARD)
        url = None  # said once
    return WebhookConfig(
        url=url or "",
        secret=path(keys["secret"]) if "secret" in keys else None,
        **_over_http(keys, url, reader, path),
    )


def _alertmanager(
    node: Node, reader: Reader, path: Callable[[Node], Path | None]
) -> AlertmanagerConfig:
    known = ("url", "hold", "tenants", "routes", "link", *OVER_HTTP)
    keys = reader.mapping(node, known, required=("url",))
    url = _own_url(keys["url"], reader) if "url" in keys else None
    link = read_url(keys["link"], reader) if "link" in keys else None
    if link is not None and "{event_id}" not in link:
        hint = "write `https://history.example/alerts/{event_id}`"
        reader.error(keys["link"], "`link` leads to no alert: it has no `{event_id}`", hint)
    hold_s = reader.integer(keys["hold"], 1, 86_400) if "hold" in keys else None
    lists = {
        name: tuple(text for item in reader.items(keys[name]) if (text := reader.text(item)))
        for name in ("tenants", "routes")
        if name in keys
    }
    return AlertmanagerConfig(
        url=url or "",
        hold_s=hold_s or AlertmanagerConfig().hold_s,
        tenants=lists.get("tenants", ()),
        routes=lists.get("routes", ()),
        link=link,
        **_over_http(keys, url, reader, path),
    )


def _own_url(node: Node, reader: Reader) -> str | None:
    """One that we connect to ourselves: a host in it, and no password, which would stand in every message."""
    url = read_url(node, reader)
    if url is None or not url.startswith(("http://", "https://")):
        return None
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        whole = False
    if not whole or " " in url or not url.isascii():
        reader.error(node, f"`{visible(url)[:80]}` is not a whole URL", "`https://host:port/path`")
        return None
    if parts.username is not None:
        reader.error(node, "a password stands in the URL", "send it under `headers`: authorization")
        return None
    return url


def _stdout(node: Node, reader: Reader, path: Callable[[Node], Path | None]) -> SinkConfig:
    keys = reader.mapping(node, ("path",))
    return StdoutConfig(path=path(keys["path"]) if "path" in keys else None)


def read_confirmers(node: Node, reader: Reader, path: _WAYS) -> tuple[ConfirmerConfig, ...]:
    if node.kind != "map":
        hint = "write `second-look: {url: http://127.0.0.1:9000/confirm}`"
        reader.expected(node, "a mapping of names", hint)
    for name, entry in node.entries.items():
        if CONFIRMER.fullmatch(name) is None:
            hint = "lower-case letters, digits and `-`, at most 64"
            reader.error(entry.place, f"`{visible(name)[:80]}` is no name of a confirmer", hint)
    each = node.entries.items()
    return tuple(_confirmer(name, entry.value, reader, path) for name, entry in each)


def _confirmer(name: str, node: Node, reader: Reader, path: _WAYS) -> ConfirmerConfig:
    keys = reader.mapping(node, ("url", "call", *OVER_HTTP))
    if node.kind == "map" and ("url" in keys) == ("call" in keys):
        hint = "`url: http://host/path`, or `call: my_package.review:confirm`"
        reader.error(node, f"`{visible(name)[:80]}` needs one of `url` and `call`", hint)
    for key in ("headers", *FILES):
        if key in keys and "url" not in keys:
            reader.error(keys[key], f"`{key}` without `url`", "remove it: nothing is sent")
    call = reader.text(keys["call"]) if "call" in keys else None
    if call is not None and CALL.fullmatch(call) is None:
        hint = "module and function: `my_package.review:confirm`"
        reader.error(keys["call"], f"`{visible(call)[:80]}` is no function", hint)
    url = _own_url(keys["url"], reader) if "url" in keys else None
    more = _over_http(keys, url, reader, path)
    return ConfirmerConfig(name=name, url=url or "", call=call or "", **more)


def _security(node: Node, reader: Reader) -> dict[str, Any]:
    """kafka-python's own settings, by their own names."""
    found = {}
    for name, value in _scalars(node, reader).items():
        if not name.startswith(("security_", "ssl_", "sasl_")):
            hint = "`security_protocol`, or a name that begins with `ssl_` or `sasl_`"
            place = node.entries[name].place
            reader.error(place, f"`{visible(name)}` is no security setting", hint, "unknown-key")
        found[name] = value.value
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


def read_texts(node: Node, reader: Reader) -> dict[str, str]:
    """Headers and attributes: text on one line, a number as it is written."""
    found = {}
    for name, value in _scalars(node, reader).items():
        if value.kind == "null" or "\n" in name + value.written:
            reader.error(value, f"`{visible(name)}` is not one line of text", "write its value")
        found[name] = value.written
    return found


def _scalars(node: Node, reader: Reader) -> dict[str, Node]:
    """A mapping whose keys are someone else's."""
    if node.kind != "map":
        reader.expected(node, "a mapping")
    for name, entry in node.entries.items():
        if entry.value.kind in ("map", "list"):
            reader.error(
                entry.value, f"`{visible(name)}` is a {entry.value.kind}", "write one value"
            )
        elif reader.harmless(entry.place, name):
            reader.harmless(entry.value, entry.value.written)
    return {name: entry.value for name, entry in node.entries.items()}
