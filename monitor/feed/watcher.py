"""Who is alive and what never came: births, deaths and gaps of every source, out of what history is told.

It is pure: items and the time come in, findings go out, each once, and the state of a source is plain JSON for whoever
stores it. Silence is measured by our own clock, what is newer by that of the source; how long a source is known to
have lived is said by the earlier of both, so that it is never too long. It knows nothing of logs or ledgers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from dosimeter.monitor.feed.items import Alert, Alive, Bye, Hello, Item, Rolled
from dosimeter.monitor.feed.missing import Missing

SILENT_NS = 120 * 10**9
GRACE_NS = 60 * 10**9
"""After the last progress, before what a source said it has and did not bring is named."""

Reason = Literal["ended", "silent", "restarted"]


@dataclass(frozen=True, slots=True)
class Birth:
    """A source begins to speak; resumed: it was there before."""

    kind: ClassVar[str] = "birth"
    source: str
    name: str
    started_ns: int  # of this life, by the source's clock; 0: not said
    first_seq: int  # the first position that may be expected
    resumed: bool


@dataclass(frozen=True, slots=True)
class Death:
    """A source is gone: it said so (ended), nothing came (silent), or another life began without a word (restarted)."""

    kind: ClassVar[str] = "death"
    source: str
    name: str
    reason: Reason
    said: str  # its own words, when it ended
    last_seq: int  # the last position it is known to have accepted
    received: int  # the last position that came
    seen_ns: int  # its last sign of life, by its clock, or by ours where that is earlier; 0: there was none


@dataclass(frozen=True, slots=True)
class Gap:
    """Positions that were accepted and have not come."""

    kind: ClassVar[str] = "gap"
    source: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapClosed:
    """Positions of a gap that came after all."""

    kind: ClassVar[str] = "gap-closed"
    source: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WentBack:
    """The source took back the positions after `has`: what stands under them here it no longer knows."""

    kind: ClassVar[str] = "went-back"
    source: str
    had: int
    has: int


Finding = Birth | Death | Gap | GapClosed | WentBack


@dataclass(slots=True)
class _Source:
    """What is known of one source. ours: by the clock of history; all other times are the source's own."""

    name: str = ""
    started_ns: int = 0
    born: bool = False
    alive: bool = False
    said_ns: int = 0  # of the newest sign of life
    seen_ns: int = (
        0  # the same, or when it came by our clock where that is earlier: never later than it was
    )
    sign_ns: int = 0  # ours: when the newest sign of life came
    progress_ns: int = (
        0  # ours: when a position came that was not there, or one was claimed that has not come
    )
    claimed: int = 0  # the last position it says it has
    high: int = 0  # the last position that came, or that a gap was named for
    received: int = 0
    exact_after: int = 0  # positions up to here may be absent though nothing is
    rolled_ns: int = 0
    again: int = 0  # after it went back: positions up to here may be of what had come before
    missing: list[list[int]] = field(default_factory=list)


