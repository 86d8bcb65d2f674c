"""The whole product in one loop: start reading here.

    tap --wire--> join -> ScoreFrame -> Engine.step -> alert -> Ledger (one commit) --> deliver

`Pipeline.turn` reads what the taps and fronts have said, finds for every row its request and its scope, lets the rules
decide, and hands what they decided to the writer, which makes it durable. Nothing comes back from there: delivery and
archive are processes of their own. If the writer stalls, the line stops reading; scores are then dropped at the tap,
and counted. Alerts never are. Everything the loop needs of the world, clocks included, is passed in.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.canary import Canary
from dosimeter.monitor.capture.notes import CaptureNotes
from dosimeter.monitor.clock import ClockWatch
from dosimeter.monitor.counts import Counts
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.history.records import Account, LedgerRecord
from dosimeter.monitor.latency import Latency
from dosimeter.monitor.pausing import Pausing
from dosimeter.monitor.receive import Connection, Receiver
from dosimeter.monitor.recorder import Recorder
from dosimeter.monitor.records import Close, Column, Hello, Open, Usage
from dosimeter.monitor.roster import GONE_NS, Roster
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.score_counts import ScoreCounts
from dosimeter.monitor.servers import Server
from dosimeter.monitor.taps.wire import Kind, Message
from dosimeter.monitor.watching import Watching
from dosimeter.monitor.writer import Writer
from dosimeter.rules.program import Program

WAIT_S = 0.1  # longest sleep of a turn, so that the loop is seen to live
HOUSEKEEPING_NS = 500_000_000
Tally = Counter[tuple[str, str, str]]  # rule, severity, decision


@dataclass
class Pipeline:
    """The line. accounts: totals stored by an earlier process, by epoch name."""

    receiver: Receiver
    rulebook: Rulebook
    writer: Writer
    accounts: dict[str, Account] = field(default_factory=dict)
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    time_ns: Callable[[], int] = time.time_ns
    decisions: Decisions = field(default_factory=Decisions)
    recorder: Recorder = field(default_factory=Recorder)  # of what is scored
    pausing: Pausing = field(default_factory=Pausing)
    canary: Canary = field(default_factory=Canary)
    captures: CaptureNotes = field(default_factory=CaptureNotes)
    scores: ScoreCounts | None = None  # where someone asks for them
    counted_here: bool = True  # False: a fleet counts the hits of all sidecars together
    servers: dict[int, Server] = field(default_factory=dict)
    alerts: Tally = field(default_factory=Counter)
    traces: dict[tuple[str, str, str], str] = field(default_factory=dict)  # the latest, by the same
    decision: Latency = field(default_factory=Latency)  # hook -> decision, every frame
    clock: ClockWatch = field(init=False)
    counts: Counts = field(init=False)  # rules over hits
    watching: Watching = field(init=False)  # rules over the line itself
    roster: Roster = field(init=False)
    turned_ns: int = 0
    _next_ns: int = 0
    _rules_version: int = 0

    def __post_init__(self) -> None:
        self.clock = ClockWatch(self.monotonic_ns, self.time_ns)
        self.counts, self.watching = Counts(self.decisions), Watching(self.decisions)
        self._expect_second()
        self._note(self.pausing.look())  # before the first message
        self.roster = Roster(
            self.servers,
            self.accounts,
            self._program,
            self._end,
            self.decisions,
            self.counts,
            self.recorder,
        )

    def turn(self, wait_s: float = WAIT_S) -> int:
        """One round: read, decide, hand over. Returns how many messages there were."""
        messages = 0
        if self.writer.room:
            for connection, message in self.receiver.poll(wait_s):
                messages += 1
                try:
                    self._take(connection, message)
                except Exception as error:  # whatever one speaker says, the line goes on
                    self.receiver.refuse(connection, error)
        else:
            time.sleep(min(wait_s, 0.01))  # the disk is behind: leave the rest on the wire
        self.turned_ns = self.monotonic_ns()
        if self.turned_ns >= self._next_ns:
            self._next_ns = self.turned_ns + HOUSEKEEPING_NS
            self._housekeeping()
        return messages

    def _take(self, connection: Connection, message: Message) -> None:
        now_ns, body = self.monotonic_ns(), message.body
        if message.kind is Kind.HELLO and isinstance(body, dict):
            self._greet(connection, message.epoch, Hello.parse(body), now_ns)
            return
        server, role = self.roster.speaking(connection, message)
        server.heard(message.kind, role, now_ns)
        if isinstance(body, dict):
            if message.kind is Kind.OPEN:
                self._hand_over(server.open(Open.parse(body), role))
            elif message.kind is Kind.CLOSE:
                self._hand_over(*server.close(Close.parse(body), self.time_ns()))
            elif message.kind is Kind.USAGE:
                server.usage(Usage.parse(body))
        else:
            decided = server.step(body, paused=self.pausing.on)
            self.pausing.tokens += len(body.codes) if self.pausing.on else 0
            self.decision.add(max(0, self.monotonic_ns() - body.hook_ns))
            self._hand_over(decided, server.evidence_due())
            if self.scores is not None and not self.pausing.on:
                self.scores.add(server.features, body.codes)
        if message.kind in (Kind.STEP, Kind.BEAT):
            # Hold our totals against the speaker's own; requests it no longer names are over.
            orphans = server.reconcile(role, message.counters)
            self._hand_over(server.end(orphans, self.time_ns()))

    def _greet(self, connection: Connection, epoch: int, hello: Hello, now_ns: int) -> None:
        """What a tap said on the connection it has left comes before what it says on this one."""
        for left in self.roster.left(self.receiver, connection, epoch, hello):
            for message in self.receiver.rest_of(left):
                self._take(left, message)
        self.roster.greet(self.receiver, connection, epoch, hello, now_ns)
        self._note(self.captures.heard(f"{epoch:016x}", hello))

    def _hand_over(
        self, decided: Sequence[Decided], evidence: Mapping[str, bytes] | None = None
    ) -> None:
        """To the writer, which commits it; the account of coverage goes with every alert."""
        now_ns = self.monotonic_ns()
        for one in decided:
            self.alerts[one.rule, one.severity, one.decision] += 1
            if one.traceparent:
                self.traces[one.rule, one.severity, one.decision] = one.traceparent
        records = [(one.record, now_ns) for one in decided if one.record is not None]
        defects = [one.defect for one in decided if one.record is None]
        accounts = self._accounts() if decided else ()
        self.writer.put(records, evidence=evidence, accounts=accounts, defects=defects)

    def _note(self, records: Sequence[LedgerRecord]) -> None:
        """What is about the line itself: to the writer, and no alert."""
        now_ns = self.monotonic_ns()
        self.writer.put([(record, now_ns) for record in records])

    def flush(self) -> None:
        """Hand over what is kept back so that not every closed request costs a commit."""
        if self.scores is not None:
            self.scores.settle()
        self.writer.put(accounts=self._accounts())

    def _accounts(self) -> list[Account]:
        changed = [server for server in self.servers.values() if server.account_changed]
        for server in changed:
            server.account_changed = False
        return [server.stored_account() for server in changed]

    def _housekeeping(self) -> None:
        self.clock.look()
        self._note(self.pausing.look() + self.canary.look(self.turned_ns))
        self.roster.tidy(self.receiver, self.turned_ns, reading=self.writer.room)
        here = {server.name for server in self.servers.values()}
        self._note(self.captures.look(here, self.turned_ns, self.time_ns(), GONE_NS))
        self._hand_over(self.decisions.digests(self.time_ns()))
        servers = list(self.servers.values())
        self._hand_over(self.watching.look(servers, self.turned_ns, self.time_ns()))
        self.flush()
        if self.rulebook.version != self._rules_version:
            self._rules_version = self.rulebook.version
            for server in self.servers.values():
                server.engine.swap(self._program(server.columns))
            self._expect_second()

    def _expect_second(self) -> None:
        rules, calibrations, day = self.rulebook.second
        self.counts.expect(rules if self.counted_here else (), day)
        self.watching.expect(rules, calibrations, day)
        self.writer.put(blobs={rule.sha256: rule.canonical for rule in rules})

    def _end(self, server: Server) -> None:
        """Its process is gone: what is open is over, and its account is final."""
        self._hand_over(server.end(server.join.abandon(), self.time_ns()))
        stored = server.stored_account()
        if stored.served or stored.requests:
            self.writer.put(accounts=[stored])

    def _program(self, columns: tuple[Column, ...]) -> Program:
        """The rules for a bank; what its alerts will name by hash is stored before the first."""
        compiled = self.rulebook.compile(columns)
        self.decisions.expect(compiled.program)
        self.writer.put(blobs=compiled.blobs)
        return compiled.program
