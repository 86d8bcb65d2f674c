"""Fifty pods born, killed and started again while records of theirs are lost: whether every gap is named, and no other.

The real ingest and watcher take in what is left. A pod is killed without a word, or ends with one; what is lost lies
within a life, at its end, or between two; some comes after all. Time is made up.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from dosimeter.monitor.audit.queries.watched import weigh
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.bench.audit_feed import BEGIN_NS, Traffic
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.feed.items import Alive, Batch, Bye, Hello, Item
from dosimeter.monitor.feed.watcher import GRACE_NS, SILENT_NS
from dosimeter.monitor.tlog.reader import LogReader

PODS, LIVES = 50, 4
SECOND_NS = 10**9
Lost = set[tuple[str, int]]
"""Source and position."""


@dataclass
class _Pod:
    """One source; it keeps its positions from life to life. deaths: how its lives ended."""

    source: str
    dice: Random
    seq: int = 0
    lost: set[int] = field(default_factory=set)
    late: list[Item] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.traffic = Traffic(source=self.source, seed=self.dice.randrange(1 << 30), users=400)

    def life(self, at_ns: int) -> list[Item]:
        """What of one life arrives, in order."""
        first, count = self.seq + 1, self.dice.randrange(5, 30)
        alerts = [self.traffic.alert(seq) for seq in range(first, first + count)]
        self.seq += count
        gone = set[int]()
        for _ in range(self.dice.randrange(3)):
            begin = self.dice.randrange(first, self.seq + 1)
            gone |= set(range(begin, min(begin + self.dice.randrange(1, 5), self.seq + 1)))
        back = {seq for seq in gone if self.dice.random() < 0.2}
        self.late += [one for one in alerts if one.seq in back]
        self.lost |= gone - back
        items: list[Item] = [Hello(self.source, f"pod-{self.source[:4]}", at_ns, 1, 0, first - 1)]
        items += [one for one in alerts if one.seq not in gone]
        end_ns = at_ns + 20 * SECOND_NS
        items.append(Alive(self.source, self.seq, end_ns))
        if self.dice.random() < 0.4:
            items.append(Bye(self.source, self.seq, end_ns + 1, "stopped"))
            self.deaths.append("ended")
        else:
            self.deaths.append("killed")
        return items


def figures(pods: int = PODS, lives: int = LIVES, seed: int = 6) -> list[Figure]:
    each = [_Pod(f"{n:032x}", Random(f"{seed}/{n}")) for n in range(1, pods + 1)]
    with tempfile.TemporaryDirectory(prefix="dosimeter-pods-") as name:
        found = _told(Path(name), each, lives, Random(seed))
    gaps = {
        (gap.source, seq)
        for gap in weigh(found, 1, 1 << 62).gaps
        for seq in range(gap.first, gap.last + 1)
    }
    lost = {(pod.source, seq) for pod in each for seq in pod.lost}
    births = sum(one["kind"] == "birth" for one in found)
    deaths = sum(one["kind"] == "death" for one in found)
    return [
        Figure("pods", pods, ""),
        Figure("lives of theirs", pods * lives, ""),
        Figure("births that are not in the log", pods * lives - births, "", "== 0"),
        Figure("deaths that are not in the log", pods * lives - deaths, "", "== 0"),
        Figure("records lost on the way", len(lost), ""),
        Figure("lost and in no gap", len(lost - gaps), "", "== 0"),
        Figure("in a gap and not lost", len(gaps - lost), "", "== 0"),
    ]


def _told(root: Path, pods: list[_Pod], lives: int, dice: Random) -> list[dict[str, object]]:
    """What the log says of lives and gaps."""
    folder = HistoryFolder(root).make()
    ticks = itertools.count(BEGIN_NS)
    with HotStore(folder.hot) as hot, KeyStore(folder.keys) as keys:
        keeper = Keeper(folder, hot)
        ingest = Ingest(Appender(hot, keys, now_ns=lambda: next(ticks)), BEGIN_NS)
        now_ns = BEGIN_NS
        for _ in range(lives):
            streams = [pod.life(now_ns) for pod in pods]
            while any(streams):  # of several pods at once, each in its own order
                part = list[Item]()
                for stream in streams:
                    count = dice.randrange(1, 9)
                    part += stream[:count]
                    del stream[:count]
                ingest.take(Batch(tuple(part), {"at": now_ns}), now_ns)
                now_ns += SECOND_NS
            now_ns += max(SILENT_NS, GRACE_NS) + SECOND_NS
            ingest.take(Batch(), now_ns)
            late = [one for pod in pods for one in pod.late]
            ingest.take(Batch(tuple(late), {"at": now_ns}), now_ns)
            for pod in pods:
                pod.late.clear()
            now_ns += SECOND_NS
        keeper.close()
    said = [json.loads(leaf) for _, leaf in LogReader(folder.log).leaves(0)]
    return [one for one in said if one["kind"] in ("birth", "death", "gap", "gap-closed")]
