"""What the sidecar holds for one model server: its greeting, its requests, its engine.

A server process is an epoch; it may speak on several connections and come back on new ones. This
file ties join and engine together so that a request is open in both or in neither, and turns hits
into records. It knows nothing of sockets, and of the clock only what it is told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dosimeter.detectors.frames import ScoreFrame, StepFrame
from dosimeter.monitor import evidence
from dosimeter.monitor.alerts import Decided, decide, undecided
from dosimeter.monitor.counts import Counts
from dosimeter.monitor.coverage import Account
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.evidence import Bodies, FollowUp
from dosimeter.monitor.history.records import Account as StoredAccount
from dosimeter.monitor.join import Join, Request
from dosimeter.monitor.recorder import Recorder
from dosimeter.monitor.records import Close, Column, Hello, Open, Usage
from dosimeter.monitor.speakers import Speakers
from dosimeter.monitor.taps.wire import Kind, WireError
from dosimeter.monitor.watch import Watch
from dosimeter.rules.engine import Engine, Hit
from dosimeter.rules.program import Program

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Server:
    """One epoch."""

    epoch: int
    join: Join
    hello: Hello
    engine: Engine
    decisions: Decisions = field(default_factory=Decisions)
    counts: Counts | None = None  # of the hits of all servers
    watch: Watch | None = None  # for rules over the monitor, if there are any
    connections: set[int] = field(default_factory=set)
    speakers: Speakers = field(default_factory=Speakers)
    taps: set[int] = field(default_factory=set)  # of `connections`: not those of a front alone
    seen_ns: int = 0  # monotonic, last message
    tap_seen_ns: int = 0  # of a tap
    moved_ns: int = 0  # monotonic, last step, or the first request to open since none was
    rows: int = 0  # received
    records_cut: int = 0  # OPEN and CLOSE records that came without a part that was too large
    account_changed: bool = True  # at once: that this epoch was met must survive us
    following: dict[int, Request] = field(default_factory=dict)  # requests with evidence to come
    features: tuple[str, ...] = ()
    recorder: Recorder = field(default_factory=Recorder)

    @classmethod
    def begin(
        cls,
        epoch: int,
        hello: Hello,
        program: Program,
        stored: StoredAccount | None,
        decisions: Decisions,
    ) -> Server:
        earlier = None
        if stored is not None:
            unscored, by = dict(stored.unscored), dict(stored.served_by)
            earlier = Account(stored.served, stored.scored, unscored, 0, stored.closed, by)
        features = tuple(column.feature for column in hello.columns)
        join, engine = Join(len(features), earlier), Engine(program, model=hello.model_name)
        return cls(epoch, join, hello, engine, decisions, features=features)

    @property
    def name(self) -> str:
        """The epoch as people and the ledger write it."""
        return f"{self.epoch:016x}"

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.hello.columns

    def heard(self, kind: Kind, role: str, now_ns: int) -> None:
        """Note that it speaks, and whether it gets on with what it has to do."""
        self.seen_ns = now_ns
        if role != "front":
            self.tap_seen_ns = now_ns
        if kind is Kind.STEP or not self.join.live:
            self.moved_ns = now_ns

    def greet(self, hello: Hello, program: Program, *, connecting: bool) -> None:
        """A HELLO: on a new connection, or a change of state or of packs on an old one."""
        if hello.role != "front":
            if hello.columns != self.hello.columns:
                self._rebind(hello, program)
            elif hello.model_name != self.hello.model_name:  # a front that came first has none
                self.engine.model = hello.model_name
                self.watch = None  # its rules are those for the model of before
            self.hello = hello
        if connecting:
            self.join.connect(hello.role)

    def _rebind(self, hello: Hello, program: Program) -> None:
        """Packs were loaded or swapped: live requests go on under rules for the new columns."""
        self.join.rebind(len(hello.columns))  # first: it may refuse
        self.watch = None  # it knows the columns of before
        self.features = tuple(column.feature for column in hello.columns)
        unknown = self.engine.rows_unknown
        self.engine = Engine(program, model=hello.model_name)
        self.engine.rows_unknown = unknown
        for request in self.following.values():
            request.follow_ups.clear()  # the codes that would complete them are of other columns
        self.following.clear()
        for key, request in self.join.live.items():
            self.engine.open(key, request.opened.labels, request.opened.trusted)
            self.recorder.open(self.epoch, request.opened, hello, program, whole=False)

    def open(self, record: Open, role: str) -> list[Decided]:
        self.records_cut += record.cut
        is_new = record.key not in self.join.live
        if is_new:
            self.engine.open(record.key, record.labels, record.trusted)
        try:
            early = self.join.open(record, role)
        finally:
            if record.key not in self.join.live:
                self.engine.close(record.key, finished=False)
        if is_new and record.key in self.join.live:
            program, whole = self.engine.program, not record.again
            self.recorder.open(self.epoch, record, self.hello, program, whole=whole)
        return [decided for frame in early for decided in self._score(frame)]

    def step(self, frame: StepFrame, *, paused: bool = False) -> list[Decided]:
        if frame.codes.shape[1] != self.join.features:
            raise WireError(
                f"{frame.codes.shape[1]} columns in a step, {self.join.features} in the greeting"
            )
        self.rows += len(frame.codes)
        joined = self.join.step(frame, paused=paused)
        return [] if joined is None else self._score(joined)

    def close(self, record: Close, time_ns: int) -> tuple[list[Decided], dict[str, bytes]]:
        """A request ends: what waited for its end is decided, and its evidence completed."""
        self.records_cut += record.cut
        request = self.join.live.get(record.key)
        hits = self.engine.close(record.key, finished=record.outcome == "finished")
        if request is None:
            ended = self.join.close(record)
            self.account_changed |= ended is not None
            return [], {}
        decided = self._decide(hits, {record.key: request}, time_ns)
        complete = self._evidence(request, request.follow_ups, record.content)
        self.following.pop(record.key, None)
        self.join.close(record)
        if self.watch is not None:
            self.watch.ended(record.key)
        finished = record.outcome == "finished"
        self.recorder.end(self.epoch, record.key, finished=finished, served=record.served)
        self.account_changed = True
        return decided, complete

    def usage(self, record: Usage) -> None:
        self.join.usage(record)
        self.account_changed = True

    def reconcile(self, role: str, counters: Mapping[str, int]) -> list[Request]:
        """Hold our totals against the speaker's own; returns requests it no longer names."""
        before = self.join.account.served
        orphans = self.join.counters(role, counters)
        self.account_changed |= self.join.account.served != before
        return orphans

    def end(self, requests: Iterable[Request], time_ns: int) -> list[Decided]:
        """Requests that are over without a CLOSE: decided on what was scored, like a cancel."""
        decided: list[Decided] = []
        for request in requests:
            hits = self.engine.close(request.key, finished=False)
            decided += self._decide(hits, {request.key: request}, time_ns)
            self.following.pop(request.key, None)  # its slot is another's from now on
            self.recorder.end(self.epoch, request.key, finished=False)
            if self.watch is not None:
                self.watch.ended(request.key)
        return decided

    def evidence_due(self) -> dict[str, bytes]:
        """Evidence whose margin has arrived since the decision."""
        complete: dict[str, bytes] = {}
        for key, request in list(self.following.items()):
            length = self.join.positions(request).next
            due = [f for f in request.follow_ups if f.due <= length]
            if not due:
                continue
            complete |= self._evidence(request, due, {})
            request.follow_ups = [f for f in request.follow_ups if f.due > length]
            if not request.follow_ups:
                del self.following[key]
        return complete

    def stored_account(self) -> StoredAccount:
        total = self.join.account
        return StoredAccount(
            epoch=self.name,
            served=total.served,
            scored=total.scored,
            unaccounted=total.unaccounted,
            requests=total.requests + len(self.join.live),
            closed=total.requests,
            unscored=dict(total.unscored),
            served_by=dict(total.served_by),
        )

    def _score(self, frame: ScoreFrame) -> list[Decided]:
        self.recorder.rows(self.epoch, frame)
        if self.watch is not None:
            self.watch.frame(frame)
        hits = self.engine.step(frame)
        return self._decide(hits, self.join.live, frame.time_ns) if hits else []

    def _decide(
        self, hits: Sequence[Hit], live: Mapping[int, Request], time_ns: int
    ) -> list[Decided]:
        decided, bodies = [], Bodies(self.join.slots.recent, self.features)
        for hit in hits:
            try:
                one = self._decide_one(hit, live[hit.key], time_ns, bodies)
            except Exception as error:  # the other hits of this frame are evidence too
                log.exception("a hit of rule `%s` could not be recorded", hit.rule)
                decided.append(undecided(hit, self.epoch, time_ns, error))
                continue
            decided.append(one)
            if self.counts is not None and one.record is not None:
                opened, model = live[hit.key].opened, self.hello.model_name
                event_id = one.record.event_id
                decided += self.counts.count(hit, opened, self.epoch, model, time_ns, event_id)
        return decided

    def _decide_one(self, hit: Hit, request: Request, time_ns: int, bodies: Bodies) -> Decided:
        length, start, end = self.join.positions(request).next, hit.start, hit.position + 1
        decision = self.decisions.decide(
            hit, request.opened, self.epoch, self.hello.model_name, time_ns
        )
        found = decide(
            hit,
            decision,
            epoch=self.epoch,
            hello=self.hello,
            opened=request.opened,
            positions=request.positions,
            time_ns=time_ns,
            evidence=bodies.around(request.slot, length, start, end),
        )
        self.recorder.fired(self.epoch, hit, found)
        if found.record is not None:
            due = end + evidence.MARGIN
            request.follow_ups.append(FollowUp(found.record.event_id, start, end, due))
            self.following[hit.key] = request
        return found

    def _evidence(
        self, request: Request, which: list[FollowUp], content: Mapping[str, object]
    ) -> dict[str, bytes]:
        length = self.join.positions(request).next
        bodies = Bodies(self.join.slots.recent, self.features, content)
        return {
            one.event_id: bodies.around(request.slot, length, one.start, one.end) for one in which
        }
