"""What was seen, against the server's own count: served = scored + unscored{reason} + unaccounted.

Pure arithmetic on one request's positions; it knows nothing of sockets or clocks. `served` comes
from the server wherever it gives a count, so that the sum is a check and no tautology; `served_by`
says for how much of it. What no statement explains stays in `unaccounted`, whose sign is kept:
below zero, something was counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

REASONS = (
    "prefix_cache",  # the server took these positions from its cache and ran nothing
    "dropped",  # the socket was full, or the record that says what became of them was lost
    "no_sidecar",  # nobody was connected
    "sidecar_restart",  # seen by a sidecar process that died, or sent while none was alive
    "tap_error",  # the server ran them and the tap failed
    "pack_changed",  # rows that the server still had to confirm when other packs were loaded
    "model_changed",  # weights or modules were changed under the tap: no pack is bound to that
    "not_finite",  # an activation was not finite in every column
    "paused",  # somebody paused the monitor
    "unsupported",  # a mode of the server that is refused
    "no_pack",  # nothing was loaded that could score
)
SOURCES = ("usage", "output", "scheduler", "tap")
"""Who counted what a request was served: reply, result object or scheduler of the server, or the tap."""
TRIM_ORDER = (
    "dropped",
    "no_sidecar",
    "tap_error",
    "pack_changed",
    "model_changed",
    "unsupported",
    "no_pack",
)


@dataclass(slots=True)
class Account:
    """Totals over requests, in tokens."""

    served: int = 0
    scored: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    after_end: int = 0  # rows beyond the server's own end; in no other figure
    requests: int = 0
    served_by: dict[str, int] = field(default_factory=dict)  # one of SOURCES, or `counters`
    reused: int = 0  # of `scored`: not run, scored as the same tokens were before; since the start

    @property
    def unaccounted(self) -> int:
        return self.served - self.scored - sum(self.unscored.values())

    @property
    def coverage(self) -> float | None:
        return self.scored / self.served if self.served else None

    def add(self, other: Account, sign: int = 1) -> None:
        """sign -1 takes out what was added before."""
        self.served += sign * other.served
        self.scored += sign * other.scored
        self.after_end += sign * other.after_end
        self.requests += sign * other.requests
        self.reused += sign * other.reused
        for reason, tokens in other.unscored.items():
            self.unscored[reason] = self.unscored.get(reason, 0) + sign * tokens
        for source, tokens in other.served_by.items():
            self.served_by[source] = self.served_by.get(source, 0) + sign * tokens

    def as_dict(self) -> dict[str, object]:
        return {
            "served": self.served,
            "served_by": {name: n for name, n in sorted(self.served_by.items()) if n},
            "scored": self.scored,
            "reused": self.reused,
            "unscored": {name: n for name, n in sorted(self.unscored.items()) if n},
            "unaccounted": self.unaccounted,
            "after_end": self.after_end,
            "requests": self.requests,
            "coverage": None if self.coverage is None else round(self.coverage, 6),
        }


@dataclass(slots=True)
class Positions:
    """Which positions of one sequence arrived. What is below `next` is never taken twice."""

    next: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)  # half open; never arrived
    not_finite: list[tuple[int, int]] = field(default_factory=list)  # arrived without a score
    paused: list[tuple[int, int]] = field(default_factory=list)  # arrived, and nobody was to look

    @property
    def holes(self) -> int:
        return len(self.gaps) + len(self.not_finite) + len(self.paused)

    def unscored(self, start: int, end: int, *, paused: bool = False) -> None:
        """[start, end) arrived without a score; what touches the range before is one with it."""
        ranges = self.paused if paused else self.not_finite
        if ranges and ranges[-1][1] == start:
            start = ranges.pop()[0]
        ranges.append((start, end))

    def received(self, below: int | None = None) -> int:
        end = self.next if below is None else min(below, self.next)
        return end - overlap(self.gaps, end)

    def scored(self, below: int) -> int:
        return self.received(below) - overlap([*self.not_finite, *self.paused], below)


def overlap(ranges: Iterable[tuple[int, int]], below: int) -> int:
    """Positions under `below` in disjoint ranges."""
    return sum(max(0, min(end, below) - start) for start, end in ranges)


def settle(
    positions: Positions,
    *,
    served: int,
    source: str,
    emitted: int,
    cached: int,
    errors: Mapping[str, int],
    loss_reason: str | None,
    reused: int = 0,
) -> Account:
    """The account of one closed request.

    source                    who counted `served`, one of SOURCES
    emitted, cached, errors   the tap's own statement, in distinct positions; reused: of `emitted`
    loss_reason               why rows the tap did send may not have come here; None: nothing may
                              be missing, and what is stays unaccounted

    The tap counts positions past the server's end as well. Those that came are `after_end`; those
    it names in `errors` were never owed, and are taken out again as far as its own total exceeds
    `served`. So are those that it names and that came all the same: the server put the request off,
    and ran them once more.
    """
    received = positions.received()
    after_end = received - positions.received(served)
    stated = {name if name in REASONS else "tap_error": 0 for name in errors}
    for name, tokens in errors.items():
        stated[name if name in REASONS else "tap_error"] += tokens
    total = max(emitted, received) + cached + sum(stated.values())
    excess = max(0, total - served - after_end)
    for name in TRIM_ORDER:
        cut = min(excess, stated.get(name, 0))
        if cut:
            stated[name] -= cut
            excess -= cut
    lost = max(0, emitted - received)
    # Of the cached ones, those that came: where none of the others may be missing, no more than came beyond those.
    most = cached if loss_reason is not None else min(cached, max(0, received - emitted))
    again = min(most, max(0, excess - lost))
    unscored = {
        "prefix_cache": cached - again,
        "not_finite": overlap(positions.not_finite, served),
        "paused": overlap(positions.paused, served),
    }
    for name, tokens in stated.items():
        unscored[name] = unscored.get(name, 0) + tokens
    if loss_reason is not None and lost:
        unscored[loss_reason] = unscored.get(loss_reason, 0) + max(0, lost - excess)
    kept = {name: tokens for name, tokens in unscored.items() if tokens}
    scored = positions.scored(served)
    return Account(served, scored, kept, after_end, 1, {source: served}, min(reused, scored))
