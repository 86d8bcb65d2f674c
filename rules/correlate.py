"""The second stage of the rules: counts of hits by tenant, user, model or anything else that hits are grouped by.

Owns `Correlator`: which hits count for which `count` rule, the sliding windows, and what is remembered. It is pure,
and its only time is that of the hits. It never learns what fired, nor what becomes of a count that is exceeded.

What counts: a hit whatever became of it (deduped, limited, silenced), unless it is exempt or not one that the count's
own `only` and `unless` leave. A live count counts hits of live rules alone, one in shadow those of shadow too.
Conversations and users are told apart by labels that somebody vouches for, within a tenant: a request without such a
conversation is one of its own, and one without a user is not counted.

When: a group's window reaches from its newest hit `within` back, that end left out. A hit older than the newest counts
in its place as long as it lies in the window, later ones not. The count fires at the hit with which more than N are in
the window, where N or fewer were before it: once, therefore, until so many have left the window that it is N again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Whose

MOST_ENTRIES = 100_000
"""Remembered a rule; about 40 MB."""

Key = tuple[str, ...]
Entry = tuple[
    int, str, Key
]  # time of the newest hit of a key, its event id, the key: in this order


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A count that has just come to be more than its rule allows.

    group       label and value of what is counted together; empty: everything
    from_ns     of the oldest that counted; time_ns: of the newest
    hits        event ids, in the order of their times: of everything counted its newest hit
    """

    rule: SecondRule
    group: tuple[tuple[str, str], ...]
    from_ns: int
    time_ns: int
    hits: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, slots=True)
class CountStats:
    """What one count does with the hits of its rules.

    groups, entries  remembered now
    evicted          groups forgotten while they still mattered, for want of room: their counts began anew
    late             hits that came after their window was over
    unattributed     hits without a label, vouched for, to group by, or to tell users apart
    """

    groups: int
    entries: int
    evicted: int
    late: int
    unattributed: int


class Correlator:
    """Give it every hit once it has its decision; the same hit again, and hits in another order, change nothing.

    After a restart, `add` the stored hits of the last `within` again and leave aside what that answers: every later
    answer is then what it would have been, for all that a count needs to know lies in its window.
    """

    def __init__(self, most_entries: int = MOST_ENTRIES) -> None:
        if most_entries < 1:
            raise ValueError(f"most_entries is {most_entries}: at least one is remembered")
        self._most = most_entries
        self._counts: dict[str, _Count] = {}
        self._of: dict[str, list[_Count]] = {}

    def expect(self, rules: Iterable[SecondRule], day: date) -> None:
        """The rules that run: at the start, at each reload and on a new day, when an exemption may be over.

        One that counts as before keeps its windows.
        """
        kept: dict[str, _Count] = {}
        for rule in rules:
            if not isinstance(rule.when, Count):
                continue
            found = self._counts.get(rule.id)
            if found is None or not found.counts_as(rule, rule.when):
                found = _Count(rule, rule.when, self._most)
            found.rule, found.policy = rule, rule.policy.on(day)
            kept[rule.id] = found
        self._counts, self._of = kept, {}
        for count in kept.values():
            for name in count.form.of:
                self._of.setdefault(name, []).append(count)

    @property
    def counted(self) -> frozenset[str]:
        """The rules whose hits count for anything."""
        return frozenset(self._of)

    @property
    def within_ns(self) -> int:
        """How far back hits matter."""
        return max((count.form.within_ns for count in self._counts.values()), default=0)

    def counts(self, rule: str) -> bool:
        """Whether its hits count for anything."""
        return rule in self._of

    def add(self, o: Occurrence, event_id: str) -> list[Exceeded]:
        """One hit, by its id; the counts that it made too many."""
        if o.exempt or o.rule not in self._of:
            return []
        found = (count.add(o, event_id) for count in self._of[o.rule])
        return [exceeded for exceeded in found if exceeded is not None]

    def forget(self, after_ns: int) -> None:
        """The clock was set back: a group that was hit later than this would count nothing until then."""
        for count in self._counts.values():
            count.forget(after_ns)

    @property
    def stats(self) -> dict[str, CountStats]:
        """By rule."""
        return {name: count.stats for name, count in self._counts.items()}


