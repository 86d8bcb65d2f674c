"""The named queries as objects: which parameters each takes, and its text with the values that were asked for.

Owns the small conventions of queries.sql (optional lines, the shared filter, several values for one name) and what the
two dialects write differently. It runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dosimeter.monitor.history.named_sql import NamedSql, load_sql

Kind = Literal["int", "text", "id", "ids", "flag", "prefix"]

PARAMETERS: Mapping[str, Kind] = {
    "prefix": "prefix",
    **dict.fromkeys(("about", "tenant", "subject", "conversation"), "id"),
    "tenants": "ids",
    **dict.fromkeys(
        ("from_ns", "to_ns", "before_ns", "before_idx", "first", "past", "limit", "offset_ns", "width"), "int"
    ),
    **dict.fromkeys(
        ("kind", "source", "rule", "feature", "severity", "status", "decision", "verdict", "actor", "reviewer"), "text"
    ),
    **dict.fromkeys(("disagreed", "labelled"), "flag"),
}  # fmt: skip
"""Of which sort each parameter is, in all queries. from_ns belongs to what is asked for, to_ns no more."""
DEFAULTS: Mapping[str, Any] = {"kind": "alert", "limit": 100, "offset_ns": 0, "width": 64}
MIN_PREFIX = 8
MAX_MS = 2**48 - 1
_DAY_NS = 86_400 * 10**9
_NUMBERS: Mapping[str, tuple[int, int]] = {
    "limit": (0, 2**62),
    "width": (1, 2**31),
    "offset_ns": (-_DAY_NS, _DAY_NS),
}
"""From and to; all other numbers are what 64 bits hold."""

_ONLY = "/* only */"
_JUDGED_PAGE, _OF_PAGE = "/* judged, of page alone */", "/* of page */"
_OPTIONAL = re.compile(r"^(.*?)\s+-- if (\w+)$")
_PARAMETER = re.compile(r":([a-z_]\w*)")
_ENTRY = re.compile(r"\b(FROM|JOIN) entry\b")
_ENTRY_AS = re.compile(rf"{_ENTRY.pattern}( AS \w+)?")
_BETWEEN = ("low", "high")
_BEFORE = ("before_ns", "before_idx")
Value = int | str | bytes


class QueryError(ValueError):
    """There is no such query, or it cannot take this; the text says what it takes."""


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    when: str | None  # left out where this parameter is not given


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with its values, ready for either half."""

    query: Query
    values: Mapping[str, Any]

    def sqlite(self, entries: str = "entry") -> tuple[str, dict[str, Value]]:
        """entries: the view to ask in the place of all of them."""
        text, values = self._text()
        return _ENTRY.sub(rf"\1 {entries}", text.replace(" // ", " / ")), values

    def duckdb(self, entries: str) -> tuple[str, dict[str, Value]]:
        """entries: a table, or a query in brackets, to ask in the place of all of them."""
        text, values = self._text()
        # A function, as paths may have backslashes.
        over = _ENTRY_AS.sub(lambda m: f"{m[1]} {entries}{m[2] or ' AS entry'}", text)
        return _PARAMETER.sub(r"$\1", over), values

    def reads(self, *relations: str) -> bool:
        """Whether it stands on one of these: entry, label, judged."""
        return re.search(rf"\b(FROM|JOIN) ({'|'.join(relations)})\b", self._text()[0]) is not None

    @property
    def key(self) -> tuple[Any, ...]:
        """The same of the same question."""
        return self.query.name, *sorted((n, repr(v)) for n, v in self.values.items())

    def but(self, **values: Any) -> Asked:
        """None takes a value away."""
        merged = {n: v for n, v in {**self.values, **values}.items() if v is not None}
        return replace(self, values=merged)

    def _text(self) -> tuple[str, dict[str, Value]]:
        lines = [one for one in self.query.lines if one.when is None or one.when in self.values]
        text = "\n".join(one.text for one in lines)
        used: dict[str, Value] = {}
        for name in set(_PARAMETER.findall(text)):
            found = self.values[name]
            if isinstance(found, tuple):
                each = {f"{name}_{i}": one for i, one in enumerate(found)}
                among = ", ".join(f":{one}" for one in each) or "NULL"
                text = re.sub(rf":{name}\b", among, text)
                used |= each
            else:
                used[name] = found
        return text, used


