"""What counting queries answered over sealed files, kept: a file never changes, so only new ones are counted again.

Owns which queries can be added up from parts, and how. It runs nothing, and what is not sealed it never sees.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dosimeter.monitor.audit.queries.beside import Rows
from dosimeter.monitor.audit.queries.named_queries import Asked

MOST = 64
"""Questions that are remembered, the latest."""
MOST_ROWS = 100_000
"""Of one answer: a larger one is counted anew each time."""
MOST_ROWS_IN_ALL = 400_000
"""Of all answers together: some 100 MB."""
_BOUNDS = frozenset({"from_ns", "to_ns"})
_CHANGING = frozenset({"verdict", "disagreed", "reviewer", "labelled"})
"""What is said of an alert may change when the alert does not."""
_HOW: dict[str, Callable[[Sequence[int]], int]] = {"n": sum, "first_ns": min, "last_ns": max}


def _nulls_first(value: Any) -> tuple[bool, Any]:
    return value is not None, value


_ORDER: dict[str, Callable[[dict[str, Any]], Any]] = {
    "count": lambda row: 0,
    "count_by_rule": lambda row: (-row["n"], _nulls_first(row["rule"])),
    "count_by_tenant": lambda row: (_nulls_first(row["rule"]), _nulls_first(row["tenant"])),
    "per_day": lambda row: (row["day"], _nulls_first(row["severity"])),
    "values_per_day": lambda row: (row["day"], row["bin"]),
    "count_by_severity": lambda row: (-row["n"], _nulls_first(row["severity"])),
    "rules_seen": lambda row: (row["rule"], row["first_ns"], _nulls_first(row["terms"])),
}
"""The queries whose parts add up, each with the order of its rows in queries.sql."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the sealed entries before position `past` answer."""

    past: int
    rows: Rows


class Remembered:
    """Use it under a lock. gone: the files whose time is over; what was counted with them is forgotten."""

    def __init__(self) -> None:
        self._parts: OrderedDict[tuple[Any, ...], Part] = OrderedDict()
        self._large: set[tuple[Any, ...]] = set()
        self._gone: frozenset[int] = frozenset()

    def of(self, asked: Asked, gone: frozenset[int], steady: bool = False) -> Part | None:
        """None where this question cannot be added up; past 0 where nothing of it is known.

        steady: it will be asked with these very bounds again, if it has any.
        """
        if not adds_up(asked) or (asked.values.keys() & _BOUNDS and not steady):
            return None
        if gone != self._gone:
            self._parts.clear()
            self._large.clear()
            self._gone = gone
        key = asked.key
        if key in self._parts:
            self._parts.move_to_end(key)
            return self._parts[key]
        return Part(0, Rows((), []))

    def keep(self, asked: Asked, part: Part, gone: frozenset[int]) -> None:
        """gone: as it was when this was counted; a file that went meanwhile is in the part."""
        if gone != self._gone:
            return
        if len(part.rows.rows) > MOST_ROWS:
            self._large.add(asked.key)
            return
        self._parts[asked.key] = part
        while len(self._parts) > MOST or self._rows() > MOST_ROWS_IN_ALL:
            self._parts.popitem(last=False)

    def _rows(self) -> int:
        return sum(len(part.rows.rows) for part in self._parts.values())

    def fits(self, asked: Asked) -> bool:
        """Whether its answer was not too large to be kept."""
        return asked.key not in self._large


def adds_up(asked: Asked) -> bool:
    """Whether what two halves of the entries answer is the answer of both when added."""
    return asked.query.name in _ORDER and not asked.values.keys() & _CHANGING


def added(asked: Asked, *parts: Rows) -> Rows:
    """The answer over all of them together; a part without columns has none."""
    told = [part for part in parts if part.columns]
    columns = told[0].columns
    keys = [i for i, name in enumerate(columns) if name not in _HOW]
    each: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for part in told:
        for row in part.rows:
            each.setdefault(tuple(row[i] for i in keys), []).append(row)
    rows = [
        tuple(
            _HOW[name]([row[i] for row in same]) if name in _HOW else same[0][i]
            for i, name in enumerate(columns)
        )
        for same in each.values()
    ]
    order = _ORDER[asked.query.name]
    return Rows(columns, sorted(rows, key=lambda r: order(dict(zip(columns, r, strict=True)))))
