"""What never came to a member of the fleet: records that a topic no longer held, and positions of sidecars passed over.

A count that lacks hits is too low, and nobody sees it in the count. It owns what is a gap and how one is named; the
positions of a sidecar are watched as history watches them. It knows no client, and decides nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kafka import TopicPartition

from dosimeter.monitor.feed.items import Alert, Hello, Item
from dosimeter.monitor.feed.watcher import Gap, GapClosed, Watcher

log = logging.getLogger(__name__)

NAMED = 20
"""The latest gaps in words; of all there is the number."""
KEPT_NS = 7 * 86_400 * 10**9
"""So long a sidecar that is not heard of is known. Every step looks at each that is, and every new pod is one more."""
LOOK_NS = 3600 * 10**9
"""How often those are looked for that are not heard of any more."""


class Lost:
    """Records that were due and were not there any more. Give it the offsets of a partition in order.

    What was seen counts when it is settled: what could not be stored is read again, with the same gaps in it.
    """

    def __init__(self) -> None:
        self.records = 0
        self.named: deque[str] = deque(maxlen=NAMED)
        self._seen: list[tuple[TopicPartition, int, int]] = []

    def see(self, at: TopicPartition, due: int | None, offset: int) -> None:
        """due: None where any may be the first."""
        if due is not None and offset > due:
            self._seen.append((at, due, offset))

    def forget(self) -> None:
        self._seen = []

    def settle(self) -> None:
        for at, due, offset in self._seen:
            self.records += offset - due
            words = f"{at.topic}-{at.partition} offsets {due}-{offset - 1}: not kept until they were read"
            self.named.append(words)
            log.warning("not counted, for it never came: %s", words)
        self._seen = []


@dataclass(slots=True)
class _Heard:
    """Of one source. hello: the latest; at_ns: when something came of it last."""

    at_ns: int
    hello: Hello | None = None


@dataclass(slots=True)
class _Part:
    """due: the offset that is next. sources: those of which an alert came, so that their positions are known."""

    due: int | None
    watcher: Watcher = field(default_factory=Watcher)
    sources: set[str] = field(default_factory=set)


class FeedGaps:
    """Of the partitions of the feed that this member reads now, and of those that it read before."""

    def __init__(self) -> None:
        self._parts: dict[TopicPartition, _Part] = {}
        self._heard: dict[str, _Heard] = {}
        self._looked_ns = 0
        self._lost = Lost()
        self._positions = 0
        self._named: deque[str] = deque(maxlen=NAMED)

    @property
    def partitions(self) -> frozenset[TopicPartition]:
        return frozenset(self._parts)

    def begin(self, at: TopicPartition, due: int | None) -> None:
        """This partition is read from here on."""
        self._parts[at] = _Part(due)

    def end(self, at: Iterable[TopicPartition]) -> None:
        """Others read these now, or we do again from what is committed. What was missing by then stays said."""
        for one in at:
            self._parts.pop(one, None)

    def see(self, at: TopicPartition, came: Iterable[tuple[int, Item]], now_ns: int) -> None:
        """Offsets and items of a partition that are settled, maybe none: what was announced and does not come is
        missing, too."""
        part = self._parts[at]
        items: list[Item] = []
        for offset, item in came:
            self._lost.see(at, part.due, offset)
            part.due = offset + 1
            items += self._known(part, item, now_ns)
        self._lost.settle()
        if now_ns - self._looked_ns >= LOOK_NS:
            self._forget(now_ns)
        for finding in part.watcher.see(items, now_ns):
            if isinstance(finding, Gap):
                self._positions += finding.last - finding.first + 1
                where = f"{self._who(finding.source)} positions {finding.first}-{finding.last}"
                words = f"{where}: not sent, or not yet"
                self._named.append(words)
                log.warning("not counted, for it never came: %s", words)
            elif isinstance(finding, GapClosed):
                self._positions -= finding.last - finding.first + 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "records_missing": self._lost.records,
            "positions_missing": self._positions,
            "gaps": [*self._lost.named, *self._named],
        }

    def _who(self, source: str) -> str:
        heard = self._heard.get(source)
        name = heard.hello.name if heard is not None and heard.hello is not None else ""
        return f"{name} ({source[:8]})" if name else source[:8]

    def _forget(self, now_ns: int) -> None:
        """One that comes back after KEPT_NS begins anew here; what it lost until then is in history's gaps."""
        self._looked_ns = now_ns
        gone = {name for name, of in self._heard.items() if now_ns - of.at_ns >= KEPT_NS}
        for name in gone:
            del self._heard[name]
        for part in self._parts.values():
            part.sources -= gone
            part.watcher.forget(gone)

    def _known(self, part: _Part, item: Item, now_ns: int) -> list[Item]:
        """What the watcher may be told: of a source nothing before its first alert here, for it was there before us,
        and what it sent others is not ours to miss."""
        source = getattr(item, "source", None)
        if source is None:
            return [item]
        heard = self._heard.setdefault(source, _Heard(now_ns))
        heard.at_ns = now_ns
        if isinstance(item, Hello):
            heard.hello = item
        if source in part.sources:
            return [item]
        if not isinstance(item, Alert):
            return []
        part.sources.add(item.source)
        exact = heard.hello.exact_after if heard.hello is not None else 0
        return [Hello(item.source, "", 0, item.seq, exact, 0), item]
