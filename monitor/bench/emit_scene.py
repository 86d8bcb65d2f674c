"""The side of the line in `dosimeter bench emit`, before the scene that `chaos kill` has too.

It is its own ledger, writer and chores in a process of their own, given made-up alerts of the size of real ones, since
what is measured begins where an alert is decided. It owns that process, how much it has accepted, and what became of
that; figures are its callers'.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from dosimeter.monitor.bench.audit_feed import Traffic
from dosimeter.monitor.bench.child import BenchError, Child
from dosimeter.monitor.chaos.outward import PATIENCE_S, SINKS, Outward, outward
from dosimeter.monitor.config import Config
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.lab.readback import follow
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.service import line_chores
from dosimeter.monitor.writer import Writer

POOL = 500
"""Alerts that are made; all others are one of them with another id. As many conversations, so each has its order."""
LOOK_S = 0.05
SLOWEST_PER_S = 500


def records(first: int, count: int) -> Iterator[LedgerRecord]:
    """Their ids count up from `first`."""
    traffic = Traffic()
    pool = [traffic.alert(n) for n in range(1, POOL + 1)]
    for number in range(first, first + count):
        of = pool[number % POOL]
        event_id = f"{number:032x}"
        core = of.core.replace(of.event_id.encode(), event_id.encode())
        yield LedgerRecord(event_id, core, of.evidence, True)


@dataclass
class Scene:
    out: Outward
    line: Child
    line_pid: int
    accepted: int = 0

    def accept(self, count: int, per_s: int | None = None) -> float:
        """So many more alerts, as fast as the ledger takes them or at a rate. Returns the writer thread's seconds."""
        self.line.send((count, per_s))
        self.accepted += count
        return float(self.line.hear())

    def delivered(self) -> dict[str, int]:
        """By sink, as the dispatcher's own file says."""
        store, found = self.out.folder / "deliver.db", dict.fromkeys(SINKS, 0)
        if store.exists():  # read only: who opens it to write would hold up whom he measures
            db = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)
            with contextlib.closing(db), contextlib.suppress(sqlite3.Error):  # being made just now
                found |= db.execute("SELECT name, delivered FROM sink").fetchall()
        return found

    def drain(self, look: Callable[[float, dict[str, int]], None] = lambda at, found: None) -> None:
        """Until everything is delivered. look: told the time and the counts. Raises BenchError."""
        deadline = time.monotonic() + PATIENCE_S + self.accepted / SLOWEST_PER_S
        while True:
            found = self.delivered()
            look(time.perf_counter(), found)
            if min(found.values()) >= self.accepted:
                return
            if time.monotonic() > deadline:
                raise BenchError(f"of {self.accepted} accepted: {found}")
            time.sleep(LOOK_S)

    def came_to_kafka(self) -> list[tuple[bytes, int]]:
        """Key and number of each record, in the order of each partition."""
        deadline, found = time.monotonic() + PATIENCE_S + self.accepted / SLOWEST_PER_S, []
        seen: set[int] = set()
        for one in follow(
            self.out.kafka, lambda: len(seen) >= self.accepted or time.monotonic() > deadline
        ):
            number = int(one.event_id, 16)
            seen.add(number)
            found.append((one.key or b"", number))
        return found


@contextmanager
def staged(folder: Path) -> Iterator[Scene]:
    """Everything but delivery runs."""
    with outward(folder) as out, Child(_line, folder) as line:
        yield Scene(out, line, line.hear())


def _line(folder: Path, pipe: Connection) -> None:
    config = Config(data_dir=folder)
    ledger = Ledger(config.ledger_path)
    chores = line_chores(config, ledger, Rulebook((), ()))
    writer = Writer(ledger, Refused.beside(config.ledger_path), chores=chores).start()
    pipe.send(os.getpid())
    number = 0
    while True:
        count, per_s = pipe.recv()
        before, began = _thread_s(), time.perf_counter()
        for done, record in enumerate(records(number, count)):
            if per_s is not None:
                time.sleep(max(0.0, began + done / per_s - time.perf_counter()))
            while not writer.room:
                time.sleep(0.001)
            writer.put([(record, time.monotonic_ns())])
        number += count
        while writer.committed < number:
            time.sleep(0.001)
        pipe.send(_thread_s() - before)


def _thread_s() -> float:
    """Processor time of the writer's thread so far, found by its name."""
    idents = [one.ident for one in threading.enumerate() if one.name == "ledger-writer"]
    return time.clock_gettime(time.pthread_getcpuclockid(idents[0] or 0))


def missing(came: Iterable[int], accepted: int) -> int:
    """Numbers below `accepted` that did not come."""
    return len(set(range(accepted)).difference(came))


def out_of_order(came: Iterable[tuple[bytes, int]]) -> int:
    """Records that came for the first time after one of the same key with a higher number."""
    highest: dict[bytes, int] = {}
    seen: set[int] = set()
    late = 0
    for key, number in came:
        if number in seen:
            continue  # once more: a reader that dedupes does not see it
        seen.add(number)
        late += number < highest.get(key, -1)
        highest[key] = max(number, highest.get(key, -1))
    return late
