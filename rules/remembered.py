"""What deciding needs to remember of the past, within bounds: who notified when, and what a limit let through.

Owns the memory of groups, with its expiry and eviction, and the counting of one window. It never learns why it is
asked: the stages and their order are in `decide.py`. Time is an argument and never goes backwards.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MOST_COUNTED = 10_000
"""Groups that a window counts exactly."""

Key = str | tuple[str, ...]
"""A group: a request, or the names of the labels and then their values, so that no two groupings meet."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a rule's limit kept back in one window, for the one message that says so.

    groups: distinct ones among the limited hits; groups_floor: there were more, and counting stopped.
    """

    rule: str
    from_ns: int
    to_ns: int
    notified: int
    limited: int
    groups: int
    groups_floor: bool


class Memory:
    """When each group last notified, the earliest first, which is also the order in which they stop to matter."""

    __slots__ = ("_last", "_most", "evicted")

    def __init__(self, most: int) -> None:
        """most: groups kept; beyond it the earliest is forgotten, and counted if it still mattered."""
        self._last: OrderedDict[Key, int] = OrderedDict()
        self._most = most
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._last)

    def within(self, key: Key, now: int, span: int) -> bool:
        """It notified less than `span` ago."""
        last = self._last.get(key)
        return last is not None and now - last < span

    def let_go(self, now: int, span: int) -> None:
        """Empties it where nothing in it matters any more: `note`, which forgets as it goes, may never come again."""
        if self._last and now - next(reversed(self._last.values())) >= span:
            self._last.clear()

    def note(self, key: Key, now: int, span: int) -> None:
        """It notifies now, which matters for `span`."""
        self._last[key] = now
        self._last.move_to_end(key)
        for _ in range(2):  # two out for one in: memory shrinks, and no call takes long
            earliest = next(iter(self._last))
            over = now - self._last[earliest] >= span
            if not over and len(self._last) <= self._most:
                break
            del self._last[earliest]
            self.evicted += not over


class Window:
    """The count of one window of one limit. groups: of the limited hits, at most `MOST_COUNTED`."""

    __slots__ = ("_floor", "_groups", "from_ns", "limited", "notified", "to_ns")

    def __init__(self, now: int, span: int) -> None:
        """The window of this length that holds `now`; windows follow each other from the epoch on."""
        self.from_ns = now - now % span
        self.to_ns = self.from_ns + span
        self.notified = self.limited = 0
        self._groups: set[Key] = set()
        self._floor = False

    def limit(self, key: Key) -> None:
        """Counts one hit that was kept back."""
        self.limited += 1
        if len(self._groups) < MOST_COUNTED:
            self._groups.add(key)
        elif not self._floor:
            self._floor = key not in self._groups

    def digest(self, rule: str) -> Digest:
        groups = len(self._groups)
        return Digest(
            rule, self.from_ns, self.to_ns, self.notified, self.limited, groups, self._floor
        )
