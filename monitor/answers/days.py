"""Counts by severity and day, or week, as the pages draw them. It knows no alert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.audit.history import dicts
from dosimeter.monitor.audit.queries.times import day_begins
from dosimeter.monitor.pages import shown

MOST_DAYS = 62


def days(asked: Asked, zone: str, **params: Any) -> tuple[shown.Day, ...]:
    """Counts by severity and day of the zone; without days on which there was none."""
    given = {name: value for name, value in params.items() if value is not None}
    return days_of(dicts(asked.history.queries.by_day("per_day", ZoneInfo(zone), **given)))


def begins(asked: Asked, zone: str, ago_ns: int) -> int:
    """The first moment of the day of the zone that it was so long ago: a part of a day is no bar beside whole ones."""
    there = ZoneInfo(zone)
    return day_begins(datetime.fromtimestamp((asked.now_ns() - ago_ns) / 1e9, there).date(), there)


def days_of(rows: Iterable[Mapping[str, Any]]) -> tuple[shown.Day, ...]:
    """rows: of the query `per_day`."""
    counts: dict[int, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row["day"], Counter())[row["severity"] or "info"] += row["n"]
    return tuple(shown.Day(_date(day), dict(counts[day])) for day in sorted(counts))


def weeks_of(rows: Sequence[Mapping[str, Any]]) -> tuple[shown.Day, ...]:
    """The same by week, each under its Monday, where there are more days than a page can hold; else none."""
    if len({row["day"] for row in rows}) <= MOST_DAYS:
        return ()
    monday = [row["day"] - (row["day"] + 3) % 7 for row in rows]  # 1970 began on a Thursday
    return days_of({**row, "day": day} for row, day in zip(rows, monday, strict=True))


@lru_cache(maxsize=4096)
def _date(day: int) -> str:
    """Of days since 1970."""
    return str(np.datetime64(day, "D"))