@dataclass(frozen=True, slots=True)
class Query:
    """One named query. required: parameters without a default that must be given."""

    name: str
    about: str
    lines: tuple[Line, ...]
    parameters: tuple[str, ...] = field(default=())
    required: frozenset[str] = field(default=frozenset())

    def asked(self, given: Mapping[str, Any]) -> Asked:
        """Raises QueryError. None is as good as not given."""
        there = {n: v for n, v in given.items() if v is not None}
        for name in there:
            if name not in self.parameters:
                takes = ", ".join(self.parameters) or "nothing"
                raise QueryError(f"query `{self.name}` takes no `{name}`\n  hint: it takes {takes}")
        values = {n: DEFAULTS[n] for n in self._with_default()} | {
            n: read(n, v) for n, v in there.items()
        }
        for one, other in (_BEFORE, _BEFORE[::-1]):
            if one in values and other not in values:
                raise QueryError(f"`{one}` needs `{other}`: of the last row of the page before")
        for name in sorted(self.required):
            if name not in values:
                raise QueryError(f"query `{self.name}` needs `{name}`")
        if "prefix" in values:
            values |= _between(values.pop("prefix"))
        return Asked(self, values)

    def _with_default(self) -> list[str]:
        optional = {line.when for line in self.lines}
        return [n for n in self.parameters if n in DEFAULTS and n not in optional]


def _queries(sql: NamedSql) -> Iterator[tuple[str, Query]]:
    for name in sql.names():
        if name in ("only", "judged"):
            continue
        said, body = [], []
        whole = sql[name].replace(_ONLY, sql["only"])
        whole = whole.replace(
            _JUDGED_PAGE, sql["judged"].replace(_OF_PAGE, "AND about IN (SELECT id FROM page)")
        )
        for text in whole.splitlines():
            if text.startswith("-- about: "):
                said.append(text.removeprefix("-- about: "))
            elif text.strip() and not text.startswith("--"):
                body.append(text)
        yield name, _query(name, " ".join(said), tuple(_lines(body)))


def _lines(body: list[str]) -> Iterator[Line]:
    for text in body:
        found = _OPTIONAL.match(text)
        yield Line(found[1], found[2]) if found else Line(text, None)


def _query(name: str, about: str, lines: tuple[Line, ...]) -> Query:
    optional = {line.when for line in lines if line.when}
    always = {p for line in lines if line.when is None for p in _PARAMETER.findall(line.text)}
    every = {p for line in lines for p in _PARAMETER.findall(line.text)} | optional
    if set(_BETWEEN) <= every:
        every = every - {*_BETWEEN, "from_ns", "to_ns"} | {"prefix"}
        always = always - set(_BETWEEN) | {"prefix"}
    order = {p: i for i, p in enumerate(PARAMETERS)}
    required = frozenset(p for p in always if p not in DEFAULTS)
    return Query(name, about, lines, tuple(sorted(every, key=order.__getitem__)), required)


def read(name: str, value: Any) -> Any:
    """The value of this parameter. Raises QueryError."""
    kind = PARAMETERS[name]
    try:
        if kind == "id":
            return _id(value)
        if kind == "ids":
            return tuple(_id(one) for one in value)
        if kind in ("int", "flag"):
            low, high = _NUMBERS.get(name, (-(2**63), 2**63 - 1))
            if not low <= (number := int(value)) <= high:
                raise ValueError(f"{low} to {high} can be asked for")
            return number
        return str(value)
    except (ValueError, TypeError) as error:
        raise QueryError(f"`{name}` is `{str(value)[:40]}`: {error}") from None


def _id(value: bytes | str) -> bytes:
    found = bytes.fromhex(value) if isinstance(value, str) else bytes(value)
    if len(found) != 16:
        raise ValueError("an id has 32 hex characters")
    return found


def _between(prefix: str) -> dict[str, Any]:
    """What lies between the lowest and the highest id with these first characters, and when that can have been."""
    text = prefix.strip().lower()
    if not MIN_PREFIX <= len(text) <= 32 or not set(text) <= set("0123456789abcdef"):
        raise QueryError(
            f"`prefix` is `{prefix[:40]}`: {MIN_PREFIX} to 32 hex characters are needed"
        )
    low, high = text.ljust(32, "0"), text.ljust(32, "f")
    first_ms, last_ms = int(low[:12], 16), int(high[:12], 16)
    found: dict[str, Any] = {"low": bytes.fromhex(low), "high": bytes.fromhex(high)}
    if first_ms > 0:  # an event before 1970 has milliseconds 0
        found["from_ns"] = first_ms * 1_000_000
    if last_ms < MAX_MS and (last_ms + 1) * 1_000_000 < 2**63:
        found["to_ns"] = (last_ms + 1) * 1_000_000
    if found.get("from_ns", 0) >= 2**63:
        del found["from_ns"]
    return found


SQL = load_sql("dosimeter.monitor.audit.queries", "queries.sql")
QUERIES: Mapping[str, Query] = dict(_queries(SQL))
JUDGED = SQL["judged"].replace(_OF_PAGE, "")


def query_named(name: str) -> Query:
    """Raises QueryError."""
    found = QUERIES.get(name)
    if found is None:
        raise QueryError(f"there is no query `{name}`\n  hint: {', '.join(sorted(QUERIES))}")
    return found
