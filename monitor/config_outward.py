"""Where alerts go, as the sidecar's file says it: sinks, and the confirmers that are asked before them.

Owns the keys under `sinks` and `confirmers`, but for Kafka's (`config_kafka`). What a sink or a confirmer does with its
settings is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dosimeter.detectors.findings import visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.monitor.config_kafka import read_kafka
from dosimeter.monitor.config_values import own_url, read_texts, read_url
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.in_the_clear import in_the_clear
from dosimeter.monitor.sinks.config import (
    AlertmanagerConfig,
    KafkaConfig,
    OtlpConfig,
    SinkConfig,
    StdoutConfig,
    WebhookConfig,
)
from dosimeter.monitor.sinks.headers import HINT, LINE, credential
from dosimeter.rules.policy import CONFIRMER

CALL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)

_WAYS = Callable[[Node], Path | None]
UNHEARD = "`https://…`, or a proxy of this pod at `http://127.0.0.1:…`"


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


def read_otlp(node: Node, reader: Reader, path: _WAYS) -> OtlpConfig:
    keys = reader.mapping(node, ("endpoint", "resource", *OVER_HTTP), required=("endpoint",))
    added = "/v1/logs", "/v1/metrics"
    endpoint = _base_url(keys["endpoint"], reader, *added) if "endpoint" in keys else None
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
    for name, value in headers.items():
        if LINE.fullmatch(f"{name}: {value}") is None:
            at = keys["headers"].entries[name].place
            reader.error(at, f"`{visible(name)[:80]}` is no header", HINT)
    secret = "headers-file" if "headers-file" in keys else credential(headers)
    if secret is not None and url is not None and in_the_clear(url):
        host = visible(urlsplit(url).hostname or "")
        place = keys["headers-file" if secret == "headers-file" else "headers"]
        reader.error(place, f"`{visible(secret)}` would be sent to `{host}` in the clear", UNHEARD)
    return headers


def _webhook(node: Node, reader: Reader, path: Callable[[Node], Path | None]) -> WebhookConfig:
    keys = reader.mapping(node, ("url", "secret", *OVER_HTTP), required=("url",))
    url = _unheard_url(keys["url"], reader) if "url" in keys else None
    return WebhookConfig(
        url=url or "",
        secret=path(keys["secret"]) if "secret" in keys else None,
        **_over_http(keys, url, reader, path),
    )


def _unheard_url(node: Node, reader: Reader) -> str | None:
    """Of somebody who is sent whole records, which have labels of users."""
    url = own_url(node, reader)
    if url is None or not in_the_clear(url):
        return url
    host = visible(urlsplit(url).hostname or "")
    reader.error(node, f"`{host}` would be sent alerts in the clear", UNHEARD)
    return None  # said once


def _base_url(node: Node, reader: Reader, *added: str) -> str | None:
    """added: the paths that are put behind it."""
    url = own_url(node, reader)
    if url is not None and ("?" in url or url.rstrip("/").endswith(added)):
        hint = f"leave out `{added[0]}`, it is added; what stands behind a `?` goes under `headers`"
        reader.error(node, "not where a path can be added", hint)
        return None
    return url


def _alertmanager(
    node: Node, reader: Reader, path: Callable[[Node], Path | None]
) -> AlertmanagerConfig:
    known = ("url", "hold", "tenants", "routes", "link", *OVER_HTTP)
    keys = reader.mapping(node, known, required=("url",))
    url = _base_url(keys["url"], reader, "/api/v2/alerts") if "url" in keys else None
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
        hint = "`url: https://host/path`, or `call: my_package.review:confirm`"
        reader.error(node, f"`{visible(name)[:80]}` needs one of `url` and `call`", hint)
    for key in ("headers", *FILES):
        if key in keys and "url" not in keys:
            reader.error(keys[key], f"`{key}` without `url`", "remove it: nothing is sent")
    call = reader.text(keys["call"]) if "call" in keys else None
    if call is not None and CALL.fullmatch(call) is None:
        hint = "module and function: `my_package.review:confirm`"
        reader.error(keys["call"], f"`{visible(call)[:80]}` is no function", hint)
    url = _unheard_url(keys["url"], reader) if "url" in keys else None
    more = _over_http(keys, url, reader, path)
    return ConfirmerConfig(name=name, url=url or "", call=call or "", **more)