class _Count:
    """One `count` rule and its windows; the group that was hit last stands last."""

    def __init__(self, rule: SecondRule, form: Count, most: int) -> None:
        self.rule, self.form, self.policy = rule, form, rule.policy
        self._most = most
        self._groups: OrderedDict[Key, _Window] = OrderedDict()
        self._entries = 0
        self._newest = 0
        self._evicted = self._late = self._unattributed = 0

    def counts_as(self, rule: SecondRule, form: Count) -> bool:
        """The other rule counts the same hits in the same way."""
        return _counted_by(rule, form) == _counted_by(self.rule, self.form)

    def add(self, o: Occurrence, event_id: str) -> Exceeded | None:
        policy, form = self.policy, self.form
        if self.rule.status == "live" and o.status != "live":
            return None
        if policy.only.labels or policy.unless:
            if not policy.applies(o.labels, o.model):
                return None
            if policy.exemption(o.labels, o.model) is not None:
                return None
        group = o.group(policy.group_by) if policy.group_by else ()
        key = _key(form, o, event_id)
        if group is None or key is None:
            self._unattributed += 1
            return None
        window = self._groups.get(group)
        if window is None:
            window = self._groups[group] = _Window(form.within_ns, form.more_than + 1)
        else:
            self._groups.move_to_end(group)
        before = len(window.entries)
        verdict = window.add((o.time_ns, event_id, key))
        self._entries += len(window.entries) - before
        self._newest = max(self._newest, o.time_ns)
        if verdict is None:
            self._late += 1
        while self._entries > self._most and len(self._groups) > 1:
            self._evict()
        if not verdict:
            return None
        return Exceeded(
            self.rule,
            tuple(zip(policy.group_by, group, strict=True)),
            window.entries[0][0],
            window.entries[-1][0],
            tuple(hit for _, hit, _ in window.entries),
        )

    @property
    def stats(self) -> CountStats:
        counted = self._evicted, self._late, self._unattributed
        return CountStats(len(self._groups), self._entries, *counted)

    def forget(self, after_ns: int) -> None:
        for group, window in list(self._groups.items()):
            if window.now > after_ns:
                del self._groups[group]
                self._entries -= len(window.entries)
        self._newest = min(self._newest, after_ns)

    def _evict(self) -> None:
        _, window = self._groups.popitem(last=False)
        self._entries -= len(window.entries)
        self._evicted += window.now > self._newest - self.form.within_ns


class _Window:
    """The newest `most` keys of one group by their newest hits: all that decides whether `most` are in the window.

    A key that is left out has its newest hit before those of `most` others. It leaves the window before they do, so
    it can be forgotten: should it be hit again, it is as if for the first time.
    """

    __slots__ = ("_most", "_of", "_span", "entries", "now")

    def __init__(self, span: int, most: int) -> None:
        self._span, self._most = span, most
        self.now = 0
        self.entries: list[Entry] = []  # ascending
        self._of: dict[Key, Entry] = {}

    def add(self, entry: Entry) -> bool | None:
        """Whether there are `most` with it where fewer were before; None: it came too late to count."""
        time_ns, _, key = entry
        if time_ns > self.now:
            self.now = time_ns
            self._drop(bisect_right(self.entries, time_ns - self._span, key=_time))
        elif time_ns <= self.now - self._span:
            return None
        before = len(self.entries)
        known = self._of.get(key)
        if known is not None:
            if entry <= known:
                return False
            del self.entries[bisect_left(self.entries, known)]
        elif before == self._most:
            if entry <= self.entries[0]:
                return False
            self._drop(1)
        insort(self.entries, entry)
        self._of[key] = entry
        return before < self._most == len(self.entries)

    def _drop(self, n: int) -> None:
        for _, _, key in self.entries[:n]:
            del self._of[key]
        del self.entries[:n]


def _time(entry: Entry) -> int:
    return entry[0]


def _key(form: Count, o: Occurrence, event_id: str) -> Key | None:
    """What is told apart; None where nobody vouches for it."""
    if form.what == "hits":
        return (event_id,)
    tenant = o.labels.get("tenant", "")
    if form.what == "users":
        return None if "user" not in o.labels else (tenant, o.labels["user"])
    if "conversation" not in o.labels:
        return (o.request,)
    return tenant, o.labels["conversation"]


def _counted_by(rule: SecondRule, form: Count) -> tuple[Count, bool, Whose, tuple[str, ...]]:
    """Without `unless`: an exemption that begins or ends holds for the hits from then on."""
    return form, rule.status == "live", rule.policy.only, rule.policy.group_by
