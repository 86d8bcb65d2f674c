"""How far a range of time was watched: what "none was found" is worth.

Owns the sums over hourly coverage, the times at which nothing was watching, and what never came. It never learns what
was looked for: coverage is counted for a server process, not for a tenant or a rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from dosimeter.monitor.audit.queries.times import lasting, shown
from dosimeter.monitor.feed.missing import Missing

WEAK = 0.99
"""Of an hour's tokens; below it, absence in that hour is weak evidence."""
SHORT_NS = 120 * 10**9
"""Times without anything watching that are not listed: silence shorter than this names nobody dead."""
LATE_NS = 86_400 * 10**9
"""A gap may be named so long after the range and still concern it."""
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


@dataclass(frozen=True, slots=True)
class Watched:
    """windows: by source and time. unwatched: within the range, longer than two minutes. names: of sources.

    over_edge: windows that reach out of the range; they count whole.
    """

    windows: tuple[Window, ...] = ()
    unscored: Mapping[str, int] = field(default_factory=dict)
    unaccounted: int = 0
    gaps: tuple[Gap, ...] = ()
    unwatched: tuple[tuple[int, int], ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    over_edge: int = 0
    any_data: bool = False

    @property
    def served(self) -> int:
        return sum(one.served for one in self.windows)

    @property
    def scored(self) -> int:
        return sum(one.scored for one in self.windows)

    @property
    def share(self) -> float | None:
        return self.scored / self.served if self.served else None

    @property
    def weak(self) -> list[Window]:
        return [one for one in self.windows if one.served and one.scored < WEAK * one.served]

    def as_json(self) -> dict[str, Any]:
        return {
            "any_data": self.any_data,
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
            "unwatched": [{"from_ns": begin, "to_ns": end} for begin, end in self.unwatched],
            "windows_over_edge": self.over_edge,
        }  # fmt: skip


def weigh(entries: Iterable[Mapping[str, Any]], from_ns: int, to_ns: int) -> Watched:
    """entries: of KINDS, in the order of the log, with the fields of their leaves, until LATE_NS after the range."""
    names: dict[str, str] = {}
    totals: dict[tuple[str, int, int], list[int]] = {}
    unscored: dict[str, int] = {}
    missing: dict[str, Missing] = {}
    lives: dict[str, list[list[int]]] = {}
    unaccounted = 0
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
            spans = lives.setdefault(source, [])
            if not spans or spans[-1][1] <= at:
                spans.append([at, to_ns])
        elif kind == "death":
            for span in lives.get(source, [])[-1:]:
                span[1] = min(span[1], at)
        elif kind == "went-back":  # positions that can never come
            missing.setdefault(source, Missing()).fill(int(entry["has"]) + 1, 1 << 62)
        elif from_ns <= at < to_ns + LATE_NS:
            _count(missing.setdefault(source, Missing()), kind, entry)
    windows = tuple(Window(s, a, b, *tokens) for (s, a, b), tokens in sorted(totals.items()))
    known = [(a, b) for each in lives.values() for a, b in each]
    known += [(w.from_ns, w.to_ns) for w in windows if w.from_ns and w.served]
    within = sorted((max(a, from_ns), min(b, to_ns)) for a, b in known if a < to_ns and b > from_ns)
    return Watched(
        windows,
        {reason: tokens for reason, tokens in sorted(unscored.items()) if tokens},
        unaccounted,
        tuple(Gap(s, a, b) for s, each in sorted(missing.items()) for a, b in each.ranges),
        tuple(_between(within, from_ns, to_ns)),
        names,
        sum(w.from_ns < from_ns or w.to_ns > to_ns for w in windows),
        bool(within or windows),
    )


def lines(found: Watched, zone: tzinfo, *, most: int = 12) -> list[str]:
    """In words, the figure first. most: listed of each sort."""
    if not found.any_data:
        return [
            "no data: nothing was watching in that time, so nothing follows from an empty answer"
        ]
    if found.share is None:
        said = ["coverage: no tokens were served in that time"]
    else:
        said = [f"coverage {percent(found.share)} of {found.served:,} tokens"]
    if found.unscored:
        each = " · ".join(f"{reason} {tokens:,}" for reason, tokens in found.unscored.items())
        said.append(f"  unscored: {each}")
    if found.unaccounted:
        said.append(f"  unaccounted: {found.unaccounted:,} tokens; it must be 0")
    said += _listed(
        f"under {percent(WEAK)}: absence there is weak evidence",
        [_weak(one, found, zone) for one in found.weak],
        most,
    )  # fmt: skip
    said += _listed(
        "nothing was watching",
        [f"{_span(a, b, zone)}  ({lasting((b - a) / 1e9)})" for a, b in found.unwatched],
        most,
    )
    said += _listed(
        "gaps: accepted there, never came here",
        [f"{_name(g.source, found)} seq {_range(g)}" for g in found.gaps],
        most,
    )
    if found.over_edge:
        said.append(f"  {found.over_edge} windows reach over the edge of the range and count whole")
    return said


def percent(share: float) -> str:
    """Never rounded up to a hundred."""
    return "100 %" if share >= 1 else f"{int(share * 10_000) / 100:g} %"


def short(found: Watched) -> str:
    """For one line: coverage, how many weak hours, the gaps."""
    if not found.any_data:
        return "no data in that time"
    said = ["no tokens were served"]
    if found.share is not None:
        said = [f"coverage {percent(found.share)} of {found.served:,} tokens"]
    if found.weak:
        said[0] += f"; {_times(len(found.weak), 'hour')} under {percent(WEAK)}"
    if found.unwatched:
        total = sum(b - a for a, b in found.unwatched) / 1e9
        said.append(f"unwatched {lasting(total)}")
    if found.gaps:
        some = ", ".join(f"{_name(g.source, found)} seq {_range(g)}" for g in found.gaps[:3])
        more = f" and {len(found.gaps) - 3} more" if len(found.gaps) > 3 else ""
        said.append(f"gaps: {some}{more}")
    else:
        said.append("gaps: none")
    return " · ".join(said)


def _window(one: Window, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "source": one.source,
        "name": names.get(one.source, ""),
        "from_ns": one.from_ns,
        "to_ns": one.to_ns,
        "served": one.served,
        "scored": one.scored,
    }


def _count(missing: Missing, kind: str, entry: Mapping[str, Any]) -> None:
    first, last = int(entry["first"]), int(entry["last"])
    if kind == "gap-closed":
        missing.fill(first, last)
    elif not missing.ranges or missing.ranges[-1][1] < first:
        missing.add(first, last)
    else:  # named again after the source went back
        missing.fill(first, last)
        missing.ranges = sorted([*missing.ranges, [first, last]])


def _between(spans: Sequence[tuple[int, int]], from_ns: int, to_ns: int) -> list[tuple[int, int]]:
    """What is in the range and in none of the spans, which are in order. An open beginning is no gap."""
    found, at = [], from_ns or (spans[0][0] if spans else to_ns)
    for begin, end in [*spans, (to_ns, to_ns)]:
        if begin - at >= SHORT_NS:
            found.append((at, begin))
        at = max(at, end)
    return found


def _listed(head: str, each: Sequence[str], most: int) -> list[str]:
    if not each:
        return []
    more = [f"    and {len(each) - most:,} more"] if len(each) > most else []
    return [f"  {head}", *(f"    {one}" for one in each[:most]), *more]


def _weak(one: Window, found: Watched, zone: tzinfo) -> str:
    share = f"{percent(one.scored / one.served)} of {one.served:,}"
    return f"{_span(one.from_ns, one.to_ns, zone)}  {share}  {_name(one.source, found)}"


def _span(begin: int, end: int, zone: tzinfo) -> str:
    first, last = shown(begin, zone), shown(end, zone)
    return f"{first} to {last[11:] if first[:10] == last[:10] else last}"


def _range(gap: Gap) -> str:
    return f"{gap.first}" if gap.first == gap.last else f"{gap.first}-{gap.last}"


def _name(source: str, found: Watched) -> str:
    return found.names.get(source) or source[:16]


def _times(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("s" if count != 1 else "")
