"""Ingest and what it leaves on disk: alerts a second of one core until all is durable, and bytes of each at rest.

Durable is the whole way: ids and keys, evidence encoded and encrypted, the leaf, the commit, tiles and checkpoint. The
baseline in the same run is SQLite given the records as they come, a row each.
"""

from __future__ import annotations

import gc
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dosimeter.monitor.audit.feeds import YOUNG
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import Entry
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.bench.audit_feed import Traffic
from dosimeter.monitor.bench.audit_verify import with_store
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.feed.items import Alert, Batch

ALERTS, KNOWN, SIZE = 40_000, 20_000, 500


@dataclass(frozen=True, slots=True)
class Rate:
    """Alerts a second: of the wall, and of the time that this process had a core."""

    wall: float
    core: float


def figures(alerts: int = ALERTS, known: int = KNOWN) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="dosimeter-ingest-") as name:
        folder = Path(name)
        fresh = list(Traffic().batches(alerts, size=SIZE))
        plain = _timed(alerts, lambda: _plain(folder / "plain.db", fresh))
        with _history(folder / "history") as history:
            new = _timed(alerts, lambda: history.take(fresh))
            rest = history.at_rest()
        people = Traffic(known=True)
        before = list(people.batches(known, size=SIZE))
        after = list(people.batches(known, size=SIZE, first_seq=known + 1))
        with _history(folder / "known") as history:
            history.take(before)
            old = _timed(known, lambda: history.take(after))
    what = "durable ingest, a new conversation each"
    return [
        Figure(f"{what}: a second of one core", new.core, "alerts/s", ">= 5000"),
        Figure(f"{what}: a second of the wall", new.wall, "alerts/s"),
        Figure("durable ingest, names all known: a second of one core", old.core, "alerts/s", ">= 5000"),
        Figure("SQLite, a row of JSON each: a second of one core", plain.core, "alerts/s"),
        Figure("SQLite, a row of JSON each: a second of the wall", plain.wall, "alerts/s"),
        *rest,
    ]  # fmt: skip


def _timed(count: int, work: Callable[[], None]) -> Rate:
    """Garbage is collected as `dosimeter history` has it, and not that of whoever measures."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
    wall, core = time.perf_counter(), time.process_time()
    work()
    wall, core = time.perf_counter() - wall, time.process_time() - core
    gc.set_threshold(*before)
    if not frozen:  # else somebody else's heap would be searched again
        gc.unfreeze()
    return Rate(count / wall, count / core)


@contextmanager
def _history(root: Path) -> Iterator[History]:
    folder = HistoryFolder(root).make()
    with HotStore(folder.hot) as hot, closing(KeyStore(folder.keys)) as keys:
        keeper = Keeper(folder, hot)
        appender = Appender(hot, keys)
        yield History(folder, hot, keeper, appender, Ingest(appender, time.time_ns()))
        keeper.close()


@dataclass(frozen=True, slots=True)
class History:
    """One that is being written, as the process does it."""

    folder: HistoryFolder
    hot: HotStore
    keeper: Keeper
    appender: Appender
    ingest: Ingest

    def take(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.ingest.take(batch, time.time_ns())
            self.keeper.turn()
        self.keeper.turn(now=True)

    def at_rest(self) -> list[Figure]:
        """Before and after all of it is sealed."""
        self.hot.empty_log()
        entries = self.hot.size
        hot = self.folder.hot.stat().st_size / entries
        ((shut,),) = self.hot.db.execute("SELECT avg(length(sealed)) FROM evidence").fetchall()
        ((names,),) = (
            sqlite3.connect(self.folder.keys).execute("SELECT count(*) FROM name").fetchall()
        )
        log = _bytes(self.folder.log) / entries
        sealer = Sealer(self.hot, self.folder, grace_ns=0)
        compared, said = with_store(self.folder, entries), list[Entry]()
        while segment := sealer.seal(self.keeper.signed, self.keeper.signed):
            said.append(sealer.entry_of(segment))
        doubted = with_store(self.folder, entries)
        self.appender.append(said)
        self.keeper.turn(now=True)
        vouched = with_store(self.folder, entries)
        return [
            Figure("core at rest, sealed", _bytes(self.folder.core) / entries, "B an entry", "<= 200"),
            Figure("evidence at rest, sealed", _bytes(self.folder.evidence) / entries, "B an alert", "<= 500"),
            Figure("evidence, one ciphertext", float(shut), "B"),
            Figure("the log", log, "B an entry"),
            Figure("hot.db before sealing, evidence included", hot, "B an entry"),
            Figure("verify, the log and the store beside it", compared, "entries/s"),
            Figure("verify, the log and sealed files beside it", vouched, "entries/s"),
            Figure("verify, the same row by row, as no entry says what was sealed", doubted, "entries/s"),
            Figure("keys.db", self.folder.keys.stat().st_size / names, "B a name"),
        ]  # fmt: skip


def _plain(path: Path, batches: Sequence[Batch]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE alert (id TEXT PRIMARY KEY, core BLOB, evidence BLOB)")
        for batch in batches:
            rows = [(i.event_id, i.core, i.evidence) for i in batch.items if isinstance(i, Alert)]
            db.execute("BEGIN")
            db.executemany("INSERT INTO alert VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
