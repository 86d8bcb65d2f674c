"""How far a range of time was watched: what "none was found" is worth, in figures.

Owns the sums over hourly coverage, the times of which nobody knows that they were watched, and what never came. It
never learns what was looked for: coverage is counted for a server process, not for a tenant or a rule. The words for
it are `worth.py`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from dosimeter.monitor.audit.queries.lives import EVER, Lives, Silence, Span, without
from dosimeter.monitor.feed.missing import Missing

WEAK = 0.99
"""Of an hour's tokens; below it, absence in that hour is weak evidence."""
SHORT_NS = 120 * 10**9
"""Times without a sign of life that are not listed: silence shorter than this names nobody dead."""
LATE_NS = 86_400 * 10**9
"""A gap may be named so long after the range and still concern it, or after its counts came, if that was later; who
fell silent so long before it and was not heard since is named, and is no doubt about the range while others watched."""
KINDS = ("coverage", "birth", "death", "gap", "gap-closed", "went-back")


@dataclass(frozen=True, slots=True)
class Window:
    """What one source was seen to do in [from_ns, to_ns), in tokens."""

    source: str
    from_ns: int
    to_ns: int
    served: int
    scored: int

    @property
    def share(self) -> float | None:
        return self.scored / self.served if self.served else None


@dataclass(frozen=True, slots=True)
class Gap:
    """Positions of a source that were accepted there and have not come."""

    source: str
    first: int
    last: int


