"""Moments as people write them, in a time zone, and back: `2026-03-01`, `2026-03-29T02:30`, `...+02:00`, `7d`, `36h`.

Owns what a written time means where clocks change, and the range from a moment to another that it is no longer part
of. It never learns what is asked for in that range.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from dosimeter.detectors.findings import hint_for, visible

SECOND = 1_000_000_000
LAST_NS = (1 << 63) - 1
"""In 2262: what 64 bits hold."""
_AGE = re.compile(r"([0-9]{1,9})([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DATE = re.compile(r"([0-9]{4,9})-([0-9]{1,2})-([0-9]{1,2})")
_TIME = re.compile(
    r"[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WRITE = "write 2026-03-01, 2026-03-01T09:00, 2026-03-01T09:00+02:00, 36h or 7d"


class TimeError(ValueError):
    """What is written is no moment, or not one moment; says why and what to write."""


@dataclass(frozen=True, slots=True)
class Range:
    """from_ns is part of it, to_ns is not. notes: what had to be decided to read it."""

    from_ns: int
    to_ns: int
    zone: ZoneInfo
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        begin = shown(self.from_ns, self.zone) if self.from_ns else "all time"
        return f"{begin} until before {shown(self.to_ns, self.zone)}"


def zone_of(name: str) -> ZoneInfo:
    """A zone by its IANA name. Raises TimeError."""
    known = _names()
    if name in known:
        return ZoneInfo(name)
    near = hint_for(name, known) if known else "pip install tzdata"
    hint = near if len(near) < 200 else "write a name such as Europe/Berlin"
    raise TimeError(f"--tz: no time zone `{visible(name)[:80]}`\n  hint: {hint}")


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    """Walking the database takes longer than most answers."""
    return frozenset(available_timezones())


def range_of(
    from_: str | None, to: str | None, zone: str, now_ns: int, *, first: str = "--from"
) -> Range:
    """Without a beginning since 1970, without an end until now. first: the option that the beginning was written in.

    A time that comes twice (clocks set back) is read so that the range is the longer one. Raises TimeError.
    """
    where = zone_of(zone)
    begin, end = (0, ""), (now_ns + 1, "")
    if from_ is not None:
        begin = _moment(from_, where, now_ns, first, later=False)
    if to is not None:
        end = _moment(to, where, now_ns, "--to", later=True)
    if begin[0] >= end[0]:
        said = f"`{visible(from_ or '1970')[:60]}` is not before `{visible(to or 'now')[:60]}`"
        hint = "the end is no part of the range: for one day, --to is the day after"
        raise TimeError(f"{first}: {said}\n  hint: {hint}")
    return Range(begin[0], end[0], where, tuple(note for _, note in (begin, end) if note))


def shown(time_ns: int, zone: tzinfo, *, milliseconds: bool = False) -> str:
    """`2026-03-29 03:00:00+02:00`: always with its offset."""
    seconds, rest = divmod(time_ns, SECOND)
    at = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    fraction = f".{rest // 1_000_000:03d}" if milliseconds else ""
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction}{_offset(at)}"


def lasting(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `9.0 days`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def day_begins(day: date, zone: tzinfo) -> int:
    """The first moment of a day, in ns: not always midnight, where clocks are set forward at that hour."""
    local = datetime(day.year, day.month, day.day)
    found = _instants(local, zone)
    return SECOND * (found[0] if found else _after_gap(local, zone))


def _moment(text: str, zone: ZoneInfo, now_ns: int, option: str, *, later: bool) -> tuple[int, str]:
    """(ns, what had to be decided)"""
    said = f"{option}: `{visible(text)[:60]}`"
    if age := _AGE.fullmatch(text):
        return _checked(now_ns - int(age[1]) * _UNIT_S[age[2]] * SECOND, said), ""
    head = _DATE.match(text)
    if head is None:
        raise TimeError(f"{said} is not a time\n  hint: {_WRITE}")
    day = _day(head, said)
    if head.end() == len(text):
        return _checked(day_begins(day, zone), said), ""
    clock = _TIME.fullmatch(text, head.end())
    if clock is None:
        raise TimeError(f"{said} is not a time\n  hint: {_WRITE}")
    hour, minute, second = int(clock[1]), int(clock[2]), int(clock[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise TimeError(f"{said}: a day has no such time\n  hint: 00:00:00 to 23:59:59")
    local = datetime(day.year, day.month, day.day, hour, minute, second)
    fraction = int((clock[4] or "").ljust(9, "0"))
    if clock[5]:
        seconds = _seconds(local) - _written_offset(clock[5], said)
        return _checked(SECOND * seconds + fraction, said), ""
    found = _instants(local, zone)
    if not found:
        after = shown(SECOND * _after_gap(local, zone), zone)
        why = f"clocks in {zone.key} were set forward over it"
        raise TimeError(f"{said} never was: {why}\n  hint: the time after it is {after}")
    at = SECOND * found[-1 if later else 0] + fraction
    note = ""
    if len(found) > 1:
        note = f"{said} came twice in {zone.key}; taken as {shown(at, zone)}"
    return _checked(at, said), note


def _day(head: re.Match[str], said: str) -> date:
    year, month, number = int(head[1]), int(head[2]), int(head[3])
    if not 1970 <= year <= 2262:
        raise TimeError(f"{said}: history has no such year\n  hint: 1970 to 2262")
    try:
        return date(year, month, number)
    except ValueError:
        hint = "months are 01 to 12"
        if 1 <= month <= 12:
            hint = f"{head[1]}-{month:02d} has {_days(year, month)}"
        raise TimeError(f"{said}: there is no such day\n  hint: {hint}") from None


def _days(year: int, month: int) -> str:
    return f"{(date(year + month // 12, month % 12 + 1, 1) - date(year, month, 1)).days} days"


def _checked(time_ns: int, said: str) -> int:
    if not 0 <= time_ns <= LAST_NS:
        raise TimeError(f"{said}: beyond what history can hold\n  hint: 1970 to April 2262")
    return time_ns


def _written_offset(text: str, said: str) -> int:
    if text == "Z":
        return 0
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:
        raise TimeError(f"{said}: no offset is as large\n  hint: write +02:00")
    return (-1 if text[0] == "-" else 1) * (hours * 3600 + minutes * 60)


def _seconds(local: datetime) -> int:
    """As if it were UTC."""
    return (local - _EPOCH.replace(tzinfo=None)) // timedelta(seconds=1)


def _offset_at(seconds: int, zone: tzinfo) -> int:
    found = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone).utcoffset()
    assert found is not None
    return found // timedelta(seconds=1)


def _instants(local: datetime, zone: tzinfo) -> list[int]:
    """The seconds at which clocks of that zone show `local`: one, two where they are set back, or none."""
    found = set()
    for fold in (0, 1):
        offset = local.replace(tzinfo=zone, fold=fold).utcoffset()
        assert offset is not None
        at = _seconds(local) - offset // timedelta(seconds=1)
        if at + _offset_at(at, zone) == _seconds(local):
            found.add(at)
    return sorted(found)


def _after_gap(local: datetime, zone: tzinfo) -> int:
    """The second at which clocks are set forward over `local`, which they never show."""
    early, late = (
        _seconds(local) - local.replace(tzinfo=zone, fold=fold).utcoffset() // timedelta(seconds=1)  # type: ignore[operator]
        for fold in (1, 0)
    )
    before = _offset_at(early, zone)
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (middle, late) if _offset_at(middle, zone) == before else (early, middle)
    return late


def _offset(at: datetime) -> str:
    found = at.utcoffset()
    assert found is not None
    seconds = found // timedelta(seconds=1)
    minutes, rest = divmod(abs(seconds), 60)
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" + (f":{rest:02d}" if rest else "")
