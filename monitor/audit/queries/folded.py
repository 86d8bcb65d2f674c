"""Counts of different tenants and rules, out of counts of each: those add up from file to file, and are remembered.

Owns which queries are answered so, and equal to their text in queries.sql. It runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dosimeter.monitor.audit.queries.beside import Rows
from dosimeter.monitor.audit.queries.named_queries import Asked, query_named
from dosimeter.monitor.audit.queries.remembered import adds_up

BASE = "count_by_tenant"
_BOUNDS = frozenset({"from_ns", "to_ns"})


def base_of(asked: Asked) -> Asked | None:
    """The question about the same entries whose answer `folded` takes; None where this one is asked as it is."""
    if asked.query.name not in _FOLDS or asked.values.keys() & _BOUNDS:
        return None
    base = query_named(BASE)
    given = {name: value for name, value in asked.values.items() if name in base.parameters}
    found = base.asked(given)
    return found if adds_up(found) else None


def folded(asked: Asked, each: Rows) -> Rows:
    """each: the answer of `base_of`."""
    return _FOLDS[asked.query.name](each.dicts(), asked)


def _totals(each: list[dict[str, Any]], _: Asked) -> Rows:
    one = (*_span(each), _different(each, "rule"), _different(each, "tenant"))
    return Rows(("n", "first_ns", "last_ns", "rules", "tenants"), [one])


def _top_rules(each: list[dict[str, Any]], asked: Asked) -> Rows:
    of: dict[str | None, list[dict[str, Any]]] = {}
    for row in each:
        of.setdefault(row["rule"], []).append(row)
    found = [
        (rule, n, _different(rows, "tenant"), low, high)
        for rule, rows in of.items()
        for n, low, high in [_span(rows)]
    ]
    found.sort(key=lambda row: (-row[1], row[0] is not None, row[0]))
    columns = ("rule", "n", "tenants", "first_ns", "last_ns")
    return Rows(columns, found[: max(0, asked.values["limit"])])


def _span(each: list[dict[str, Any]]) -> tuple[int, int | None, int | None]:
    """How many, from when to when."""
    low = min((row["first_ns"] for row in each), default=None)
    return sum(row["n"] for row in each), low, max((row["last_ns"] for row in each), default=None)


def _different(each: list[dict[str, Any]], name: str) -> int:
    return len({row[name] for row in each} - {None})


_FOLDS: dict[str, Callable[[list[dict[str, Any]], Asked], Rows]] = {
    "totals": _totals,
    "top_rules": _top_rules,
}