@dataclass(frozen=True)
class Watched:
    """windows: by source and time. unwatched: of which nobody is known to have watched, longer than two minutes.

    from_ns, until_ns: the range, its open beginning at the first that is known, its end at the present.
    silences: of each source, as far as they reach into the range. later: its part that is yet to come.
    uncounted_ns: how long of the time that was watched no count of tokens is here. names: of sources.
    over_edge: windows that reach out of the range; they count whole.
    """

    windows: tuple[Window, ...] = ()
    unscored: Mapping[str, int] = field(default_factory=dict)
    unaccounted: int = 0
    gaps: tuple[Gap, ...] = ()
    unwatched: tuple[Span, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    over_edge: int = 0
    any_data: bool = False
    from_ns: int = 0
    until_ns: int = 0
    later: Span | None = None
    silences: tuple[Silence, ...] = ()
    uncounted_ns: int = 0

    @cached_property
    def served(self) -> int:
        return sum(one.served for one in self.windows)

    @cached_property
    def scored(self) -> int:
        return sum(one.scored for one in self.windows)

    @property
    def share(self) -> float | None:
        return self.scored / self.served if self.served else None

    @cached_property
    def weak(self) -> list[Window]:
        return [one for one in self.windows if one.served and one.scored < WEAK * one.served]

    @property
    def unwatched_ns(self) -> int:
        return sum(end - begin for begin, end in self.unwatched)

    @property
    def silent(self) -> list[tuple[str, Span]]:
        """Sources of which nothing is known for a part of the range, while others watched, with that part."""
        return [
            (one.source, part)
            for one in self.silences
            if not one.said and not self._gone(one)
            for part in _between(self.unwatched, *one.within(self.from_ns, self.until_ns))
        ]

    @property
    def gone(self) -> list[Silence]:
        """Sources that fell silent long before the range and were not heard since."""
        return [one for one in self.silences if not one.said and self._gone(one)]

    def _gone(self, one: Silence) -> bool:
        return one.to_ns == EVER and one.from_ns < self.from_ns - LATE_NS

    @property
    def whole(self) -> bool:
        """Whether "none" means that there was none, as far as that time has come."""
        doubts = (self.unwatched, self.silent, self.gaps, self.weak, self.unaccounted)
        return self.any_data and self.share is not None and self.share >= WEAK and not any(doubts)

    def as_json(self) -> dict[str, Any]:
        return {
            "any_data": self.any_data,
            "whole": self.whole,
            "served": self.served,
            "scored": self.scored,
            "unscored": dict(self.unscored),
            "unaccounted": self.unaccounted,
            "coverage": None if self.share is None else round(self.share, 6),
            "weak": [_window(one, self.names) for one in self.weak],
            "gaps": [
                {"source": g.source, "name": self.names.get(g.source, ""), "first": g.first, "last": g.last}
                for g in self.gaps
            ],
            "unwatched": [_span(one) for one in self.unwatched],
            "silent": [
                {"source": s, "name": self.names.get(s, ""), **_span(part)} for s, part in self.silent
            ],
            "uncounted_ns": self.uncounted_ns,
            "later": None if self.later is None else _span(self.later),
            "windows_over_edge": self.over_edge,
        }  # fmt: skip


def named_until(coverage: Iterable[Mapping[str, Any]], from_ns: int, to_ns: int) -> int:
    """Until when what concerns this range may be named. coverage: entries of the kind, of this time and others.

    A history that was behind names deaths and gaps when it has caught up, which is when the counts come, too.
    """
    came = (
        int(one.get("ingested_ns", 0))
        for one in coverage
        if int(one["from_ns"]) < to_ns and int(one["to_ns"]) > from_ns
    )
    return max(to_ns, *came, 0) + LATE_NS


def weigh(
    entries: Iterable[Mapping[str, Any]],
    from_ns: int,
    to_ns: int,
    *,
    now_ns: int = EVER,
    signs: Mapping[str, int] | None = None,
) -> Watched:
    """entries: of KINDS, in the order of the log, with the fields of their leaves, as far as `named_until`.

    signs: source -> its last sign of life, of those that are not dead: of the time after it nothing is known.
    """
    names: dict[str, str] = {}
    totals: dict[tuple[str, int, int], list[int]] = {}
    unscored: dict[str, int] = {}
    missing: dict[str, Missing] = {}
    lives = Lives(signs or {})
    unaccounted = 0
    entries = list(entries)
    named_ns = named_until((e for e in entries if e["kind"] == "coverage"), from_ns, to_ns)
    for entry in entries:
        kind, source, at = entry["kind"], str(entry["source"]), int(entry["time_ns"])
        if kind == "coverage":
            begin, end = int(entry["from_ns"]), int(entry["to_ns"])
            if begin >= to_ns or end <= from_ns:
                continue
            total = totals.setdefault((source, begin, end), [0, 0])
            total[0] += int(entry["served"])
            total[1] += int(entry["scored"])
            unaccounted += int(entry["unaccounted"])
            for reason, tokens in entry["unscored"].items():
                unscored[reason] = unscored.get(reason, 0) + int(tokens)
        elif kind == "birth":
            if entry.get("name"):
                names[source] = str(entry["name"])
            lives.birth(entry)
        elif kind == "death":
            lives.death(entry)
        elif kind == "went-back":  # positions that can never come
            missing.setdefault(source, Missing()).fill(int(entry["has"]) + 1, 1 << 62)
        elif kind == "gap-closed":
            missing.setdefault(source, Missing()).fill(int(entry["first"]), int(entry["last"]))
        elif from_ns <= at < named_ns:
            _count(missing.setdefault(source, Missing()), entry)
    windows = tuple(Window(s, a, b, *tokens) for (s, a, b), tokens in sorted(totals.items()))
    silences = list(lives.silences())
    until = max(from_ns, min(to_ns, now_ns))
    known = _known(lives, windows, silences, from_ns, until)
    begin = from_ns or (known[0][0] if known else until)
    counted = _joined(sorted((w.from_ns, w.to_ns) for w in windows if w.from_ns))
    return Watched(
        windows,
        {reason: tokens for reason, tokens in sorted(unscored.items()) if tokens},
        unaccounted,
        tuple(Gap(s, a, b) for s, each in sorted(missing.items()) for a, b in each.ranges),
        tuple(_between(known, begin, until)),
        names,
        sum(w.from_ns < from_ns or w.to_ns > to_ns for w in windows),
        bool(known or windows),
        begin,
        until,
        (until, to_ns) if to_ns - until >= SHORT_NS else None,
        tuple(one for one in _unheard(silences, windows) if _lasts(one.within(begin, until))),
        _uncounted(_joined(known), counted),
    )


def _uncounted(known: Sequence[Span], counted: Sequence[Span]) -> int:
    """How long of what is known no window counts. Both in order, and apart."""
    begins = [begin for begin, _ in counted]
    total = 0
    for begin, end in known:
        first = max(0, bisect_right(begins, begin) - 1)
        near = counted[first : bisect_left(begins, end)]
        total += sum(b - a for a, b in _between(near, begin, end))
    return total


def _known(
    lives: Lives, windows: Sequence[Window], silences: Sequence[Silence], from_ns: int, to_ns: int
) -> list[Span]:
    """In order: the parts of the range in which somebody is known to have watched."""
    each = [span for spans in lives.spans().values() for span in spans]
    of: dict[str, list[Silence]] = {}
    for one in silences:
        of.setdefault(one.source, []).append(one)
    for window in windows:
        if window.from_ns and window.scored:
            each += without((window.from_ns, window.to_ns), of.get(window.source, []))
    cut = ((max(a, from_ns), min(b, to_ns)) for a, b in each)
    return sorted((a, b) for a, b in cut if a < b)


def _unheard(silences: Sequence[Silence], windows: Sequence[Window]) -> Iterator[Silence]:
    """Silences without the hours in them of which counts of the source itself came."""
    of: dict[str, list[Span]] = {}
    for window in windows:
        if window.scored:
            of.setdefault(window.source, []).append((window.from_ns, window.to_ns))
    for one in silences:
        each = of.get(one.source, ())
        heard = [(a, b) for a, b in each if one.from_ns <= a and b <= one.to_ns]
        for begin, end in _between(heard, one.from_ns, one.to_ns):
            yield replace(one, from_ns=begin, to_ns=end)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Those that overlap are one. spans: in order."""
    found: list[Span] = []
    for begin, end in spans:
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


def _lasts(span: Span) -> bool:
    return span[1] - span[0] >= SHORT_NS


def _span(one: Span) -> dict[str, int]:
    return {"from_ns": one[0], "to_ns": one[1]}


def _window(one: Window, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "source": one.source,
        "name": names.get(one.source, ""),
        "from_ns": one.from_ns,
        "to_ns": one.to_ns,
        "served": one.served,
        "scored": one.scored,
    }


def _count(missing: Missing, entry: Mapping[str, Any]) -> None:
    first, last = int(entry["first"]), int(entry["last"])
    if not missing.ranges or missing.ranges[-1][1] < first:
        missing.add(first, last)
    else:  # named again after the source went back
        missing.fill(first, last)
        missing.ranges = sorted([*missing.ranges, [first, last]])


def _between(spans: Sequence[Span], from_ns: int, to_ns: int) -> list[Span]:
    """What is in the range and in none of the spans, which are in order, where it lasts."""
    found, at = [], from_ns
    for begin, end in [*spans, (to_ns, to_ns)]:
        if _lasts((at, min(begin, to_ns))):
            found.append((at, min(begin, to_ns)))
        at = max(at, end)
    return found
