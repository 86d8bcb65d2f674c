"""The evidence body: score codes around an alert's span, as JSON that fits in one table cell.

It owns the encoding and its limits; it knows nothing of when evidence is written or who may read
it. Text is present only when content was enabled for that tenant.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from dosimeter.detectors.frames import Codes

MAX_ROWS = 1 << 16
"""Refused above this when read: no span is that long, and anyone may have edited the file."""
MAX_REST = 512
"""Bytes of all but the codes that are remembered: the same columns come again and again."""


class EvidenceError(ValueError):
    """The body is not evidence, or contradicts itself."""


@dataclass(frozen=True)
class Evidence:
    """Rows first .. first + T of one request."""

    first: int  # position of the first row
    columns: tuple[str, ...]  # feature of each column
    codes: Codes  # int16 [T, F], 1/256 benign sd; CODE_UNSCORED where there is no score
    tokens: tuple[str, ...] | None = None  # [T] text of each row, only where content is enabled


def encode_evidence(evidence: Evidence) -> bytes:
    """Canonical JSON `{"codes": base64 of <i2 [T, F], "columns", "first", "tokens"?, "v": 1}`."""
    codes = np.ascontiguousarray(evidence.codes, dtype="<i2")
    tokens = "" if evidence.tokens is None else f',"tokens":{_names(evidence.tokens)}'
    rest = f'","columns":{_columns(evidence.columns)},"first":{evidence.first}{tokens},"v":1}}'
    return b'{"codes":"%b%b' % (binascii.b2a_base64(codes.tobytes(), newline=False), rest.encode())


def _names(names: tuple[str, ...]) -> str:
    return json.dumps(names, separators=(",", ":"))


_columns = lru_cache(maxsize=64)(_names)


def decode_evidence(body: bytes) -> Evidence:
    """The inverse of `encode_evidence`. Raises EvidenceError on anything else."""
    try:
        first, columns, raw, tokens = _as_written(body) or _as_json(body)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise EvidenceError(f"evidence body cannot be read: {error!r}") from error
    if not isinstance(first, int) or first < 0:
        raise EvidenceError(f"evidence `first` is {first!r}, not a position")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise EvidenceError(f"evidence `columns` is {columns!r}, not a list of names")
    width = 2 * len(columns)
    if not width or len(raw) % width or len(raw) // width > MAX_ROWS:
        raise EvidenceError(f"evidence has {len(raw)} bytes of codes for {len(columns)} columns")
    codes = np.frombuffer(raw, dtype="<i2").reshape(-1, len(columns)).astype(np.int16)
    if tokens is None:
        return Evidence(first, tuple(columns), codes)
    if not isinstance(tokens, list) or len(tokens) != len(codes):
        raise EvidenceError(f"evidence has {len(codes)} rows and not as many tokens")
    return Evidence(first, tuple(columns), codes, tuple(str(token) for token in tokens))


_Fields = tuple[Any, Any, bytes, Any]
"""first, columns, the bytes of the codes, tokens."""


def _as_json(body: bytes) -> _Fields:
    fields = json.loads(body)
    raw = base64.b64decode(fields["codes"], validate=True)
    return fields["first"], fields["columns"], raw, fields.get("tokens")


def _as_written(body: bytes) -> _Fields | None:
    """What `_as_json` returns, of a body that begins as `encode_evidence` begins it; most of one are the codes."""
    before, _, rest = body.partition(b'","columns":')
    if len(rest) > MAX_REST or not before.startswith(b'{"codes":"'):
        return None
    try:
        raw = binascii.a2b_base64(before[10:], strict_mode=True)
    except binascii.Error:
        return None
    known = _rest(rest)
    return None if known is None else (known[0], known[1], raw, known[2])


@lru_cache(maxsize=1024)
def _rest(rest: bytes) -> tuple[Any, Any, Any] | None:
    """first, columns, tokens; None where another value for the codes stands there."""
    fields = json.loads(b'{"columns":' + rest)
    if "codes" in fields:
        return None
    return fields["first"], fields["columns"], fields.get("tokens")
