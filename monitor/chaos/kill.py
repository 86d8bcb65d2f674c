"""`dosimeter chaos kill`: kill -9 of the line's writer and of delivery, in the middle of faults, again and again.

What the writer said it accepted, what the ledger holds, and what can be read back from Kafka and from the OTLP receiver
must be the same in the end. The embedded broker's memory ends with it, so before each restart what it has acknowledged
is read back and kept; Apache Kafka is killed and has to have it still. It owns the order of faults and the comparison.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dosimeter.monitor.bench.figures import Figure, Result
from dosimeter.monitor.chaos.kill_line import record
from dosimeter.monitor.chaos.kill_proxy import Mode
from dosimeter.monitor.chaos.outward import PATIENCE_S, Outward, outward
from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.counted import Counted
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.lab.readback import read_back
from dosimeter.monitor.supervising import ending_with_parent

FAULTS = ("cut", "stall", "lost-ack", "restart")
ELSEWHERE: tuple[Mode, ...] = ("ok", "cut", "stall", "lost-ack")
"""What happens to the OTLP receiver meanwhile."""
VICTIMS = ("line", "deliver", "both")
LOOK_S = 0.02
PART = 5000
NEAR = 100
"""Alerts: fewer are queued when delivery keeps up."""
HEALED = 0.5
"""Share of kills that come after the fault, when everything moves again; the others come in it."""


class KillError(RuntimeError):
    """It did not come as far as a comparison."""


@dataclass
class Stage:
    """Everything that runs, and what was promised so far."""

    folder: Path
    out: Outward
    lives: int = 0
    line: subprocess.Popen[bytes] | None = None
    wire: Counter[str] = field(default_factory=Counter)  # read back from brokers that are gone
    values: dict[str, bytes] = field(default_factory=dict)  # of those, by id
    counted: Counted = field(default_factory=Counted)
    worst_unaccounted: int = 0
    most_dead: int = 0
    before: dict[str, int] = field(default_factory=dict)  # delivered, when delivery last kept up

    def start_line(self) -> None:
        self.lives += 1
        with (self.folder / f"said-{self.lives}").open("wb") as said:
            self.line = subprocess.Popen(
                [sys.executable, "-m", "dosimeter.monitor.chaos.kill_line",
                 str(self.folder / "ledger.db"), str(self.lives)],
                stdout=said, preexec_fn=ending_with_parent(signal.SIGKILL),
            )  # fmt: skip

    def said(self) -> set[str]:
        """Ids that a writer said it had accepted; a line that was cut off was not said."""
        found: set[str] = set()
        for path in self.folder.glob("said-*"):
            found.update(path.read_text().split("\n")[:-1])
        return found

    def sinks(self) -> dict[str, dict[str, Any]]:
        ledger, store = self.folder / "ledger.db", self.folder / "deliver.db"
        if not ledger.exists() or not store.exists():
            return {}
        found: dict[str, dict[str, Any]] = delivery_status(
            ledger, store, now_ns=0, counted=self.counted
        )["sinks"]
        for one in found.values():
            self.worst_unaccounted = max(self.worst_unaccounted, abs(one["unaccounted"]))
            self.most_dead = max(self.most_dead, one["dead"])
        return found

    def keep_what_kafka_has(self) -> None:
        for one in read_back(self.out.kafka):
            self.wire[one.event_id] += 1
            self.values[one.event_id] = one.value

    def kill_line(self) -> None:
        if self.line is not None:
            self.line.kill()
            self.line.wait()

    def left(self) -> list[int]:
        """Alerts that each sink has still to take."""
        return [one["queued"] for one in self.sinks().values()]

    def accept_one_more(self) -> None:
        """As the next life of the line would, while delivery runs.

        A writer killed between its log and the log's index leaves a group that it never said was accepted and no reader
        sees. The next writer puts its own in that place; if there is none, it comes to light when everybody has closed
        the ledger and it is opened anew, as for the comparison, after the last delivery.
        """
        self.lives += 1
        with Ledger(self.folder / "ledger.db") as ledger:
            ledger.append([record(self.lives, 0)])

    def restart_broker(self) -> None:
        """Of one that forgets, delivery stands still meanwhile, its connections cut: it knows of no other answers."""
        out = self.out
        assert out.deliver is not None
        if not out.broker.forgets:
            out.broker.restart()
            return
        out.set("cut", "kafka")
        out.deliver.send_signal(signal.SIGSTOP)
        out.set("ok", "kafka")
        self.keep_what_kafka_has()
        out.broker.restart()
        init_topic([out.kafka])
        out.deliver.send_signal(signal.SIGCONT)


@contextmanager
def staged(folder: Path, jars: Path | None) -> Iterator[Stage]:
    with ExitStack() as stack:
        stage = Stage(folder, stack.enter_context(outward(folder, jars)))
        stack.callback(stage.kill_line)
        stage.start_line()
        stage.out.start_deliver()
        yield stage


def run(runs: int, seed: int, say: Callable[[str], None], jars: Path | None = None) -> Result:
    """jars: of an Apache Kafka to take in the embedded broker's place.

    Raises KillError, BenchError, BrokerError, OSError.
    """
    began, rng = time.monotonic(), random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="dosimeter-kill-") as name,
        staged(Path(name), jars) as stage,
    ):
        kills: Counter[str] = Counter()
        for number in range(1, runs + 1):
            fault, elsewhere = FAULTS[(number - 1) % len(FAULTS)], rng.choice(ELSEWHERE)
            victim = rng.choice(VICTIMS)
            _once(stage, fault, elsewhere, victim, rng)
            kills[victim] += 1
            say(f"{number} of {runs}: {fault} of Kafka, OTLP {elsewhere}, killed: {victim}")
        stage.kill_line()
        stage.accept_one_more()
        _wait(lambda: _drained(stage), "not everything was delivered", stage.left)
        stage.out.end_deliver()
        stage.keep_what_kafka_has()
        return _compare(stage, kills, time.monotonic() - began)


def _once(stage: Stage, fault: str, elsewhere: Mode, victim: str, rng: random.Random) -> None:
    _wait(lambda: _keeps_up(stage), "delivery does not keep up", stage.left)
    time.sleep(rng.uniform(0, 1.0))
    stage.out.set(elsewhere, "otlp")
    if fault == "restart":
        stage.restart_broker()
    else:
        stage.out.set(
            "cut" if fault == "cut" else "stall" if fault == "stall" else "lost-ack", "kafka"
        )
    time.sleep(rng.uniform(0, 0.4))
    if rng.random() < HEALED:
        stage.out.set("ok")
        time.sleep(rng.uniform(0, 1.0))
    if victim != "deliver":
        stage.kill_line()
    if victim != "line":
        stage.out.kill_deliver()
    stage.sinks()  # conserved also now
    stage.out.set("ok")
    if victim != "deliver":
        stage.start_line()
    if victim != "line":
        stage.out.start_deliver()


def _keeps_up(stage: Stage) -> bool:
    """With a line that writes."""
    sinks, before = stage.sinks(), stage.before
    up = len(sinks) == 2 and all(
        one["queued"] <= NEAR and one["delivered"] > before.get(name, -1)
        for name, one in sinks.items()
    )
    if up:
        stage.before = {name: one["delivered"] for name, one in sinks.items()}
    return up


def _drained(stage: Stage) -> bool:
    sinks = stage.sinks()
    return len(sinks) == 2 and all(one["queued"] == 0 for one in sinks.values())


def _wait(met: Callable[[], bool], otherwise: str, moves: Callable[[], object]) -> None:
    """moves: what changes as long as there is hope."""
    before, deadline = moves(), time.monotonic() + PATIENCE_S
    while not met():
        now = moves()
        if now != before:
            before, deadline = now, time.monotonic() + PATIENCE_S
        if time.monotonic() > deadline:
            raise KillError(f"{otherwise}, and nothing moved for {PATIENCE_S:.0f} s")
        time.sleep(LOOK_S)


def _compare(stage: Stage, kills: Counter[str], seconds: float) -> Result:
    ledger: dict[str, bytes] = {}
    with LedgerReader(stage.folder / "ledger.db") as reader:
        seq = 0
        while part := reader.deliverable_since(seq, limit=PART):
            ledger |= {alert.event_id: alert.core for alert in part}
            seq = part[-1].seq
    events = Counter(stage.out.came_to_otlp())
    sent = {"Kafka": stage.wire, "OTLP": events}
    figures = [
        Figure("kill -9 of the line's writer", kills["line"] + kills["both"], "kill"),
        Figure("kill -9 of delivery", kills["deliver"] + kills["both"], "kill"),
        Figure("accepted", len(ledger), "alert", ">= 1"),
        Figure("said to be accepted, not in the ledger", len(stage.said() - ledger.keys()), "alert", "== 0"),
    ]  # fmt: skip
    for name, found in sent.items():
        more = sum(found.values()) - len(found)
        figures += [
            Figure(f"lost on the way to {name}", len(ledger.keys() - found.keys()), "alert", "== 0"),
            Figure(f"of {name}, not in the ledger", len(found.keys() - ledger.keys()), "alert", "== 0"),
            Figure(f"duplicates on the wire to {name}", 100 * more / max(1, len(found)), "%", "<= 1"),
        ]  # fmt: skip
    other = sum(stage.values.get(event_id) != core for event_id, core in ledger.items())
    figures += [
        Figure("in Kafka with other bytes than in the ledger", other, "alert", "== 0"),
        Figure("most that was unaccounted for at any look", stage.worst_unaccounted, "alert", "== 0"),
        Figure("dead letters", stage.most_dead, "alert", "== 0"),
        Figure("took", seconds, "s"),
    ]  # fmt: skip
    return Result("kill", tuple(figures))