class Watcher:
    """Give it every item, and call it now and then without any: silence is a finding too.

    An alert that comes again is no finding. After a source went back its positions are given anew: leave out then what
    the store knows by its event id.
    """

    def __init__(
        self,
        states: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        now_ns: int = 0,
        silent_ns: int = SILENT_NS,
        grace_ns: int = GRACE_NS,
    ) -> None:
        """states: by source, what `changed` returned for it last."""
        self._sources = {source: _Source(**state) for source, state in (states or {}).items()}
        self._silent_ns, self._grace_ns = silent_ns, grace_ns
        self._changed: set[str] = set()
        self.unheard(now_ns)

    def unheard(self, now_ns: int) -> None:
        """We did not listen until now: nothing that did not come counts as silence."""
        for one in self._sources.values():
            one.sign_ns, one.progress_ns = max(one.sign_ns, now_ns), max(one.progress_ns, now_ns)

    def changed(self) -> dict[str, dict[str, Any]]:
        """The state of each source that is not as it was at the last call; to be stored with the findings."""
        found = {source: asdict(self._sources[source]) for source in sorted(self._changed)}
        self._changed.clear()
        return found

    def forget(self, sources: Iterable[str]) -> None:
        """What comes of these again begins anew: nothing before it is missed."""
        for source in sources:
            self._sources.pop(source, None)
            self._changed.discard(source)

    def has(self, source: str, seq: int) -> bool:
        """Whether this position of a source has come."""
        one = self._sources.get(source)
        return (
            one is not None and seq <= one.high and not any(a <= seq <= b for a, b in one.missing)
        )

    def repeats(self, source: str, seq: int) -> bool:
        """Whether what has not come at this position may have come before the source went back."""
        one = self._sources.get(source)
        return one is not None and seq <= one.again

    def see(self, items: Iterable[Item], now_ns: int) -> list[Finding]:
        """What these items and the time that went by say. now_ns: the clock of history."""
        found: list[Finding] = []
        arrived: dict[str, list[int]] = {}
        for item in items:
            if isinstance(item, Alert):
                arrived.setdefault(item.source, []).append(item.seq)
            elif isinstance(item, Hello | Alive | Bye | Rolled):
                found += self._arrived(item.source, arrived.pop(item.source, ()), now_ns)
                found += self._said(item, now_ns)
        for source, positions in arrived.items():
            found += self._arrived(source, positions, now_ns)
        for source in sorted(self._sources):
            found += self._waited(source, now_ns)
        return found

    def _said(self, item: Hello | Alive | Bye | Rolled, now_ns: int) -> list[Finding]:
        one = self._sources.setdefault(item.source, _Source())
        found: list[Finding] = []
        if isinstance(item, Rolled):
            return self._rolled(one, item) if item.at_ns > one.rolled_ns else []
        if isinstance(item, Hello):
            if one.born and item.started_ns <= one.started_ns:
                return []  # told again
            if one.alive and one.started_ns:  # else it is the greeting of the life that we know of
                found.append(self._died(item.source, one, "restarted"))
            one.name, one.started_ns = item.name, item.started_ns
            one.seen_ns = max(one.seen_ns, min(item.started_ns, now_ns))
            one.exact_after = max(one.exact_after, item.exact_after)
            found += self._gap_before(item.source, one, item.first_seq)
            found.append(self._born(item.source, one, item.first_seq))
        elif item.at_ns <= one.said_ns:
            return []
        else:
            one.said_ns = item.at_ns
            if isinstance(item, Alive):  # a last word may come from others, long after
                one.seen_ns = max(one.seen_ns, min(item.at_ns, now_ns))
            if not one.alive and (isinstance(item, Alive) or not one.born):
                found.append(self._born(item.source, one, one.high + 1))
        one.sign_ns = max(one.sign_ns, now_ns)
        if item.last_seq > one.claimed:
            if one.claimed <= one.high:
                one.progress_ns = max(one.progress_ns, now_ns)
            one.claimed = item.last_seq
        if isinstance(item, Bye) and one.alive:
            found.append(self._died(item.source, one, "ended", item.reason))
        self._changed.add(item.source)
        return found

    def _born(self, source: str, one: _Source, first_seq: int) -> Birth:
        resumed, one.born, one.alive = one.born, True, True
        return Birth(source, one.name, one.started_ns, first_seq, resumed)

    def _died(self, source: str, one: _Source, reason: Reason, said: str = "") -> Death:
        one.alive = False
        last_seq = max(one.claimed, one.received)
        return Death(source, one.name, reason, said, last_seq, one.received, one.seen_ns)

    def _gap_before(self, source: str, one: _Source, first_seq: int) -> list[Finding]:
        """What retention took before it was sent is missing; what it took before we were there is not."""
        if first_seq <= one.high + 1:
            return []
        if not one.born:
            one.high = first_seq - 1
            return []
        return self._absent(source, one, first_seq - 1)

    def _absent(self, source: str, one: _Source, last: int) -> list[Finding]:
        """Nothing up to this position is waited for any more."""
        first, one.high = max(one.high, one.exact_after) + 1, last
        if first > last:
            return []
        missing = Missing(one.missing)
        missing.add(first, last)
        one.missing = missing.ranges
        return [Gap(source, first, last)]

    def _rolled(self, one: _Source, item: Rolled) -> list[Finding]:
        one.rolled_ns = item.at_ns
        top = max(one.high, item.had)
        one.again = max(one.again, top)
        one.high, one.claimed = min(one.high, item.has), item.has
        one.received = min(one.received, item.has)
        missing = Missing(one.missing)
        missing.fill(item.has + 1, top)  # they can never come: no gap, and none that was closed
        one.missing = missing.ranges
        self._changed.add(item.source)
        return [WentBack(item.source, item.had, item.has)]

    def _arrived(self, source: str, positions: Sequence[int], now_ns: int) -> list[Finding]:
        if not positions:
            return []
        one = self._sources.setdefault(source, _Source())
        found: list[Finding] = [] if one.born else [self._born(source, one, 1)]
        before = Missing(one.missing)
        after = Missing(one.missing)
        progress = False
        top = one.high
        for seq in positions:
            progress |= seq > top or after.fill(seq, seq)
            if seq > top:
                first, top = max(top, one.exact_after) + 1, seq
                if first < seq:
                    after.add(first, seq - 1)
        if not progress:
            return found
        one.missing, one.high = after.ranges, top
        one.received = max(one.received, *positions)
        one.claimed = max(one.claimed, one.received)
        one.progress_ns = max(one.progress_ns, now_ns)
        one.sign_ns = max(one.sign_ns, now_ns)
        self._changed.add(source)
        found += [GapClosed(source, *ends) for ends in before.without(after)]
        found += [Gap(source, *ends) for ends in after.without(before)]
        return found

    def _waited(self, source: str, now_ns: int) -> list[Finding]:
        one = self._sources[source]
        found: list[Finding] = []
        dies = one.alive and now_ns - one.sign_ns >= self._silent_ns
        if dies:
            found.append(self._died(source, one, "silent"))
        if one.claimed > one.high and (dies or now_ns - one.progress_ns >= self._grace_ns):
            found += self._absent(source, one, one.claimed)
            self._changed.add(source)
        if dies:
            self._changed.add(source)
        return found
