"""Times as people read and write them: in a zone they chose, with UTC never far away.

Owns parsing and printing. A local time that does not exist (clocks go forward) is read as after the change; one that
exists twice so that what it bounds is the longer. It never asks for the time: `now_ns` comes in.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from markupsafe import Markup

NS = 1_000_000_000
LEAST, MOST = date(1970, 1, 2), date(2200, 1, 1)


class BadTime(ValueError):
    """The text is no time; it says what would be."""


def zone_named(name: str) -> ZoneInfo:
    """Raises BadTime. Only names of the database, so that no path gets in."""
    if name not in _names():
        raise BadTime("no time zone of that name; write one such as `Europe/Berlin`")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    """Walking the database takes a tenth of a second."""
    return frozenset(available_timezones())


def parse(text: str, zone: ZoneInfo, *, end: bool = False) -> int:
    """`2026-03-01` (its first moment), `2026-03-01T14:05[:30]`, either in `zone`; with `Z` or an offset, in that.

    end: of a range, so that of two times with this name it is the second. Raises BadTime.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadTime("no time; write `2026-03-01` or `2026-03-01T14:05`") from None
    if not LEAST <= found.date() <= MOST:
        raise BadTime(f"a year from {LEAST.year} to {MOST.year}")
    aware = found if found.tzinfo else found.replace(tzinfo=zone)
    again = aware.replace(fold=1)
    if end and not _is_day(text) and _offset(again) < _offset(aware):
        aware = again
    since = aware.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since // timedelta(microseconds=1)) * 1000


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _offset(aware: datetime) -> timedelta:
    return aware.utcoffset() or timedelta(0)


def written(time_ns: int, zone: ZoneInfo) -> str:
    """As `parse` reads it, for the value of a form's field."""
    return _moment(time_ns, zone).strftime("%Y-%m-%dT%H:%M:%S")


def when(time_ns: int, now_ns: int, zone: ZoneInfo, *, short: bool = False) -> Markup:
    """A `time` element: absolute in the zone, relative beside it, UTC in the title. 0: `never`."""
    if not time_ns:
        return Markup('<span class="quiet">never</span>')
    there, utc = _moment(time_ns, zone), _moment(time_ns, ZoneInfo("UTC"))
    today = _moment(now_ns, zone).date() == there.date()
    absolute = there.strftime("%H:%M:%S" if short and today else "%Y-%m-%d %H:%M:%S")
    name = "" if short else f" {there.tzname()}"
    return Markup(
        '<time datetime="{}" title="{} UTC">{}{} <span class="quiet">{}</span></time>'
    ).format(
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        utc.strftime("%Y-%m-%d %H:%M:%S"),
        absolute,
        name,
        ago(now_ns - time_ns),
    )


def ago(span_ns: int) -> str:
    """`3 min ago`, `in 2 h`; whole units, cut and never rounded up."""
    said = lasting(abs(span_ns) / NS)
    return f"{said} ago" if span_ns >= 0 else f"in {said}"


def lasting(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds)} s"


def clock(time_ns: int, zone: ZoneInfo) -> str:
    """Hour and minute, for an axis."""
    return _moment(time_ns, zone).strftime("%H:%M")


def _moment(time_ns: int, zone: ZoneInfo) -> datetime:
    try:
        return datetime.fromtimestamp(time_ns // NS, UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):  # a clock far off still shows as one
        return datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
