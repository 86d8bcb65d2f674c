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

import numpy as np

from dosimeter.detectors.frames import Codes

MAX_ROWS = 1 << 16
"""Refused above this when read: no span is that long, and anyone may have edited the file."""


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
        fields = json.loads(body)
        first, columns = fields["first"], fields["columns"]
        raw = base64.b64decode(fields["codes"], validate=True)
        tokens = fields.get("tokens")
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
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
