"""Hits by group to records of counts, in the ledger of this member: the second of the two stages of a fleet.

What a hit made too many is committed to the ledger before the offset of the hit is, so a crash repeats and loses
nothing: the record has the same id again. A partition that comes to this member is read again from where its windows
begin, silently, up to what is committed. It knows nothing of who delivers the records.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from kafka import TopicPartition

from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.fleet.gaps import Lost
from dosimeter.monitor.fleet.hit import HitError, decode
from dosimeter.monitor.fleet.member import Member
from dosimeter.monitor.fleet.partition import PartitionCounts, reach_ns
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.refusals import Refusals
from dosimeter.rules.language.second import SecondRule

log = logging.getLogger(__name__)

BATCH = 500
Rules = tuple[tuple[SecondRule, ...], date]


@dataclass(slots=True)
class _Part:
    """live_from: the first offset whose answers count; before it, hits are only read again. again: their tally."""

    counts: PartitionCounts
    live_from: int
    next: int | None = None
    live: bool = False
    again: Counter[str] = field(default_factory=Counter)
    told: tuple[int, str] | None = field(default=None)  # as it was committed last

    def tally(self) -> Counter[str]:
        """Of the hits that were new."""
        found = self.counts.tally()
        found.subtract(self.again if self.live else found.copy())
        return found


class FleetCounter:
    """Use it from one thread. alerts: records by decision; seen: hits that were counted, refused, of no rule here."""

    def __init__(
        self,
        member: Member,
        ledger: Ledger,
        rules: Callable[[], Rules],
        time_ns: Callable[[], int],
        *,
        group: str,
    ) -> None:
        """rules: that run, and the day. group: name of what all members share."""
        self._member, self._ledger, self._rules, self._time_ns = member, ledger, rules, time_ns
        self._group = group
        self._in_force: Rules = ((), date.min)
        self._parts: dict[TopicPartition, _Part] = {}
        self._gone: Counter[str] = Counter()  # of partitions that others have now
        self._refused = 0
        self._refusals = Refusals(time_ns, "not counted")
        self._lost = Lost()
        self.alerts: Counter[str] = Counter()
        self.told = self._status()  # as of the last step: the client is one thread's

    def step(self, timeout_s: float) -> int:
        """Count what came; how many hits were new. Raises FleetAway, LedgerStalled: the same comes again then."""
        self._follow()
        try:
            return self._step(timeout_s)
        except BaseException:
            # What was counted and is not stored comes again: as new, therefore, to windows that have not seen it.
            self._lost.forget()
            self._lose(frozenset())
            self._member.close()
            self.told = self._status()
            raise

    def _step(self, timeout_s: float) -> int:
        polled = self._member.poll(timeout_s, BATCH)
        self._refusals.tell()
        self._lose(self._member.assigned - self._member.left())
        found: list[Decided] = []
        new = 0
        for at in sorted(self._member.assigned - self._parts.keys()):
            self._begin(at)
            polled.pop(at, None)
        for at, rows in polled.items():
            part = self._parts[at]
            for row in rows:
                decided = self._take(part, row)
                if row.offset >= part.live_from:
                    new += 1
                    found += decided
        for at, part in self._parts.items():
            # By the clock only where nothing waits: a window that is over by the clock may have hits to come.
            caught_up = at not in polled and self._member.at_end(at)
            due_ns = self._time_ns() if caught_up else part.counts.newest_ns
            if part.live and due_ns:
                found += part.counts.digests(due_ns)
        self._keep(found)
        self._commit()
        self._lost.settle()
        self.told = self._status()
        return new

    def close(self) -> None:
        self._member.close()

    def _status(self) -> dict[str, Any]:
        """For people: this member's share, what it counted, and what it could not."""
        parts = list(self._parts.items())
        seen = Counter(self._gone)
        for _, part in parts:
            seen.update(part.tally())
        return {
            "partitions": sorted(at.partition for at, part in parts if part.live),
            "reading_again": sorted(at.partition for at, part in parts if not part.live),
            "topic_partitions": self._member.topic_partitions,
            "hits": seen["counted"],
            "of_no_rule": seen["unknown"],
            "late": seen["late"],
            "unattributed": seen["unattributed"],
            "refused": self._refused,
            "groups": sum(part.counts.groups for _, part in parts),
            "records": dict(self.alerts),
            "lag": self._member.lag(),
            "records_missing": self._lost.records,
            "gaps": list(self._lost.named),
        }

    def _follow(self) -> None:
        found = self._rules()
        if found != self._in_force:
            # First: a record names its rule's text by hash, and it must be there.
            self._ledger.append(blobs={rule.sha256: rule.canonical for rule in found[0]})
            self._in_force = found
            for part in self._parts.values():
                part.counts.expect(*found)

    def _lose(self, kept: frozenset[TopicPartition]) -> None:
        for at in self._parts.keys() - kept:
            self._gone.update(self._parts.pop(at).tally())

    def _begin(self, at: TopicPartition) -> None:
        """Where to read from, so that all windows are known by the first hit that is new."""
        stored = self._member.committed(at)
        counts = PartitionCounts(f"{self._group}/{at.topic}/{at.partition}")
        counts.expect(*self._in_force)
        if stored is not None and stored[0] > (end := self._member.end(at)):
            log.error("%s-%d ends at %d, before %d: it was made anew, or lost its end; counted anew",
                      at.topic, at.partition, end, stored[0])  # fmt: skip
            stored = None
        offset, note = stored or (0, "")
        needed = _needed(note, reach_ns(self._in_force[0]))
        self._member.seek(at, needed if stored else None)
        live = needed == offset or not stored
        self._parts[at] = _Part(counts, offset, needed if stored else None, live, told=stored)

    def _take(self, part: _Part, row: Any) -> Sequence[Decided]:
        if not part.live and row.offset >= part.live_from:
            self._go_live(part)
        if part.next is not None and row.offset > part.live_from:
            # What is missing of what is only read again, others have counted, or have told of.
            due = max(part.next, part.live_from)
            self._lost.see(TopicPartition(row.topic, row.partition), due, row.offset)
        part.next = row.offset + 1
        try:
            decided = part.counts.take(row.offset, decode(row.value))
        except HitError as error:
            self._refused += 1
            self._refusals.add(f"{row.topic}-{row.partition} offset {row.offset}", str(error))
            decided = []
        if not part.live and part.next >= part.live_from:
            self._go_live(part)
        return decided

    @staticmethod
    def _go_live(part: _Part) -> None:
        part.counts.told_before()
        part.again = part.counts.tally()
        part.live = True

    def _keep(self, found: Sequence[Decided]) -> None:
        records = [one.record for one in found if one.record is not None]
        if records:
            self._ledger.append(records)
        for one in found:
            self.alerts[one.decision] += 1

    def _commit(self) -> None:
        due = {}
        for at, part in self._parts.items():
            if part.next is None or part.next <= part.live_from:
                continue
            needed = part.counts.needed()
            first = part.next if needed is None else needed
            told = part.next, f"{first}:{part.counts.reach_ns}"
            if told != part.told:
                due[at] = part.told = told
        self._member.commit(due)


def _needed(note: str, reach: int) -> int | None:
    """The first offset that matters, by the note of who committed; None: unknown, so all that is there."""
    first, _, reached = note.partition(":")
    if not (first.isdecimal() and reached.isdecimal()) or int(reached) < reach:
        return None
    return int(first)
