"""Days of a time zone as arithmetic: periods of time in which the zone's distance from UTC does not change.

A query can only count days at a fixed distance, so one over a change of the clocks is asked once a period. Owns finding
the changes; knows nothing of queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

SECOND_NS = 1_000_000_000
_STEP = timedelta(days=14)
"""Shorter than any time between two changes of a zone's clocks."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """[from_ns, to_ns), throughout offset_ns ahead of UTC."""

    from_ns: int
    to_ns: int
    offset_ns: int


def periods(zone: ZoneInfo, from_ns: int, to_ns: int) -> Iterator[Period]:
    """In order, without gaps, over [from_ns, to_ns)."""
    begun = from_ns
    while begun < to_ns:
        offset = _offset(zone, begun)
        changed = _change(zone, begun, to_ns, offset)
        yield Period(begun, changed, offset * SECOND_NS)
        begun = changed


def _change(zone: ZoneInfo, from_ns: int, to_ns: int, offset: int) -> int:
    """The first moment from which the offset is another one; `to_ns` where there is none before."""
    step = int(_STEP.total_seconds()) * SECOND_NS
    same, other = from_ns, from_ns
    while _offset(zone, other) == offset:
        if other >= to_ns:
            return to_ns
        same, other = other, min(other + step, to_ns)
    low, high = same // SECOND_NS, -(-other // SECOND_NS)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle * SECOND_NS) == offset:
            low = middle
        else:
            high = middle
    return min(high * SECOND_NS, to_ns)


def _offset(zone: ZoneInfo, time_ns: int) -> int:
    """Seconds ahead of UTC."""
    moment = (_EPOCH + timedelta(seconds=time_ns // SECOND_NS)).astimezone(zone)
    ahead = moment.utcoffset()
    assert ahead is not None  # a moment with a zone has one
    return int(ahead.total_seconds())
