"""Periods of a constant distance from UTC: none is missed, none overlaps, and each has its offset throughout."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.audit.queries.day_periods import Period, periods

SECOND = 1_000_000_000
HOUR = 3600 * SECOND


def ns(*at: int) -> int:
    return int(datetime(*at, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc, arg-type]


def test_berlin_has_two_changes_a_year() -> None:
    begin, end = ns(2026, 1, 1), ns(2027, 1, 1)
    spring, autumn = ns(2026, 3, 29, 1), ns(2026, 10, 25, 1)
    assert list(periods(ZoneInfo("Europe/Berlin"), begin, end)) == [
        Period(begin, spring, HOUR),
        Period(spring, autumn, 2 * HOUR),
        Period(autumn, end, HOUR),
    ]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_a_zone_without_changes_is_one_period(zone: str) -> None:
    (one,) = periods(ZoneInfo(zone), ns(2026, 1, 1), ns(2036, 1, 1))
    assert one.offset_ns in (0, 5 * HOUR + HOUR // 2)


def test_no_time_is_no_period() -> None:
    assert list(periods(ZoneInfo("UTC"), 5, 5)) == []


@given(
    st.sampled_from(["Europe/Berlin", "Africa/Casablanca", "Australia/Lord_Howe", "America/Nuuk"]),
    st.integers(ns(1971, 1, 1), ns(2060, 1, 1)),
    st.integers(1, 3 * 365 * 24 * 3600),
    st.data(),
)
def test_every_moment_is_in_one_period_with_its_offset(
    name: str, begin: int, seconds: int, data: st.DataObject
) -> None:
    zone, end = ZoneInfo(name), begin + seconds * SECOND
    found = list(periods(zone, begin, end))
    assert (found[0].from_ns, found[-1].to_ns) == (begin, end)
    assert all(a.to_ns == b.from_ns and a.offset_ns != b.offset_ns for a, b in pairwise(found))
    at = data.draw(st.integers(begin, end - 1))
    (one,) = [p for p in found if p.from_ns <= at < p.to_ns]
    there = datetime.fromtimestamp(at // SECOND, zone).utcoffset()
    assert there is not None
    assert one.offset_ns == there.total_seconds() * SECOND
