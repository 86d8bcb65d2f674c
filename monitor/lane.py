"""One sink's way through the ledger: what to send next, what was answered, how long to wait.

It owns the order and the patience: a cursor moves only over what the sink has answered for, or what a
second look withheld, so a crash repeats and never loses; behind an alert without its verdict all wait.
It has no thread and no clock of its own. What an answer means is the sink's to say, who looks a second
time the desk's.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.history.restored import Opening
from dosimeter.monitor.history.verdicts import confirmer_of
from dosimeter.monitor.sinks.sink import Outcome, Result, Sink, retry

log = logging.getLogger(__name__)

FIRST = 4
"""Alerts in the first send; doubles with each that succeeds, and is one after a failure. A sink whose answers get lost
may have had them all: the fewer are in doubt, the fewer arrive twice."""
PARTS = 4
"""In so many sends goes what waits, where it is less than a batch: who keeps up need not have all of it in doubt."""


@dataclass
class Backoff:
    """Exponential, capped, with jitter: between half and all of base * 2^n seconds."""

    base_s: float
    cap_s: float
    uniform: Callable[[float, float], float] = random.uniform
    failures: int = field(default=0, init=False)

    def reset(self) -> None:
        self.failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """The pause after one more failure; never above the cap, whatever the sink asked for."""
        full = min(self.cap_s, self.base_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return min(self.cap_s, max(at_least_s, self.uniform(full / 2, full)))


class Lane:
    """One sink's way through the ledger. `step` does one thing and says how long to wait."""

    def __init__(
        self,
        sink: Sink,
        ledger: LedgerReader,
        store: CursorStore,
        *,
        backoff: Backoff,
        ask: Callable[[StoredAlert], None],
        poll_s: float = 0.05,
        batch: int = 500,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """ask: sees that an alert gets a verdict in the store, however often it is called."""
        self.sink, self.failing = sink, False
        self._ask = ask
        self._ledger, self._store, self._backoff = ledger, store, backoff
        self._poll_s, self._size, self._now_ns = poll_s, batch, now_ns
        self._window = min(batch, FIRST)
        self._part = batch  # at most in a send, of the batch in hand
        self._cursor = store.position(sink.name).cursor
        self._version: int | None = None  # of the ledger, when all of it was read
        self._read: int | None = None  # and when the batch was
        self._wrote: list[Opening] = []  # who wrote the ledger, when the batch was read
        self._batch: list[StoredAlert] = []
        self._settled: dict[int, Outcome] = {}  # seq -> final outcome, of the batch in hand
        self._undecided: set[int] = set()  # of the batch: without a verdict so far
        self._withheld: set[int] = set()  # of the batch: the verdict is no

    def step(self) -> float:
        """Send what is next, or again. Returns seconds to wait before the next step; 0: none."""
        if self._batch:
            self._read_again()
        elif not self._load():
            return self._replay()
        if self._undecided:
            self._decide()
        waiting = self._next()[: min(self._window, self._part)]
        outcomes = self._send(waiting)
        for alert, outcome in zip(waiting, outcomes, strict=True):
            if outcome.result is not Result.RETRY:
                self._settled[alert.seq] = outcome
        moved = self._advance()
        if not waiting:
            return 0.0 if moved else self._poll_s
        return self._patience(outcomes)

    def _read_again(self) -> None:
        """What was erased since the batch was read, which may be hours ago, goes out without what was personal."""
        version = self._ledger.data_version()
        if version == self._read:
            return
        self._read = version
        here = self._ledger.deliverable_since(self._cursor, limit=len(self._batch))
        now = {alert.event_id: alert for alert in here}
        self._batch = [now.get(alert.event_id, alert) for alert in self._batch]

    def _replay(self) -> float:
        """Dead letters that somebody wants sent again go out when nothing else is there to send."""
        letters = self._store.letters.replays(self.sink.name, limit=self._window)
        if not letters:
            return self._poll_s
        # A dead letter keeps no time of commit; that of its refusal is the nearest there is.
        alerts = [StoredAlert(one.seq, one.event_id, one.core, True, one.at_ns) for one in letters]
        outcomes = self._send(alerts)
        answers = [
            (alert.seq, outcome)
            for alert, outcome in zip(alerts, outcomes, strict=True)
            if outcome.result is not Result.RETRY
        ]
        if answers:
            self._store.letters.settle_replays(
                self.sink.name,
                delivered=[seq for seq, o in answers if o.result is Result.DELIVERED],
                dead=[(seq, o.reason) for seq, o in answers if o.result is Result.DEAD],
                now_ns=self._now_ns(),
            )
        return self._patience(outcomes)

    def _patience(self, outcomes: Sequence[Outcome]) -> float:
        """How long to wait after these, and a note of it where some have to be sent again."""
        again = [outcome for outcome in outcomes if outcome.result is Result.RETRY]
        self.failing = bool(again)
        if not again:
            self._backoff.reset()
            self._window = min(self._size, 2 * self._window)
            return 0.0
        self._window = 1
        self._store.fail(self.sink.name, again[0].reason, now_ns=self._now_ns())
        return self._backoff.next_s(max(outcome.after_s or 0.0 for outcome in again))

    def _load(self) -> bool:
        self._ledger.check_place()
        # Ask for the version before the rows: a commit in between is then seen by the next step.
        version = self._ledger.data_version()
        if version == self._version:
            return False
        self._follow()
        pruned = self._ledger.pruned()
        if self._cursor < pruned.through:  # only of a sink that is new
            self._store.skip_pruned(self.sink.name, pruned)
            self._cursor = pruned.through
        self._read = version
        self._batch = self._ledger.deliverable_since(self._cursor, limit=self._size)
        if self._ledger.openings() != self._wrote:  # which of them wrote the batch is not known
            self._batch = []
            return False
        self._part = self._size
        if len(self._batch) < self._size:
            self._version = version
            self._part = max(FIRST, -(-len(self._batch) // PARTS))
        self._undecided = {alert.seq for alert in self._batch if confirmer_of(alert) is not None}
        return bool(self._batch)

    def _follow(self) -> None:
        """A ledger that was put back has other alerts at positions that were settled."""
        wrote = self._ledger.openings()
        if wrote == self._wrote:
            return
        self._wrote = wrote
        restored = self._store.follow(self._ledger, now_ns=self._now_ns())
        if restored is not None:
            log.error("%s", restored)
        self._cursor = self._store.position(self.sink.name).cursor

    def _decide(self) -> None:
        """Take in the verdicts there are, and ask for the others."""
        answers = self._store.verdicts.between(min(self._undecided), max(self._undecided))
        for alert in self._batch:
            if alert.seq in self._undecided:
                answer = answers.get(alert.seq)
                if answer is None:
                    self._ask(alert)
                    continue
                self._undecided.remove(alert.seq)
                if answer == "no":
                    self._withheld.add(alert.seq)

    def _next(self) -> list[StoredAlert]:
        """What is to be sent now: up to the first without a verdict."""
        found = []
        for alert in self._batch:
            if alert.seq in self._undecided:
                break
            if alert.seq not in self._settled and alert.seq not in self._withheld:
                found.append(alert)
        return found

    def _send(self, alerts: Sequence[StoredAlert]) -> Sequence[Outcome]:
        if not alerts:
            return []
        try:
            outcomes = self.sink.send(alerts)
        except Exception as error:  # a sink's own fault must not cost an alert, nor this thread
            log.exception("sink `%s` failed", self.sink.name)
            self.sink.close()
            return [retry(f"sink failed: {error!r}")] * len(alerts)
        if len(outcomes) != len(alerts):
            return [retry(f"sink answered {len(outcomes)} times for {len(alerts)}")] * len(alerts)
        return outcomes

    def _advance(self) -> bool:
        """Move the cursor over the settled head of the batch; behind a gap all wait."""
        done = self._settled.keys() | self._withheld
        settled = 0
        while settled < len(self._batch) and self._batch[settled].seq in done:
            settled += 1
        if not settled:
            return False
        head, rest = self._batch[:settled], self._batch[settled:]
        answers = [
            (alert, self._settled[alert.seq]) for alert in head if alert.seq in self._settled
        ]
        refused = [(alert, o.reason) for alert, o in answers if o.result is Result.DEAD]
        self._store.settle(
            self.sink.name,
            cursor=head[-1].seq,
            wrote=self._wrote,
            delivered=len(answers) - len(refused),
            dead=refused,
            withheld=settled - len(answers),
            now_ns=self._now_ns(),
        )
        self._cursor, self._batch = head[-1].seq, rest
        for alert in head:
            self._settled.pop(alert.seq, None)
            self._withheld.discard(alert.seq)
        return True
