"""Who takes part in `dosimeter bench emit`: a line's ledger, `dosimeter deliver`, Kafka's broker and an OTLP receiver.

The broker and the receiver are behind proxies that can be cut. The side of the line is its own ledger, writer and
chores in a process of their own, given made-up alerts of the size of real ones, since what is measured begins where an
alert is decided. It owns these processes and what came out at the other end; figures are its callers'.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from dosimeter.monitor.bench.audit_feed import Traffic
from dosimeter.monitor.bench.child import BenchError, Child
from dosimeter.monitor.chaos.kill_proxy import FaultProxy, Mode
from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.config import Config
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.lab.broker import EmbeddedBroker
from dosimeter.monitor.lab.readback import follow
from dosimeter.monitor.lab.viewer import Viewer
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.service import ending_with_parent, line_chores
from dosimeter.monitor.sinks import semconv
from dosimeter.monitor.writer import Writer

POOL = 500
"""Alerts that are made; all others are one of them with another id. As many conversations, so each has its order."""
SINKS = ("kafka", "otlp")
LOOK_S = 0.05
PATIENCE_S = 60.0
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
    folder: Path
    broker: EmbeddedBroker
    proxies: Child
    kafka: str  # where the proxies listen
    otlp: str
    receiver: Child
    line: Child
    line_pid: int
    accepted: int = 0
    deliver: subprocess.Popen[bytes] | None = None

    def accept(self, count: int, per_s: int | None = None) -> float:
        """So many more alerts, as fast as the ledger takes them or at a rate. Returns the writer thread's seconds."""
        self.line.send((count, per_s))
        self.accepted += count
        return float(self.line.hear())

    def start_deliver(self) -> int:
        self.deliver = subprocess.Popen(
            [sys.executable, "-m", "dosimeter.monitor.cli.main", "deliver",
             "--data-dir", str(self.folder), "--kafka", self.kafka,
             "--otlp", f"http://{self.otlp}"],
            stderr=subprocess.DEVNULL, preexec_fn=ending_with_parent(signal.SIGKILL),
        )  # fmt: skip
        return self.deliver.pid

    def end_deliver(self) -> float:
        """SIGTERM; seconds until it has ended. Raises BenchError when it does not end well."""
        assert self.deliver is not None
        began = time.perf_counter()
        self.deliver.terminate()
        code = self.deliver.wait(PATIENCE_S)
        if code != 0:
            raise BenchError(f"delivery ended with {code}")
        return time.perf_counter() - began

    def set(self, mode: Mode) -> None:
        """Of both proxies."""
        self.proxies.send(mode)
        self.proxies.hear()

    def delivered(self) -> dict[str, int]:
        """By sink, as the dispatcher's own file says."""
        store, found = self.folder / "deliver.db", dict.fromkeys(SINKS, 0)
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
            self.broker.bootstrap, lambda: len(seen) >= self.accepted or time.monotonic() > deadline
        ):
            number = int(one.event_id, 16)
            seen.add(number)
            found.append((one.key or b"", number))
        return found

    def came_to_otlp(self) -> list[int]:
        self.receiver.send(None)
        found: list[int] = self.receiver.hear()
        return found

    def close(self) -> None:
        if self.deliver is not None:
            self.deliver.kill()
            self.deliver.wait()


@contextmanager
def staged(folder: Path) -> Iterator[Scene]:
    """Everything but delivery runs."""
    with ExitStack() as stack:
        proxies = stack.enter_context(Child(_proxies))
        kafka, otlp = proxies.hear()
        broker = stack.enter_context(EmbeddedBroker(seen_at=kafka))
        receiver = stack.enter_context(Child(_receiver))
        proxies.send((broker.port, receiver.hear()))
        proxies.hear()
        init_topic([broker.bootstrap])
        line = stack.enter_context(Child(_line, folder))
        here = "127.0.0.1"
        scene = Scene(
            folder,
            broker,
            proxies,
            f"{here}:{kafka}",
            f"{here}:{otlp}",
            receiver,
            line,
            line.hear(),
        )
        stack.callback(scene.close)
        yield scene


def _proxies(pipe: Connection) -> None:
    both = [FaultProxy().start(), FaultProxy().start()]
    pipe.send([one.port for one in both])
    for one, target in zip(both, pipe.recv(), strict=True):
        one.target = target
    while True:
        pipe.send(None)
        mode = pipe.recv()
        for one in both:
            one.set(mode)


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


class _Numbers(Viewer):
    """Keeps the numbers of the events, and nothing else of them."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def take_logs(self, body: bytes) -> bytes:
        asked = ExportLogsServiceRequest.FromString(body)
        for record in asked.resource_logs[0].scope_logs[0].log_records:
            ids = (kv.value.string_value for kv in record.attributes if kv.key == semconv.EVENT_ID)
            self.numbers.append(int(next(ids), 16))
        return b""


def _receiver(pipe: Connection) -> None:
    viewer = _Numbers()
    with viewer:
        pipe.send(int(viewer.endpoint.rpartition(":")[2]))
        while True:
            pipe.recv()
            pipe.send(viewer.numbers)


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
