"""The columns of an entry, once for both stores: the hot table and the sealed files have the same, in this order.

Owns which fields of a leaf are columns, of which type, and how one row is read out of a leaf and its terms. What is
in no column stands in `more`, so that nothing of a leaf is lost to a query. It knows nothing of SQLite or Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dosimeter.rules.canonical import MAX_INT

Kind = Literal["int", "text", "id", "hash"]
"""int: 64 bits, signed. id: 16 bytes, hex in a leaf. hash: 32 bytes, hex in a leaf."""


@dataclass(frozen=True, slots=True)
class Column:
    """name: in both stores. field: in the leaf, or in its terms."""

    name: str
    kind: Kind
    field: str
    of_terms: bool = False


def _own(kind: Kind, *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind, name) for name in names)


def _terms(kind: Kind, *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind, name, of_terms=True) for name in names)


COLUMNS: tuple[Column, ...] = (
    *_own("id", "id"),
    *_own("text", "kind"),
    *_own("int", "time_ns", "ingested_ns"),
    *_own("text", "source"),
    *_own("int", "seq"),
    *_own("id", "tenant", "subject", "conversation"),
    *_own("text", "route", "epoch", "key", "decision", "reason"),
    *_own("int", "would_act", "clause"),
    Column("span_start", "int", "start"),
    Column("span_end", "int", "end"),
    *_own("int", "position", "value_sum", "value_n", "tokens_scored", "tokens_unscored"),
    *_own("hash", "terms", "evidence"),
    *_terms("text", "rule", "feature", "status", "severity", "scope", "shape", "level", "model"),
    *_terms("int", "threshold_code"),
    *_own("id", "about"),
    *_own("text", "actor", "verdict"),
    *_own("text", "more"),
)
"""After `idx`, the position in the log, which is the primary key of both.

about: the entry that this one is about. actor: who did it, as `role:id`. more: JSON of the other fields of the leaf.
"""

NAMES = tuple(column.name for column in COLUMNS)
Value = int | str | bytes | None
_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode


def row_of(
    leaf: Mapping[str, Any], terms: Mapping[str, Any], constant: tuple[Value, ...] | None = None
) -> tuple[Value, ...]:
    """One row, in the order of COLUMNS. A record without terms says rule, severity and the like itself.

    constant: `constant_of` the terms, where it is known. Raises ValueError for an id or hash that is not hex of its
    length, and for a number that is none.
    """
    places = _PLACES if terms else _ALL_PLACES
    row: list[Any] = [None] * len(COLUMNS)
    more: dict[str, Any] = {}
    for field, found in leaf.items():
        if (place := places.get(field)) is None:
            if field != "v":
                more[field] = found
        elif found is not None:
            at, usual, read = place
            row[at] = found if type(found) is usual else read(found)
    if terms or constant is not None:
        row[_OF_TERMS] = constant_of(terms) if constant is None else constant
    row[-1] = _ENCODE(more) if more else None
    return tuple(row)


def constant_of(terms: Mapping[str, Any]) -> tuple[Value, ...]:
    """The columns that are the same for all entries with these terms."""
    found = ((terms.get(name), read) for name, read in _CONSTANT)
    return tuple([None if value is None else read(value) for value, read in found])


def _whole(found: Any) -> int:
    """A column of numbers takes nothing else: SQLite and Parquet would each make their own of it."""
    if type(found) is int and -MAX_INT <= found <= MAX_INT:
        return found
    if not isinstance(found, int) or not -MAX_INT <= found <= MAX_INT:
        raise ValueError(f"a {type(found).__name__} stands where a whole number of 64 bits should")
    return int(found)


def _text(found: Any) -> str:
    """A model stands for its name: its digest is in the terms."""
    return str(found.get("name", "") if isinstance(found, dict) else found)


def _bytes(n: int) -> Callable[[Any], bytes]:
    def read(found: Any) -> bytes:
        if not isinstance(found, str):
            raise ValueError(f"a {type(found).__name__} stands where {n} bytes in hex should")
        data = bytes.fromhex(found)
        if len(data) != n:
            raise ValueError(f"`{found}` has {len(data)} bytes, not {n}")
        return data

    return read


_READ: Mapping[Kind, Callable[[Any], Value]] = {
    "int": _whole,
    "text": _text,
    "id": _bytes(16),
    "hash": _bytes(32),
}
_CONSTANT = [(c.field, _READ[c.kind]) for c in COLUMNS if c.of_terms]
_USUAL: Mapping[Kind, type | None] = {"int": None, "text": str, "id": None, "hash": None}
"""What is stored as it is."""
_ALL_PLACES = {c.field: (at, _USUAL[c.kind], _READ[c.kind]) for at, c in enumerate(COLUMNS[:-1])}
_PLACES = {c.field: _ALL_PLACES[c.field] for c in COLUMNS[:-1] if not c.of_terms}
_OF_TERMS = slice(
    min(at for at, c in enumerate(COLUMNS) if c.of_terms),
    1 + max(at for at, c in enumerate(COLUMNS) if c.of_terms),
)
"""Columns of terms stand next to each other; `more` is the last."""
