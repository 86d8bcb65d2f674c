"""What one partition of hits has come to: counts, what was notified, and from where on to read to know it again.

Its state is a function of the records it was given, in their order: whoever takes the partition over reads them from
`needed` again, leaving aside what they answer, and goes on as if nothing had happened. It knows no client, no clock.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable
from datetime import date

from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.counts import Counts
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.fleet.hit import FleetHit
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule

log = logging.getLogger(__name__)

SLACK_NS = 60_000_000_000
"""Hits come out of order by less than this, or else are counted as late anyway."""
MARKS = 64
"""Into so many parts the time is cut that is read again: it may be read further back than needed by one."""


class PartitionCounts:
    """Give it every hit of the partition, by offset, once."""

    def __init__(self, name: str) -> None:
        """name: the same for whoever counts this partition: digests of a limit are told apart by it."""
        self._decisions = Decisions(name)
        self._counts: dict[str, Counts] = {}
        self._marks: deque[tuple[int, int]] = deque()  # offset, the newest time before it
        self._newest_ns = 0
        self.reach_ns = 0
        self.seen: Counter[str] = Counter()  # counted | unknown | late | unattributed

    def expect(self, rules: Iterable[SecondRule], day: date) -> None:
        """The rules that run. One that counts as before keeps its windows."""
        found = {rule.id: rule for rule in rules if isinstance(rule.when, Count)}
        for name in self._counts.keys() - found.keys():
            self._counts.pop(name).expect((), day)
        for name, rule in found.items():
            if name not in self._counts:
                self._counts[name] = Counts(self._decisions)
            self._counts[name].expect((rule,), day)
        self.reach_ns = reach_ns(found.values())

    def take(self, offset: int, hit: FleetHit) -> list[Decided]:
        """The records of the counts that it made too many."""
        time_ns = hit.of.time_ns
        part_ns = max(1, self.reach_ns // MARKS)
        if not self._marks or self._newest_ns - self._marks[-1][1] >= part_ns:
            self._marks.append((offset, self._newest_ns))
        self._newest_ns = max(self._newest_ns, time_ns)
        counts = self._counts.get(hit.count)
        if counts is None:
            self.seen["unknown"] += 1
            return []
        late, unattributed = _passed_over(counts)
        made = counts.add(hit.of, hit.event_id)
        after = _passed_over(counts)
        of = "late" if after[0] > late else "unattributed" if after[1] > unattributed else "counted"
        self.seen[of] += 1
        return made

    def digests(self, time_ns: int) -> list[Decided]:
        """Of the limits whose windows have ended by then, each once."""
        return self._decisions.digests(time_ns)

    def told_before(self) -> None:
        """The hits so far were read again: what they are owed was recorded by whoever read them first."""
        self._decisions.digests(self._newest_ns)

    @property
    def newest_ns(self) -> int:
        """Of the hits so far; 0 before the first."""
        return self._newest_ns

    def needed(self) -> int | None:
        """The first offset that matters for what is to come; None: nothing does yet."""
        while len(self._marks) > 1 and self._marks[1][1] <= self._newest_ns - self.reach_ns:
            self._marks.popleft()
        return self._marks[0][0] if self._marks else None

    def tally(self) -> Counter[str]:
        """Of the hits so far, each once."""
        return Counter(self.seen)

    @property
    def groups(self) -> int:
        """Whose windows are open now."""
        return sum(of.groups for counts in self._counts.values() for of in counts.stats.values())


def _passed_over(counts: Counts) -> tuple[int, int]:
    """Hits that were late, and hits without a label."""
    each = counts.stats.values()
    return sum(of.late for of in each), sum(of.unattributed for of in each)


def reach_ns(rules: Iterable[SecondRule]) -> int:
    """How far back hits matter: for a window, and for who was notified."""
    reach = [
        rule.when.within_ns + rule.policy.reach_ns for rule in rules if isinstance(rule.when, Count)
    ]
    return max(reach, default=0) + SLACK_NS
