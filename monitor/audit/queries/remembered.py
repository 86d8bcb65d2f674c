"""What counting queries answered over sealed files, kept: a file never changes, so only new ones are counted again.

Owns which queries can be added up from parts, and how. It runs nothing, and what is not sealed it never sees.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from operator import add
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
_HOW: dict[str, Callable[[int, int], int]] = {"n": add, "first_ns": min, "last_ns": max}
"""Of a span of no entries the ends are NULL."""
_ORDER: dict[str, tuple[str, ...]] = {
    "count": (),
    "span": (),
    "count_by_rule": ("-n", "rule"),
    "count_by_tenant": ("rule", "tenant"),
    "per_day": ("day", "severity"),
    "per_day_by_rule": ("day", "rule", "severity"),
    "values_per_day": ("day", "bin"),
    "count_by_severity": ("-n", "severity"),
    "rules_seen": ("rule", "first_ns", "terms"),
}
"""The queries whose parts add up, each with the order of its rows in queries.sql, NULL first."""


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

    def of(
        self, asked: Asked, gone: frozenset[int], past: int, steady: bool = False
    ) -> Part | None:
        """None where this question cannot be added up; its own past is 0 where nothing of it is known.

        past: the end of what was sealed at the moment of the question; what was counted later is of no use to it.
        steady: it will be asked with these very bounds again, if it has any.
        """
        if not adds_up(asked) or (asked.values.keys() & _BOUNDS and not steady):
            return None
        if gone != self._gone:
            self._parts.clear()
            self._large.clear()
            self._gone = gone
        key = asked.key
        if key in self._parts and self._parts[key].past <= past:
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


def is_lasting(asked: Asked) -> bool:
    """Whether what it counts among sealed entries stays what it is, and is asked for again."""
    return not asked.values.keys() & (_CHANGING | _BOUNDS)


def added(query: str, *parts: Rows) -> Rows:
    """The answer of the query of this name over all of them together; a part without columns has none."""
    told = [part for part in parts if part.columns]
    some = [part for part in told if part.rows] or told[:1]
    if len(some) == 1:
        return some[0]
    columns = some[0].columns
    of = [i for i, name in enumerate(columns) if name not in _HOW]
    how = [_HOW.get(name, _same) for name in columns]
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for part in some:
        for row in part.rows:
            key = tuple([row[i] for i in of])
            there = found.get(key)
            found[key] = row if there is None else tuple(map(_both, how, there, row))
    order = [(columns.index(name.lstrip("-")), name[0] == "-") for name in _ORDER[query]]

    def place(row: tuple[Any, ...]) -> list[Any]:
        return [-row[i] if falling else (row[i] is not None, row[i]) for i, falling in order]

    return Rows(columns, sorted(found.values(), key=place))


def _both(how: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one if other is None else other
    return how(one, other)


def _same(one: Any, _: Any) -> Any:
    return one
