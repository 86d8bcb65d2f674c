"""Written times against hand-made tables of clock changes, and against arithmetic that asks no zone data."""

import calendar
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.audit.queries.times import (
    LAST_NS,
    SECOND,
    TimeError,
    day_begins,
    lasting,
    range_of,
    shown,
)

NOW = 1_790_000_000 * SECOND
HOUR = 3600 * SECOND
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
         "Pacific/Apia", "America/Havana", "Africa/Cairo"]  # fmt: skip


def utc(*fields: int) -> int:
    return calendar.timegm((*fields, *[0] * (6 - len(fields)))) * SECOND


@pytest.mark.parametrize(
    ("written", "zone", "expected"),
    [
        ("2026-03-01", "UTC", utc(2026, 3, 1)),
        ("2026-03-01", "Europe/Berlin", utc(2026, 2, 28, 23)),
        ("2026-04-01", "Europe/Berlin", utc(2026, 3, 31, 22)),  # summer time since the 29th
        ("2024-02-29", "America/New_York", utc(2024, 2, 29, 5)),
        ("2026-03-01T09:30", "Asia/Kolkata", utc(2026, 3, 1, 4)),
        ("2026-03-01 09:30:15.25", "UTC", utc(2026, 3, 1, 9, 30, 15) + SECOND // 4),
        ("2026-03-01T09:30:15.000000001", "UTC", utc(2026, 3, 1, 9, 30, 15) + 1),
        ("2026-03-01T09:30+02:00", "America/New_York", utc(2026, 3, 1, 7, 30)),
        ("2026-03-01T09:30-0430", "UTC", utc(2026, 3, 1, 14)),
        ("2026-03-01T09:30Z", "Europe/Berlin", utc(2026, 3, 1, 9, 30)),
        ("7d", "Europe/Berlin", NOW - 168 * HOUR),
        ("36h", "UTC", NOW - 36 * HOUR),
        ("90m", "UTC", NOW - 3 * HOUR // 2),
        ("2w", "UTC", NOW - 336 * HOUR),
        ("2024-04-26", "Africa/Cairo", utc(2024, 4, 25, 22)),  # midnight never was: set forward
        ("2025-11-02", "America/Havana", utc(2025, 11, 2, 4)),  # midnight came twice: the first
        ("2011-12-30", "Pacific/Apia", utc(2011, 12, 30, 10)),  # a day that was left out
    ],
)  # fmt: skip
def test_a_written_time_is_this_moment(written: str, zone: str, expected: int) -> None:
    assert range_of(written, "2030-01-01", zone, NOW).from_ns == expected


@pytest.mark.parametrize(
    ("zone", "day", "after", "hours"),
    [
        ("Europe/Berlin", "2026-03-28", "2026-03-29", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-30", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-26", 25),
        ("America/New_York", "2026-03-08", "2026-03-09", 23),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-06", 24.5),
        ("Africa/Cairo", "2024-04-26", "2024-04-27", 23),
        ("America/Havana", "2025-11-02", "2025-11-03", 25),
        ("UTC", "2024-02-29", "2024-03-01", 24),
        ("Europe/Berlin", "2026-03-01", "2026-04-01", 31 * 24 - 1),
    ],
)
def test_days_are_as_long_as_their_zone_makes_them(
    zone: str, day: str, after: str, hours: float
) -> None:
    found = range_of(day, after, zone, NOW)
    assert found.to_ns - found.from_ns == hours * HOUR


def test_a_time_that_came_twice_makes_the_range_the_longer_one_and_is_said() -> None:
    found = range_of("2026-10-25T02:30", "2026-10-25T02:30:00.5", "Europe/Berlin", NOW)
    assert found.from_ns == utc(2026, 10, 25, 0, 30)
    assert found.to_ns == utc(2026, 10, 25, 1, 30) + SECOND // 2
    assert found.notes == (
        "--from: `2026-10-25T02:30` came twice in Europe/Berlin; taken as 2026-10-25 02:30:00+02:00",
        "--to: `2026-10-25T02:30:00.5` came twice in Europe/Berlin; taken as 2026-10-25 02:30:00+01:00",
    )


@pytest.mark.parametrize(
    ("written", "zone", "said", "hint"),
    [
        ("2026-03-29T02:30", "Europe/Berlin", "never was", "2026-03-29 03:00:00+02:00"),
        ("2026-02-29", "UTC", "no such day", "28 days"),
        ("2026-02-30T10:00", "UTC", "no such day", "28 days"),
        ("2026-13-01", "UTC", "no such day", "01 to 12"),
        ("0000-01-01", "UTC", "no such year", "1970 to 2262"),
        ("12026-01-01", "UTC", "no such year", "1970 to 2262"),
        ("1969-12-31", "UTC", "no such year", "1970"),
        ("2262-12-31", "UTC", "beyond", "2262"),
        ("1970-01-01", "Europe/Berlin", "beyond", "1970"),
        ("999999999w", "UTC", "beyond", "1970"),
        ("2026-03-01T24:00", "UTC", "no such time", "23:59:59"),
        ("2026-03-01T23:59:60", "UTC", "no such time", "23:59:59"),
        ("2026-03-01T09:30+99:00", "UTC", "offset", "+02:00"),
        ("yesterday", "UTC", "is not a time", "7d"),
        ("2026-03-01T09:30 Europe/Berlin", "UTC", "is not a time", "7d"),
        ("-7d", "UTC", "is not a time", "7d"),
        ("\x1b[31m2026", "UTC", "`\\x1b[31m2026` is not a time", "7d"),
        ("2026-03-01", "Europe/Berlim", "no time zone", "Europe/Berlin"),
        ("2026-03-01", "../../etc/passwd", "no time zone", ""),
        ("2026-03-01", "Europe", "no time zone", ""),
        ("2026-03-01", "", "no time zone", ""),
    ],
)  # fmt: skip
def test_what_is_no_moment_is_refused_with_what_to_write(
    written: str, zone: str, said: str, hint: str
) -> None:
    with pytest.raises(TimeError) as error:
        range_of(written, None, zone, NOW)
    first, _, second = str(error.value).partition("\n  hint: ")
    assert said in first
    assert hint in second


def test_a_range_that_ends_before_it_begins_says_that_its_end_is_no_part_of_it() -> None:
    with pytest.raises(TimeError, match=r"--since: `2026-03-02` is not before `2026-03-02`"):
        range_of("2026-03-02", "2026-03-02", "UTC", NOW, first="--since")


def test_without_ends_it_is_all_until_now() -> None:
    found = range_of(None, None, "UTC", NOW)
    assert (found.from_ns, found.to_ns) == (0, NOW + 1)
    assert str(found) == "all time until before 2026-09-21 14:13:20+00:00"


def test_a_moment_is_shown_with_its_offset() -> None:
    at = utc(2026, 3, 29, 1) + 7 * SECOND // 1000
    assert shown(at - HOUR, ZoneInfo("Europe/Berlin")) == "2026-03-29 01:00:00+01:00"
    assert shown(at, ZoneInfo("Europe/Berlin"), milliseconds=True) == "2026-03-29 03:00:00.007+02:00"  # fmt: skip
    assert shown(at, ZoneInfo("America/St_Johns")) == "2026-03-28 22:30:00-02:30"
    assert shown(utc(1971, 1, 1), ZoneInfo("Africa/Monrovia")) == "1970-12-31 23:15:30-00:44:30"


def test_how_long_something_lasts_has_a_unit_of_its_size() -> None:
    assert [lasting(s) for s in (0, 40, 119, 121, 7200, 86_400, 777_600)] == [
        "0 s", "40 s", "119 s", "2 min", "2.0 h", "24.0 h", "9.0 days",
    ]  # fmt: skip


@given(st.integers(utc(1971, 1, 1), LAST_NS - 400 * 24 * HOUR), st.sampled_from(ZONES))
def test_what_is_shown_reads_back_as_the_same_second(time_ns: int, zone: str) -> None:
    written = shown(time_ns, ZoneInfo(zone))
    found = range_of(written, "2262-01-01", "UTC", NOW).from_ns
    assert found == time_ns // SECOND * SECOND


@given(st.dates(date(1971, 1, 2), date(2200, 1, 1)), st.sampled_from(ZONES))
def test_the_first_moment_of_a_day_is_the_first_whose_local_date_has_come(
    day: date, name: str
) -> None:
    """Against a search over whole minutes of UTC, which asks only what the clock shows."""
    zone = ZoneInfo(name)
    middle = datetime(day.year, day.month, day.day, tzinfo=UTC)
    low, high = middle - timedelta(hours=30), middle + timedelta(hours=36)
    while high - low > timedelta(minutes=1):  # dates only ever grow, but for a fallback at midnight
        half = low + timedelta(minutes=int((high - low) / timedelta(minutes=2)))
        low, high = (low, half) if half.astimezone(zone).date() >= day else (half, high)
    assert day_begins(day, zone) == int(high.timestamp()) * SECOND


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_a_written_offset_needs_no_zone(local: datetime, minutes: int) -> None:
    sign = "-" if minutes < 0 else "+"
    offset = f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    written = f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond:06d}{offset}"
    expected = (calendar.timegm(local.timetuple()) - 60 * minutes) * SECOND
    found = range_of(written, "2250-01-01", "Pacific/Apia", NOW).from_ns
    assert found == expected + local.microsecond * 1000
