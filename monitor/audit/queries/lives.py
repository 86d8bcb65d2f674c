"""When each source is known to have lived, from its births, its deaths and its last sign of life.

Owns that nothing is known of a source between its last sign of life and its next beginning, whenever that was noticed.
It knows nothing of tokens, and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EVER = 1 << 62
Span = tuple[int, int]
"""[from_ns, to_ns)"""


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which nothing is known of a source. to_ns: EVER where it was not heard since.

    said: its last word was that it ends.
    """

    source: str
    from_ns: int
    to_ns: int
    said: bool

    def within(self, from_ns: int, to_ns: int) -> Span:
        return max(self.from_ns, from_ns), min(self.to_ns, to_ns)


@dataclass(slots=True)
class _Life:
    begin: int
    started: int  # by its own clock, which tells one life from the next; 0: not said
    end: int | None = None
    said: bool = False


class Lives:
    """Tell it births and deaths in the order of the log."""

    def __init__(self, signs: Mapping[str, int]) -> None:
        """signs: source -> its last sign of life, of those that nobody has called dead."""
        self._signs = signs
        self._lives: dict[str, list[_Life]] = {}

    def birth(self, entry: Mapping[str, Any]) -> None:
        at, started = int(entry["time_ns"]), int(entry.get("started_ns") or 0)
        each = self._lives.setdefault(str(entry["source"]), [])
        if each and each[-1].end is None:  # told again, or of one that spoke before it greeted
            each[-1].started = each[-1].started or started
            return
        if each and started and started == each[-1].started:
            each[-1].end, each[-1].said = None, False  # the same life: only its word had not come
            return
        begin = at
        if each and (last := each[-1].end) is not None and last <= started <= at:
            begin = started  # it ran before it was heard
        each.append(_Life(begin, started))

    def death(self, entry: Mapping[str, Any]) -> None:
        for one in self._lives.get(str(entry["source"]), [])[-1:]:
            if one.end is None:
                one.said = entry.get("reason") == "ended"
                one.end = max(one.begin, int(entry.get("seen_ns", 0)))

    def spans(self) -> dict[str, list[Span]]:
        """In which each source is known to have lived, in order."""
        return {
            source: [(one.begin, self._end(source, one)) for one in each]
            for source, each in self._lives.items()
        }

    def silences(self) -> Iterator[Silence]:
        """What follows each life, of one source after the other."""
        for source, each in sorted(self._lives.items()):
            begins = [one.begin for one in each[1:]] + [EVER]
            for one, next_begin in zip(each, begins, strict=True):
                if (end := self._end(source, one)) < next_begin:
                    yield Silence(source, end, next_begin, one.said)

    def _end(self, source: str, one: _Life) -> int:
        return max(one.begin, self._signs.get(source, one.begin)) if one.end is None else one.end


def without(span: Span, silences: list[Silence]) -> list[Span]:
    """What of a window of counts is known: not its part in a silence that begins or ends within it.

    Of a window that lies in a silence as a whole the counts themselves are the sign of life.
    """
    begin, end = span
    found: list[Span] = []
    for one in silences:
        if one.to_ns <= begin or one.from_ns >= end or (one.from_ns <= begin and end <= one.to_ns):
            continue
        if begin < one.from_ns:
            found.append((begin, one.from_ns))
        begin = max(begin, one.to_ns)
    return [*found, (begin, end)] if begin < end else found
