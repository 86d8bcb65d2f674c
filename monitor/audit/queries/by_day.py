"""Counts by the days of a time zone, whose clocks may change on the way: a question a stretch, answers added up.

It knows no store: whoever asks gives the way to run one question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from dosimeter.monitor.audit.queries.beside import Rows
from dosimeter.monitor.audit.queries.day_periods import periods
from dosimeter.monitor.audit.queries.named_queries import QUERIES, QueryError, read
from dosimeter.monitor.audit.queries.remembered import added


def by_day(
    run: Callable[..., Rows],
    times: tuple[int, int],
    name: str,
    zone: ZoneInfo,
    given: Mapping[str, Any],
) -> Rows:
    """times: of the first and of the last event of all. Raises QueryError."""
    if "offset_ns" not in QUERIES[name].parameters:
        raise QueryError(f"query `{name}` does not count by day")
    given, (first, last) = dict(given), times
    begin, end = (
        None if (value := given.pop(name, None)) is None else read(name, value)
        for name in ("from_ns", "to_ns")
    )
    low = first if begin is None else max(begin, first)
    high = last + 1 if end is None else min(end, last + 1)
    found = []
    for one in periods(zone, low, high):
        # Without bounds where none are needed: what was counted so is remembered.
        part = {
            "from_ns": begin if one.from_ns <= low else one.from_ns,
            "to_ns": end if one.to_ns >= high else one.to_ns,
        }
        found.append(run(name, **given, **part, offset_ns=one.offset_ns))
    return added(name, *(found or [run(name, **given, from_ns=begin, to_ns=end)]))
