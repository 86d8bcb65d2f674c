"""Counts in the line when clocks are wrong, and after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.counts import Counts
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Open
from dosimeter.monitor.recounting import recount
from dosimeter.rules.atoms import Atom, Clause, CompiledRule, Literal, Logic
from dosimeter.rules.canonical import canonical
from dosimeter.rules.engine import Condition, Hit
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.policy import Policy

S = 10**9
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S
START = 20_000 * DAY
BURST = SecondRule(
    "burst", Count("hits", ("scam",), 2, 600), "live", "high", "s", "us", "", Policy()
)


class Line:
    """Decisions and counts over one clock that is set by hand, and a ledger on the same."""

    def __init__(self, folder: Path) -> None:
        self.now, self.key = START, 0
        self.ledger = Ledger(folder / "ledger.db", now_ns=lambda: self.now)
        self.restarts()

    def restarts(self) -> None:
        self.decisions = Decisions("ledger-1", lambda: self.now)
        self.counts = Counts(self.decisions)
        self.counts.expect([BURST], date(2024, 1, 1))
        with LedgerReader(self.ledger.path) as reader:
            self.recounted = recount(self.counts, reader, self.now)

    def hit(self, ahead: int = 0) -> int:
        """How many counts one more hit made too many. ahead: of the server's clock."""
        self.key += 1
        literal = Literal(0, "scam", "a" * 64, "b" * 64, "z 2")
        text = {"rule": "scam", "status": "live", "severity": "high", "summary": "s"}
        rule = CompiledRule("scam", "c" * 64, Logic((Clause((literal,)),)), text, Policy())
        met = Condition(0, literal, Atom(0, Scope.ANSWER, 1, "once", 1, 512), 0, 1, 600, 1, 1, 0)
        hit = Hit("scam", self.key, 0, met, (), "d" * 64, rule)
        opened = Open.parse({"key": self.key, "prompt_len": 1})
        at, event_id = self.now + ahead, f"{self.key:032x}"
        self.decisions.decide(hit, opened, 7, "m", at)
        found = self.counts.count(hit, opened, 7, "m", at, event_id)
        core = {
            **{"event_id": event_id, "kind": "alert", "rule": "scam", "rule_sha256": "c" * 64},
            **{"status": "live", "decision": "notified", "would_act": True, "time_ns": at},
            **{"epoch": "7", "key": f"{self.key}", "model": {"name": "m"}, "trusted": []},
        }
        self.ledger.append([LedgerRecord(event_id, canonical(core), None, True)])
        return len(found)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    found = Line(tmp_path)
    yield found
    found.ledger.close()


def test_a_hit_while_the_clock_was_a_day_ahead_makes_no_count_blind_once_it_is_put_right(
    line: Line,
) -> None:
    line.now = START + DAY
    assert line.hit() == 0
    line.now = START + S
    assert line.decisions.digests(line.now) == []
    line.now = START + HOUR
    assert [line.hit() for _ in range(6)] == [0, 0, 1, 0, 0, 0]


def test_a_clock_that_is_a_little_behind_what_was_seen_forgets_no_hit(line: Line) -> None:
    assert [line.hit(), line.hit()] == [0, 0]
    line.now -= 30 * S
    line.decisions.digests(line.now)
    assert line.hit() == 1


def test_a_hit_of_a_server_whose_clock_was_ahead_is_over_in_its_time_after_a_restart_too(
    line: Line,
) -> None:
    assert [line.hit(DAY), line.hit(DAY)] == [0, 0]
    line.now = START + 5 * MINUTE
    assert line.hit() == 1
    line.now = START + 9 * MINUTE
    line.restarts()
    assert line.recounted == 3
    line.now = START + 11 * MINUTE  # of the three, one is still in the window
    assert [line.hit(), line.hit()] == [0, 1]
