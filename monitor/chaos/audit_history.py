"""Clean histories to attack: fed, labelled, held, sealed and signed by the parts that do so in production.

Owns what lies where: the history, copies of it from earlier, and what three anchors hold, which stand for other
machines. It knows no attack.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from dosimeter.monitor.audit.people.access import Access, Actor
from dosimeter.monitor.audit.people.holds import put_hold
from dosimeter.monitor.audit.people.labels import VERDICTS, About, label
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.audit.store.opening import KEY
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.bench.audit_feed import BEGIN_NS, Traffic
from dosimeter.monitor.feed.items import Alert, Batch, Blob, Hello
from dosimeter.monitor.tlog.anchors import FileAnchor
from dosimeter.monitor.tlog.note import Verifier
from dosimeter.rules.canonical import digest

STEPS = 8
ANCHORED = 6
"""Steps after which the anchors no longer answer: what comes then is in no checkpoint they hold."""
REVIEWER = Actor("reviewer", "reviewer", None)
AUDITOR = Actor("auditor", "auditor", None)
OPERATOR = Actor("operator", "operator", None)
RULE = b'{"rule":"team-0.rule-00"}'


class OutsideAnchor(FileAnchor):
    """Stands for a witness or a time-stamping authority."""

    outside = True


@dataclass(frozen=True, slots=True)
class Made:
    """One clean history. root: of all of it. signed: entries in its last checkpoint; anchored: in the last one that
    the anchors hold; sealed: entries in files.
    """

    root: Path
    verifier: Verifier
    signed: int
    anchored: int
    sealed: int
    last_seq: int

    @property
    def folder(self) -> HistoryFolder:
        return HistoryFolder(self.root / "history")


def anchors_of(root: Path) -> Sequence[FileAnchor]:
    """On machines of their own."""
    where = root / "elsewhere"
    where.mkdir(exist_ok=True)
    return (
        FileAnchor(where / "file", "file"),
        FileAnchor(where / "kafka", "kafka"),
        OutsideAnchor(where / "witness", "witness"),
    )


@dataclass
class Writer:
    """A history that is being written, by a clock that ticks with each look."""

    root: Path
    hot: HotStore
    keys: KeyStore
    keeper: Keeper
    appender: Appender
    sealer: Sealer
    ingest: Ingest
    ticks: Iterator[int]

    @property
    def now_ns(self) -> int:
        return next(self.ticks)

    def sign(self) -> None:
        self.keeper.turn(now=True)
        self.keeper.wait(60)

    def close(self) -> None:
        """As a process ends that is killed: nothing is signed."""
        self.keeper.writer.close()
        self.keys.close()
        self.hot.close()

    def seal(self) -> bool:
        segment = self.sealer.seal(self.keeper.signed, self.keeper.signed)
        if segment is not None:
            self.appender.append([self.sealer.entry_of(segment)])
        return segment is not None


@contextmanager
def writing(root: Path, *, anchored: bool, most: int = 10**6) -> Iterator[Writer]:
    """anchored: whether the anchors answer. most: entries of a sealed file."""
    folder = HistoryFolder(root / "history").make()
    hot, keys = HotStore(folder.hot), KeyStore(folder.keys)
    ticks = itertools.count(BEGIN_NS + 86_400 * 10**9 + hot.size * 10**6, 1000)
    keeper = Keeper(folder, hot, anchors_of(root) if anchored else (), lambda: next(ticks))
    appender = Appender(hot, keys, now_ns=lambda: next(ticks))
    sealer = Sealer(hot, folder, grace_ns=0, max_rows=most, now_ns=lambda: next(ticks))
    last = sealer.last_entry()
    if last is not None:
        appender.append([last])
    w = Writer(root, hot, keys, keeper, appender, sealer, Ingest(appender, next(ticks)), ticks)
    try:
        yield w
    finally:
        w.close()


def build(root: Path, entries: int, seed: int = 0) -> Made:
    """Some `entries`, an eighth at a time: two eighths are sealed, two came after the last anchored checkpoint."""
    dice = Random(seed)
    traffic = Traffic(seed=seed, users=entries // 4 + 40)
    each = entries // STEPS
    anchored = 0
    for step in range(STEPS):
        with writing(root, anchored=step < ANCHORED, most=each) as w:
            items = (Hello(traffic.source, "pod-0", BEGIN_NS, 1, 0, 0), Blob(digest(RULE), RULE))
            first = step * each + 1
            for batch in traffic.batches(each, first_seq=first):
                head = items if step == 0 and batch.cursor[traffic.source] <= each else ()
                w.ingest.take(Batch((*head, *batch.items), batch.cursor), w.now_ns)
            people(w, dice)
            if step in (4, 5):
                w.seal()
            w.sign()
            anchored = w.keeper.signed if step < ANCHORED else anchored
            signed = w.keeper.signed
            sealed = max([s.past for s in w.hot.segments()], default=0)
            if step == STEPS - 1:
                w.ingest.take(
                    Batch(tuple(map(traffic.alert, range(first + each, first + each + 5)))),
                    w.now_ns,
                )
        if step in (3, ANCHORED):
            name = "early" if step == 3 else "late"
            shutil.copytree(root / "history", root / "backup" / name)
    verifier = Verifier.parse((HistoryFolder(root / "history").log / KEY).read_text())
    return Made(root, verifier, signed, anchored, sealed, STEPS * each + 5)


def people(w: Writer, dice: Random) -> None:
    """Labels, views and a hold, each about an alert that is not sealed yet."""
    query = "SELECT lower(hex(id)), lower(hex(tenant)), lower(hex(subject)) FROM entry WHERE kind = 'alert'"
    alerts = w.hot.db.execute(query).fetchall()
    if not alerts:
        return  # all are sealed
    for id_, tenant, subject in dice.sample(alerts, min(3, len(alerts))):
        about = About(alert=id_, tenant=tenant, subject=subject)
        verdict = dice.choice(VERDICTS)
        label(
            w.appender,
            about,
            verdict,
            actor=REVIEWER,
            reason_code="seen",
            note="looked at",
            now_ns=w.now_ns,
        )
    id_, tenant, subject = dice.choice(alerts)
    access = Access(w.appender, w.keys, now_ns=lambda: next(w.ticks))
    access.ask(AUDITOR, "view", {"tenant": tenant}, "ticket 4711", id_)
    if id_ not in {about.hex() for about in w.hot.holds()}:
        put_hold(w.appender, "alert", id_, actor=AUDITOR, reason="ticket 4711", now_ns=w.now_ns)


def alerts_after(made: Made, count: int, seed: int) -> list[Alert]:
    """Alerts that have not come yet."""
    traffic = Traffic(seed=seed)
    return [traffic.alert(seq) for seq in range(made.last_seq + 1, made.last_seq + 1 + count)]
