"""The wire form of an item: canonical JSON that states its version, and the identity of an item.

What comes from a topic may have been written by anyone: sizes, types and hashes are checked here, and `ItemError` says
what is wrong. It knows nothing of where bytes come from or go.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from dosimeter.monitor.feed.items import (
    Alert,
    Alive,
    Blob,
    Bye,
    Coverage,
    Evidence,
    Hello,
    Item,
    Refused,
    Rolled,
)
from dosimeter.rules.canonical import MAX_INT, canonical, digest

WIRE_VERSION = 1
MAX_WIRE = 4 << 20
MAX_TEXT = 2_000
"""Of a name or a reason."""
MAX_CORE = 256 << 10
MAX_EVIDENCE = 4 << 20
MAX_BLOB = 32 << 20
MAX_NAMES = 1_000
"""Of a table of counts."""
PACKED = 64 << 10
"""Bodies above this travel compressed: the program of a large estate would not fit into a record of Kafka."""


class ItemError(ValueError):
    """These bytes are no item; says why."""


def identity(item: Item) -> str:
    """32 hex characters: the same item has the same, however often it comes and however it was packed."""
    if isinstance(item, Alert):
        return item.event_id
    found: dict[str, Any] = {"kind": item.kind}
    for one in fields(item):
        value = getattr(item, one.name)
        found[one.name] = digest(value) if isinstance(value, bytes) else value
    return digest(canonical(found))[:32]


def encode(item: Item) -> bytes:
    """Canonical JSON: `v`, `kind` and the fields; bodies as text, or in an object that says how they are packed."""
    found: dict[str, Any] = {"v": WIRE_VERSION, "kind": item.kind}
    for one in fields(item):
        value = getattr(item, one.name)
        found[one.name] = _packed(value) if isinstance(value, bytes) else value
    return canonical(found)


def decode(wire: bytes) -> Item:
    """The inverse of `encode`. Raises ItemError on anything else."""
    if len(wire) > MAX_WIRE:
        raise ItemError(f"{len(wire)} bytes; at most {MAX_WIRE} are read")
    try:
        found = json.loads(wire)
    except (ValueError, RecursionError) as error:
        raise ItemError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ItemError(f"not an object but {type(found).__name__}")
    version = found.pop("v", None)
    if version != WIRE_VERSION or isinstance(version, bool):
        raise ItemError(
            f"version is {_shown(version)}, not {WIRE_VERSION}\n  hint: if it is newer, upgrade history"
        )
    kind = found.pop("kind", None)
    form = _FORMS.get(kind) if isinstance(kind, str) else None
    if form is None:
        raise ItemError(f"kind is {_shown(kind)}, none of {', '.join(_FORMS)}")
    made, checks = form
    if found.keys() != checks.keys():
        odd = sorted(found.keys() ^ checks.keys())
        raise ItemError(f"`{kind}`: missing or not known: {_shown(odd)}")
    item = made(**{name: check(found[name], name) for name, check in checks.items()})
    if isinstance(item, Blob) and digest(item.body) != item.sha256:
        raise ItemError(f"`blob`: the body is not what its hash names, {item.sha256}")
    return item


def _packed(body: bytes) -> str | dict[str, str]:
    if len(body) > PACKED:
        return {"zlib": base64.b64encode(zlib.compress(body)).decode()}
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _shown(value: object) -> str:
    text = ascii(value)
    return f"`{text[:80]}`"


def _body(limit: int) -> Callable[[Any, str], bytes]:
    def check(value: Any, name: str) -> bytes:
        try:
            body = _unpacked(value, limit)
        except (ValueError, binascii.Error, zlib.error) as error:
            raise ItemError(f"`{name}` cannot be unpacked: {error}") from error
        if len(body) > limit:
            raise ItemError(f"`{name}` has more than {limit} bytes")
        return body

    return check


def _unpacked(value: Any, limit: int) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and len(value) == 1:
        [(way, text)] = value.items()
        if isinstance(text, str) and way == "base64":
            return base64.b64decode(text, validate=True)
        if isinstance(text, str) and way == "zlib":
            stream = zlib.decompressobj()
            body = stream.decompress(base64.b64decode(text, validate=True), limit + 1)
            if stream.eof or len(body) > limit:
                return body
            raise ValueError("its end is missing")
    raise ValueError(f"a {type(value).__name__} is neither text nor packed")  # it may be personal


def _maybe(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, name: None if value is None else check(value, name)


def _hex(length: int) -> Callable[[Any, str], str]:
    pattern = re.compile(rf"[0-9a-f]{{{length}}}")

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ItemError(f"`{name}` is {_shown(value)}, not {length} hexadecimal digits")
        return value

    return check


def _integer(least: int) -> Callable[[Any, str], int]:
    def check(value: Any, name: str) -> int:
        if type(value) is not int or not least <= value <= MAX_INT:
            raise ItemError(f"`{name}` is {_shown(value)}, not an integer of at least {least}")
        return value

    return check


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ItemError(f"`{name}` is {_shown(value)}, not a text of at most {MAX_TEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ItemError(f"`{name}` is {_shown(value)}, not Unicode") from error
    return value


def _truth(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ItemError(f"`{name}` is {_shown(value)}, not true or false")
    return value


def _counts(value: Any, name: str) -> Mapping[str, int]:
    if not isinstance(value, dict) or len(value) > MAX_NAMES:
        raise ItemError(f"`{name}` is {_shown(value)}, not an object of at most {MAX_NAMES} counts")
    return {_text(key, name): _ANY(count, name) for key, count in value.items()}


_SOURCE, _EPOCH, _SHA256 = _hex(32), _hex(16), _hex(64)
_COUNT, _SEQ, _ANY = _integer(0), _integer(1), _integer(-MAX_INT)
_FORMS: dict[str, tuple[Callable[..., Item], dict[str, Callable[[Any, str], Any]]]] = {
    "alert": (
        Alert,
        {
            "source": _SOURCE,
            "seq": _SEQ,
            "event_id": _hex(32),
            "core": _body(MAX_CORE),
            "evidence": _maybe(_body(MAX_EVIDENCE)),
            "final": _truth,
        },
    ),
    "evidence": (
        Evidence,
        {"source": _SOURCE, "event_id": _hex(32), "body": _body(MAX_EVIDENCE)},
    ),
    "blob": (Blob, {"sha256": _SHA256, "body": _body(MAX_BLOB)}),
    "coverage": (
        Coverage,
        {
            "source": _SOURCE,
            "epoch": _EPOCH,
            "from_ns": _COUNT,
            "to_ns": _COUNT,
            "served": _ANY,
            "served_by": _counts,
            "scored": _ANY,
            "unscored": _counts,
            "unaccounted": _ANY,
            "requests": _ANY,
            "closed": _ANY,
        },
    ),
    "hello": (
        Hello,
        {
            "source": _SOURCE,
            "name": _text,
            "started_ns": _COUNT,
            "first_seq": _SEQ,
            "exact_after": _COUNT,
            "last_seq": _COUNT,
        },
    ),
    "alive": (Alive, {"source": _SOURCE, "last_seq": _COUNT, "at_ns": _COUNT}),
    "bye": (Bye, {"source": _SOURCE, "last_seq": _COUNT, "at_ns": _COUNT, "reason": _text}),
    "rolled": (Rolled, {"source": _SOURCE, "had": _COUNT, "has": _COUNT, "at_ns": _COUNT}),
    "refused": (Refused, {"source": _maybe(_SOURCE), "where": _text, "because": _text}),
}
