"""A record of which most is known beforehand: its canonical JSON, with places that are left open and filled for each.

A storm writes a record a hit, and sorting and quoting forty fields anew is what it would cost. Owns the places and
what stands in them; the text around them comes from `canonical.py`. It never learns what a record is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from dosimeter.rules.canonical import canonical

_PLACE = re.compile(r'"\\u0000(\w+)\\u0000"')


def place(name: str) -> str:
    """Stands in a value where something is left open. No text that can be printed is equal to it."""
    return f"\0{name}\0"


class Form:
    """Filled with the canonical JSON of each of its places, it is the canonical JSON of the whole."""

    __slots__ = ("_names", "_text")

    def __init__(self, value: Any) -> None:
        parts = _PLACE.split(canonical(value).decode())
        self._names = tuple(parts[1::2])
        self._text = "%s".join(part.replace("%", "%%") for part in parts[::2])

    def fill(self, found: Mapping[str, str | int]) -> str:
        """found: by place, integers as they are and anything else as canonical JSON."""
        return self._text % tuple([found[name] for name in self._names])


def json_text(value: str) -> str:
    """Canonical JSON of a text."""
    return encode_basestring(value)


def json_list(values: list[str]) -> str:
    """Canonical JSON of a list of what is canonical JSON."""
    return f"[{','.join(values)}]"


def json_object(items: Mapping[str, str]) -> str:
    """Canonical JSON of texts by name. The names are ASCII and come sorted."""
    inside = [f"{encode_basestring(name)}:{encode_basestring(items[name])}" for name in items]
    return f"{{{','.join(inside)}}}"
