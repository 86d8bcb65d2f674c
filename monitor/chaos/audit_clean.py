"""Histories that nobody touched, each by another day's work: an alarm on one of them is a false alarm.

Owns what befalls a history without anybody's ill will: killed at a bad moment, started again, fed twice, evidence that
came late, an erasure, a hold released, sealing that did not come to its end. It judges nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.erasure.erase_scope import CannotErase
from dosimeter.monitor.audit.people.holds import release_hold
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.opening import KEY
from dosimeter.monitor.bench.audit_feed import BEGIN_NS, SOURCE, Traffic
from dosimeter.monitor.chaos.audit_history import AUDITOR, OPERATOR, Writer, people, writing
from dosimeter.monitor.feed.items import Alive, Batch, Coverage, Evidence, Hello, Item
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.note import Verifier
from dosimeter.monitor.tlog.reader import LogReader

HOUR_NS = 3600 * 10**9


class Day:
    """root: where it grows. The same seed gives the same day."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.dice = root, Random(seed)
        self.traffic = Traffic(seed=seed, users=80)
        self.seq = self.lives = 0

    def live(self) -> Verifier:
        """Some lives of the process, each ended in one way or another. Returns the key of its log."""
        for life in range(self.dice.randrange(2, 6)):
            with writing(
                self.root, anchored=self.dice.random() < 0.7, most=self.dice.choice((40, 90))
            ) as w:
                self._hello(w)
                for _ in range(self.dice.randrange(1, 4)):
                    self.dice.choice(WORK)(self, w)
                if life == 0 or self.dice.random() < 0.6:
                    w.sign()
                self._killed(w)
        return Verifier.parse((HistoryFolder(self.root / "history").log / KEY).read_text())

    def _hello(self, w: Writer) -> None:
        self.lives += 1
        now_ns = w.now_ns
        items: list[Item] = [Hello(SOURCE, "pod-0", BEGIN_NS + self.lives, 1, 0, self.seq)]
        w.ingest.take(Batch(tuple(items), {"feed-0": self.seq}), now_ns)
        alerts(self, w)

    def _killed(self, w: Writer) -> None:
        """As with `kill -9`: what is on disk at this moment is what there is next time."""
        if self.dice.random() < 0.3:
            return
        w.keeper.wait(60)
        killed = self.root.with_name(self.root.name + ".killed")
        shutil.copytree(self.root, killed)
        w.close()
        shutil.rmtree(self.root)
        killed.rename(self.root)
        folder = HistoryFolder(self.root / "history")
        if self.dice.random() < 0.3:
            with (folder.log / tiles.CHECKPOINTS).open("a") as file:
                file.write(next(LogReader(folder.log).notes())[: self.dice.randrange(1, 80)])
        if self.dice.random() < 0.3:
            (folder.log / "unfinished").write_bytes(self.dice.randbytes(99))
        if self.dice.random() < 0.3:
            (folder.core / "000000000007-000000000009.parquet").write_bytes(b"PAR1")
        if self.dice.random() < 0.3:
            (folder.evidence / "000000000007-000000000009.parquet.tmp").write_bytes(b"PAR1")


def alerts(day: Day, w: Writer) -> None:
    count = day.dice.randrange(10, 90)
    for batch in day.traffic.batches(count, size=40, first_seq=day.seq + 1):
        w.ingest.take(batch, w.now_ns)
    day.seq += count


def lose_some(day: Day, w: Writer) -> None:
    """Which is a gap, and no alarm."""
    day.seq += day.dice.randrange(1, 6)
    alerts(day, w)


def repeat(day: Day, w: Writer) -> None:
    """A feed that goes back a little, as after a restart."""
    batch = next(day.traffic.batches(20, first_seq=day.seq + 1))
    w.ingest.take(batch, w.now_ns)
    w.ingest.take(batch, w.now_ns)
    day.seq += 20


def grow(day: Day, w: Writer) -> None:
    """Evidence that is complete only later."""
    day.seq += 1
    alert = day.traffic.alert(day.seq)
    other = day.traffic.alert(day.seq)
    w.ingest.take(Batch((replace(alert, final=False),), {}), w.now_ns)
    if day.dice.random() < 0.5:
        w.sign()
    body = other.evidence
    assert body is not None  # all of Traffic have some
    w.ingest.take(Batch((Evidence(SOURCE, alert.event_id, body),), {}), w.now_ns)


def cover(day: Day, w: Writer) -> None:
    begin = BEGIN_NS + day.lives * HOUR_NS
    hour = Coverage(
        SOURCE,
        SOURCE[:16],
        begin,
        begin + HOUR_NS,
        900,
        {"usage": 900},
        880,
        {"dropped": 20},
        0,
        9,
        9,
    )
    alive = Alive(SOURCE, day.seq, BEGIN_NS + day.lives)
    w.ingest.take(Batch((hour, alive), {}), w.now_ns)


def look(day: Day, w: Writer) -> None:
    people(w, day.dice)


def seal(day: Day, w: Writer) -> None:
    w.sign()
    while w.seal() and day.dice.random() < 0.7:
        pass


def seal_and_say_nothing(day: Day, w: Writer) -> None:
    """Killed between sealing and the entry that says so; the next start makes that good."""
    w.sign()
    w.sealer.seal(w.keeper.signed, w.keeper.signed)


def erase(day: Day, w: Writer) -> None:
    found = w.keys.find("tenant", b"", "tenant-00")
    if found is None:
        return
    eraser = Eraser(w.keeper.folder, w.appender, now_ns=lambda: w.now_ns)
    for user in range(day.traffic.users):
        try:
            eraser.erase(
                "user", "tenant-00", f"tenant-00-user-{user}", actor=OPERATOR, reason="ticket 12"
            )
        except CannotErase:  # nobody of that name, or on hold
            continue
        return


def release(day: Day, w: Writer) -> None:
    for about in sorted(w.hot.holds())[:1]:
        release_hold(
            w.appender, "alert", about.hex(), actor=AUDITOR, reason="ticket 13", now_ns=w.now_ns
        )


WORK: tuple[Callable[[Day, Writer], None], ...] = (
    alerts, lose_some, repeat, grow, cover, look, seal, seal_and_say_nothing, erase, release,
)  # fmt: skip
