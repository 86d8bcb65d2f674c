"""An item as a record of Kafka, and back: the key is the source, so that one partition keeps its order.

It knows no client and no connection.
"""

from __future__ import annotations

from typing import Any

from dosimeter.monitor.feed.items import Item, Refused
from dosimeter.monitor.feed.wire import ItemError, decode, encode

TOPIC = "dosimeter.history"
SHOWN = 32
"""Bytes of a key that is not ours."""


def record(item: Item, source: str) -> dict[str, Any]:
    """Keyword arguments of a producer's `send`."""
    return {
        "key": source.encode(),
        "value": encode(item),
        "headers": [
            ("content-type", b"application/json"),
            ("schema", f"dosimeter.history.{item.kind}.v1".encode()),
        ],
    }


def item_at(where: str, key: bytes | None, value: bytes | None) -> Item:
    """What a record holds; anything may be in a topic. where: its place, for what is refused."""
    because = "no value"
    if value is not None:
        try:
            item = decode(value)
        except ItemError as error:
            because = str(error)
        else:
            source = getattr(item, "source", None)
            if source is None or source.encode() == key:
                return item
            because = f"key {_shown(key)} is not its source `{source}`"
    return Refused(None, f"{where}, key {_shown(key)}", because)


def _shown(key: bytes | None) -> str:
    return "none" if key is None else f"`{ascii(key[:SHOWN])[2:-1]}`"
