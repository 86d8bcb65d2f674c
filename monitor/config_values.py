"""Values that stand under several keys of the sidecar's file: addresses, and mappings whose names are someone else's.

It owns what is wrong with one of them. What a value is for, whoever reads it knows.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from dosimeter.detectors.findings import visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node


def read_url(node: Node, reader: Reader) -> str | None:
    text = reader.text(node)
    if text is not None and not text.startswith(("http://", "https://")):
        reader.error(node, f"`{visible(text)}` is not a URL", "write `http://host:4318`")
    elif text is not None and "@" in text.partition("://")[2].partition("/")[0]:
        hint = "put the credential under `headers`: an address is shown in logs and status"
        reader.error(node, "the URL has a user or a password in it", hint)
    return text


def own_url(node: Node, reader: Reader) -> str | None:
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


def read_texts(node: Node, reader: Reader) -> dict[str, str]:
    """Headers and attributes: text on one line, a number as it is written."""
    found = {}
    for name, value in scalars(node, reader).items():
        if value.kind == "null" or "\n" in name + value.written:
            reader.error(value, f"`{visible(name)}` is not one line of text", "write its value")
        found[name] = value.written
    return found


def scalars(node: Node, reader: Reader) -> dict[str, Node]:
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
