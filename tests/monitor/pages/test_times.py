"""Times in a zone: checked against tables of the changes of 2026, made by hand from the IANA database's rules."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.pages.times import BadTime, ago, lasting, parse, when, written, zone_named

BERLIN = ZoneInfo("Europe/Berlin")
S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "utc_s"),
    [
        ("2026-03-01", 1_772_319_600),  # 00:00 +01:00
        ("2026-04-01", 1_774_994_400),  # 00:00 +02:00: the month has an hour less
        ("2026-03-29T01:59:59", 1_774_745_999),
        ("2026-03-29T02:30", 1_774_747_800),  # does not exist: read as 03:30 +02:00
        ("2026-03-29T03:00", 1_774_746_000),
        ("2026-10-25T02:30", 1_792_888_200),  # exists twice: the first, +02:00
        ("2026-03-01T12:00Z", 1_772_366_400),
        ("2026-03-01T12:00+05:30", 1_772_346_600),
        ("2028-02-29", 1_835_391_600),
    ],
)
def test_local_times_become_moments(text: str, utc_s: int) -> None:
    assert parse(text, BERLIN) == utc_s * S


@pytest.mark.parametrize(
    ("text", "zone", "utc_s"),
    [
        ("2026-10-25T02:30", BERLIN, 1_792_891_800),  # the second, +01:00
        ("2026-10-25T02:59:59", BERLIN, 1_792_893_599),
        ("2026-10-25T03:00", BERLIN, 1_792_893_600),
        ("2026-10-25T02:30+02:00", BERLIN, 1_792_888_200),
        ("2026-03-29T02:30", BERLIN, 1_774_747_800),
        ("2026-11-01", ZoneInfo("America/Havana"), 1_793_505_600),  # its midnight comes twice
        ("2026-11-01T00:00", ZoneInfo("America/Havana"), 1_793_509_200),
    ],
)
def test_the_end_of_a_range_that_comes_twice_is_the_second(
    text: str, zone: ZoneInfo, utc_s: int
) -> None:
    """As on the command line: read as the first, it left out an hour that it does not seem to."""
    assert parse(text, zone, end=True) == utc_s * S


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-02-30", "2026-13-01", "2027-02-29", "0001-01-01", "9999-12-31", "٢٠٢٦"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadTime):
        parse(text, BERLIN)


@given(
    st.integers(86_400 * 3, 7_000_000_000), st.sampled_from(["UTC", "Asia/Kolkata", "Asia/Tokyo"])
)
def test_what_is_written_is_read_as_the_same_moment(second: int, name: str) -> None:
    zone = ZoneInfo(name)  # zones whose clocks do not change: elsewhere one hour a year is two
    assert parse(written(second * S, zone), zone) == second * S


def test_a_moment_shows_zone_utc_and_how_long_ago() -> None:
    at = 1_774_746_000 * S
    assert when(at, at + 200 * S, BERLIN) == (
        '<time datetime="2026-03-29T01:00:00Z" title="2026-03-29 01:00:00 UTC">'
        '2026-03-29 03:00:00 CEST <span class="quiet">3 min ago</span></time>'
    )
    assert "never" in when(0, at, BERLIN)


@pytest.mark.parametrize("at", [-(2**62), 2**63, 10**30])
def test_a_clock_far_off_still_shows(at: int) -> None:
    assert "<time" in when(at, 0, BERLIN)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (86_399, "23 h"),
        (172_800, "2 d"),
    ],
)
def test_lengths_are_cut_and_never_rounded_up(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_what_is_to_come_is_said_so() -> None:
    assert ago(-5 * S) == "in 5 s"


@pytest.mark.parametrize("name", ["", "Mars", "../UTC", "/etc/localtime", "posixrules\x00"])
def test_only_names_of_the_database_are_zones(name: str) -> None:
    with pytest.raises(BadTime):
        zone_named(name)
