"""Coverage by the hour, out of totals that only say how much there was so far.

It owns the windows: per server process, what was reported and what was seen since. Every token is in exactly one
window, however often the feed or the sidecar begin again; a token that came while nobody looked is in a window as long
as that time. It knows no ledger and no clock; its state is plain JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dosimeter.monitor.feed.items import Coverage
from dosimeter.monitor.history.records import Account

HOUR_NS = 3600 * 10**9
SLACK_NS = 60 * 10**9
"""Looks that are closer belong together: what came between them counts for the hour of the second."""

Totals = dict[str, Any]
COUNTS = ("served", "scored", "unaccounted", "requests", "closed")
TABLES = ("served_by", "unscored")
NOTHING: Totals = {}
"""Counts that are 0 are left out: a server that did nothing costs no room."""


@dataclass(slots=True)
class Window:
    seen: Totals
    base: Totals | None = None  # what was reported; None: all that was seen
    from_ns: int = 0


class Hours:
    """The windows of one source."""

    def __init__(self, source: str, state: Mapping[str, Any] | None = None) -> None:
        """state: what `state` returned; None: nothing was ever looked at."""
        self.source = source
        found = state or {}
        self._looked: int | None = found.get("looked")
        self._flushed: int = found.get("flushed", 0)
        self._windows = {epoch: Window(*one) for epoch, one in found.get("epochs", {}).items()}

    def state(self) -> dict[str, Any]:
        epochs = {
            epoch: [one.seen] if one.base is None else [one.seen, one.base, one.from_ns]
            for epoch, one in self._windows.items()
        }
        return {"looked": self._looked, "flushed": self._flushed, "epochs": epochs}

    def look(self, accounts: Iterable[Account], now_ns: int) -> list[Coverage]:
        """Take in the totals as they are now; returns the windows whose hour is over."""
        before = self._looked
        now_ns = max(now_ns, before or 0)  # a clock that was set back opens no hour again
        away = before is not None and now_ns - before > SLACK_NS
        over_ns = None  # the end of the hour of the look before this
        if before is not None and _hour(now_ns) > _hour(before):
            over_ns = _hour(before) + HOUR_NS
        from_ns = _hour(before) if away and before is not None else _hour(now_ns)
        done: list[Coverage] = []
        known: set[str] = set()
        for account in sorted(accounts, key=lambda one: one.epoch):
            known.add(account.epoch)
            totals = _totals(account)
            window = self._windows.get(account.epoch) or Window(NOTHING)
            changed = totals != window.seen
            if over_ns is not None and not (away and changed):
                done += self._close(account.epoch, window, over_ns)
            if not changed:
                continue
            self._windows[account.epoch] = window
            if account.served < window.seen.get("served", 0):  # from a backup: it counts anew
                done += self._close(account.epoch, window, now_ns)
                window.seen = totals
                continue
            if window.base is None:
                window.base, window.from_ns = window.seen, max(from_ns, self._flushed)
            window.seen = totals
        for epoch in self._windows.keys() - known:
            done += self._close(epoch, self._windows.pop(epoch), now_ns)
        self._looked = now_ns
        if before is None:  # what was there before us
            for window in self._windows.values():
                window.from_ns = 0
            done += self.flush()
        return done

    def flush(self) -> list[Coverage]:
        """Close every window at the last look, in the middle of its hour."""
        if self._looked is None:
            return []
        looked = self._flushed = self._looked
        return [
            coverage
            for epoch, window in sorted(self._windows.items())
            for coverage in self._close(epoch, window, looked)
        ]

    def _close(self, epoch: str, window: Window, to_ns: int) -> list[Coverage]:
        if window.base is None:
            return []
        base, window.base = window.base, None
        if to_ns <= window.from_ns:  # seen at the very beginning of an hour: a window has an inside
            to_ns = self._flushed = window.from_ns + 1
        found: dict[str, Any] = {n: window.seen.get(n, 0) - base.get(n, 0) for n in COUNTS}
        for name in TABLES:
            found[name] = _difference(window.seen.get(name, {}), base.get(name, {}))
        return [Coverage(self.source, epoch, window.from_ns, to_ns, **found)]


def _hour(ns: int) -> int:
    return ns - ns % HOUR_NS


def _totals(account: Account) -> Totals:
    found: Totals = {name: getattr(account, name) for name in COUNTS}
    for name in TABLES:
        found[name] = {key: count for key, count in getattr(account, name).items() if count}
    return {name: value for name, value in found.items() if value}


def _difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    found = {
        name: after.get(name, 0) - before.get(name, 0)
        for name in sorted(after.keys() | before.keys())
    }
    return {name: count for name, count in found.items() if count}
