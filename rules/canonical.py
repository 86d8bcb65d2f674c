"""Canonical JSON: one byte string for one value, so that a digest means the same everywhere.

Owns the encoding (after RFC 8785: sorted keys, no spaces, UTF-8; no floats, so none of its number
rules are needed, and integers of 64 bits keep every digit) and the digest over it. It never
learns what is encoded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

MAX_INT = 2**63 - 1
"""What SQLite, Parquet and Kafka's clients keep exactly; larger ones are written as text."""


def canonical(value: Any) -> bytes:
    """The one encoding of `value`. ValueError for floats, large integers, lone surrogates."""
    try:
        return _ENCODE(_quick(value)).encode()
    except (_Unusual, UnicodeEncodeError):
        return _ENCODE(_plain(value, "$")).encode()


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


class _Unusual(Exception):
    """Nothing that `_quick` knows: `_plain` looks again, and says where it is."""


def _quick(value: Any) -> Any:
    """What `_plain` returns, for plain types and ASCII keys. Lone surrogates are found when it is encoded."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        if -MAX_INT <= value <= MAX_INT:
            return value
    elif kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii():
                raise _Unusual
        return {key: _quick(value[key]) for key in sorted(value)}
    elif kind is list or kind is tuple:
        return [_quick(one) for one in value]
    raise _Unusual


def _plain(value: Any, path: str) -> Any:
    """A copy in canonical key order (UTF-16 code units, as RFC 8785 sorts), every leaf checked."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError(f"{path}: a lone surrogate has no canonical form")
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INT:
            raise ValueError(f"{path}: {value} is too large for JSON, write it as text")
        return int(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{path}: key {key!r} is not text")
        names = sorted(value, key=lambda k: k.encode("utf-16-be", "surrogatepass"))
        return {_plain(k, path): _plain(value[k], f"{path}.{k}") for k in names}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{path}[{i}]") for i, v in enumerate(value)]
    raise ValueError(f"{path}: {type(value).__name__} has no canonical form")
