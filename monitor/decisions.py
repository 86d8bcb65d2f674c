"""What becomes of the hits of all servers of a sidecar: one `Decider`, whose notifications count together.

It turns a hit into what `rules/decide.py` asks for, and what a limit kept back into the record of a digest. A defect in
deciding, or a clock that was wrong, may cost a notification too many, never one too few. It knows nothing of the ledger
but its name; what an earlier process decided comes from `restoring.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Literal

from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Open
from dosimeter.rules.atoms import CompiledRule
from dosimeter.rules.decide import Decider, Decision, Stats
from dosimeter.rules.digest import KIND, RuleFacts, build_digest
from dosimeter.rules.engine import Hit
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Policy
from dosimeter.rules.program import Program
from dosimeter.rules.remembered import Digest

log = logging.getLogger(__name__)

LATE_NS = 2_000_000_000
"""A window is open for this long after its end: hits of its last moments are still on the way."""
AHEAD_NS = 60_000_000_000
"""What was decided may be ahead of the clock by this much; further, the clock was wrong and has been put right."""
MOST_TOLD = 50_000
"""Windows, the latest that had a digest, of which another digest is known to be another; about 10 MB."""

UNKNOWN = RuleFacts("", "", "", "")


class Decisions:
    """Every hit, in the order in which hits were found, gets its decision here."""

    def __init__(self, ledger: str = "", time_ns: Callable[[], int] = time.time_ns) -> None:
        """ledger: identity of the one that the records go to. time_ns: wall clock."""
        self._ledger, self._time_ns = ledger, time_ns
        self._decider = Decider()
        self._facts: dict[str, RuleFacts] = {}  # of rules of which something was limited
        self._windows: dict[tuple[str, int, int], int] = {}  # rule, from, to -> digests it has had
        self._set_back: list[Callable[[int], None]] = []
        self._latest_ns = 0

    @property
    def stats(self) -> Stats:
        return self._decider.stats

    def expect(self, program: Program) -> None:
        """Before hits of a program come: so that it is known whose notifications to remember."""
        self.expect_policies(rule.policy for rule in program.rules)

    def expect_policies(self, found: Iterable[Policy]) -> None:
        """The same, of rules that no program has."""
        self._decider.expect(found)

    def when_set_back(self, forget: Callable[[int], None]) -> None:
        """forget: is told, once the clock has been put right, after what time nothing can have been."""
        self._set_back.append(forget)

    def decide(self, hit: Hit, opened: Open, epoch: int, model: str, time_ns: int) -> Decision:
        """time_ns: as the server says it; a server whose clock is ahead does not move ours."""
        rule = hit.compiled
        try:
            decision = self._decider.decide(
                self.occurrence(hit, opened, epoch, model, time_ns), rule.policy
            )
        except Exception as error:  # it is told rather than lost
            return _undecided(rule.rule, rule.status, error)
        if decision.decision == "limited":
            self._about(rule.rule, rule)
        return decision

    def decide_second(self, of: Occurrence, rule: SecondRule, policy: Policy) -> Decision:
        """What a rule over hits or over the monitor found. policy: its own, on the day."""
        try:
            decision = self._decider.decide(of, policy)
        except Exception as error:  # as above
            return _undecided(rule.id, rule.status, error)
        if decision.decision == "limited":
            self._about(rule.id, rule)
        return decision

    def occurrence(
        self, hit: Hit, opened: Open, epoch: int, model: str, time_ns: int
    ) -> Occurrence:
        """The hit as `decide` sees it."""
        rule, at = hit.compiled, self._at(time_ns)
        labels = {name: opened.labels[name] for name in opened.trusted if name in opened.labels}
        request = request_name(f"{epoch:016x}", f"{hit.key:016x}")
        exempt = hit.exempt is not None
        return Occurrence(rule.rule, rule.status, at, request, labels, model, exempt)

    def digests(self, time_ns: int) -> list[Decided]:
        """The records of windows that have ended, each once; also what waits if the clock was set back."""
        if self._latest_ns > time_ns + AHEAD_NS:
            log.warning("the clock was set back: who was notified before is forgotten")
            ended = self._decider.due(1 << 62)
            self.begin_anew()
            for forget in self._set_back:
                forget(time_ns + AHEAD_NS)
        else:
            ended = self._decider.due(time_ns - LATE_NS)
        # The decider has heard of this time, hit or no hit.
        self._latest_ns = max(self._latest_ns, time_ns)
        return [self._told(digest, time_ns) for digest in ended]

    # --- after a restart

    def restore(self, of: Occurrence, policy: Policy, decided: Decision, facts: RuleFacts) -> None:
        """A stored hit, under its policy of then, and what was decided of it."""
        self._latest_ns = max(self._latest_ns, of.time_ns)
        self._decider.restore(of, policy, decided)
        if decided.decision == "limited":
            self._facts[of.rule] = facts

    def restore_digest(self, digest: Digest, time_ns: int) -> None:
        """A stored digest: it will not come again. time_ns: of its commit; before its end if the clock was set back."""
        self._latest_ns = max(self._latest_ns, min(digest.to_ns, time_ns))
        self._decider.restore_digest(digest, early=digest.to_ns > time_ns + AHEAD_NS)
        self._has_had_one_more(digest)

    def begin_anew(self) -> None:
        """Forget who was notified: some are told twice then, nobody too little."""
        self._decider, self._latest_ns = self._decider.anew(), 0

    def _at(self, time_ns: int) -> int:
        at = min(time_ns, self._time_ns())
        if at > self._latest_ns:
            self._latest_ns = at
        return at

    def _about(self, name: str, rule: CompiledRule | SecondRule) -> None:
        """What a digest of it will say, which is the same for all of a storm."""
        known = self._facts.get(name)
        if known is None or known.sha256 != rule.sha256:
            self._facts[name] = RuleFacts.of(rule)

    def _told(self, digest: Digest, time_ns: int) -> Decided:
        facts = self._facts.get(digest.rule, UNKNOWN)
        try:
            before = self._windows.get((digest.rule, digest.from_ns, digest.to_ns), 0)
            made = build_digest(digest, facts, self._ledger, before)
        except Exception as error:  # the line goes on, and the counts are kept
            log.exception("a digest of rule `%s` could not be recorded", digest.rule)
            defect = {"digest": digest, "time_ns": time_ns, "error": repr(error)}
            return Decided(None, digest.rule, facts.severity, "defect", defect)
        self._has_had_one_more(digest)
        record = LedgerRecord(made.event_id, made.canonical, None, made.deliverable)
        return Decided(record, digest.rule, facts.severity, KIND)

    def _has_had_one_more(self, digest: Digest) -> None:
        window = digest.rule, digest.from_ns, digest.to_ns
        self._windows[window] = self._windows.pop(window, 0) + 1
        if len(self._windows) > MOST_TOLD:
            del self._windows[next(iter(self._windows))]


def _undecided(rule: str, status: str, error: Exception) -> Decision:
    """Called while the error is handled."""
    log.exception("what becomes of a hit of rule `%s` could not be decided", rule)
    word: Literal["notified", "shadow"] = "notified" if status == "live" else "shadow"
    return Decision(word, True, f"not decided: {error!r}")


def request_name(epoch: str, key: str) -> str:
    """A request as decisions know it, from what its records say."""
    return f"{epoch}/{key}"
