"""`count` rules in the line: every hit is counted once it has its record, and what is exceeded becomes one of its own.

It ties `rules/correlate.py` to the decisions of the sidecar, over all its servers. A defect in counting costs no hit:
it is logged, counted, and the line goes on. It knows nothing of where records go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date

from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Open
from dosimeter.rules.correlate import Correlator, CountStats, Exceeded
from dosimeter.rules.engine import Hit
from dosimeter.rules.language.second import SecondRule, running
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.second_record import build_count

log = logging.getLogger(__name__)


class Counts:
    """The second stage for hits. errors: hits that could not be counted, a defect of ours."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._correlator = Correlator()
        decisions.when_set_back(self._correlator.forget)
        self._day = date.min
        self.errors = 0

    def expect(self, rules: Sequence[SecondRule], day: date) -> None:
        """The rules of now."""
        found = running(rules, day)
        self._correlator.expect(found, day)
        self._decisions.expect_policies(rule.policy.on(day) for rule in found)
        self._day = day

    @property
    def counted(self) -> frozenset[str]:
        """The rules whose hits count for anything."""
        return self._correlator.counted

    @property
    def within_ns(self) -> int:
        """How far back hits matter."""
        return self._correlator.within_ns

    @property
    def stats(self) -> dict[str, CountStats]:
        return self._correlator.stats

    def restore(self, of: Occurrence, event_id: str) -> None:
        """A stored hit; what it made too many was recorded with it."""
        self._correlator.add(of, event_id)

    def count(
        self, hit: Hit, opened: Open, epoch: int, model: str, time_ns: int, event_id: str
    ) -> list[Decided]:
        """The records of the counts that this hit, of this id, made too many. Never raises."""
        if not self._correlator.counts(hit.rule):
            return []
        try:
            of = self._decisions.occurrence(hit, opened, epoch, model, time_ns)
        except Exception:
            self._failed(hit.rule)
            return []
        return self.add(of, event_id)

    def add(self, of: Occurrence, event_id: str) -> list[Decided]:
        """The same of a hit as decisions know it. Never raises."""
        try:
            return [self._told(found) for found in self._correlator.add(of, event_id)]
        except Exception:
            self._failed(of.rule)
            return []

    def _failed(self, rule: str) -> None:
        """Called while the error is handled."""
        self.errors += 1
        log.exception("a hit of rule `%s` could not be counted", rule)

    def _told(self, found: Exceeded) -> Decided:
        rule, labels = found.rule, dict(found.group)
        model = labels.pop("model", "")
        of = Occurrence(rule.id, rule.status, found.time_ns, f"count/{rule.id}", labels, model)
        decision = self._decisions.decide_second(of, rule, rule.policy.on(self._day))
        made = build_count(found, decision)
        record = LedgerRecord(made.event_id, made.canonical, None, made.deliverable)
        return Decided(record, rule.id, rule.severity, decision.decision)
