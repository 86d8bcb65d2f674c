"""What becomes of hits in a sidecar: labels that count, clocks that are wrong, defects, digests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.decisions import LATE_NS, Decisions
from dosimeter.monitor.records import Open
from dosimeter.rules.atoms import Atom, Clause, CompiledRule, Literal, Logic
from dosimeter.rules.engine import Condition, Hit
from dosimeter.rules.policy import Limit, Policy
from dosimeter.rules.program import Program

S = 10**9
MINUTE, DAY = 60 * S, 86_400 * S
START = 20_000 * DAY


def rule(policy: Policy, name: str = "scam", status: str = "live") -> CompiledRule:
    literal = Literal(0, "scam", "a" * 64, "b" * 64, "z 2")
    text = {"rule": name, "status": status, "severity": "high", "summary": "s", "owner": "us"}
    return CompiledRule(name, "c" * 64, Logic((Clause((literal,)),)), text, policy)


@dataclass
class Line:
    """Decisions, with a wall clock that is set by hand."""

    now: int = START
    key: int = 0
    decisions: Decisions = field(init=False)

    def __post_init__(self) -> None:
        self.decisions = Decisions("ledger-1", lambda: self.now)

    def hit(self, of: CompiledRule, at: int | None = None, **labels: str) -> str:
        """The word for one more hit, at a time after START (None: the clock's), with trusted labels."""
        self.key += 1
        literal = next(of.logic.literals)
        met = Condition(0, literal, Atom(0, Scope.ANSWER, 1, "once", 1, 512), 0, 1, 600, 1, 1, 0)
        hit = Hit(of.rule, self.key, 0, met, (), "d" * 64, of)
        body: dict[str, Any] = {"key": self.key, "prompt_len": 1, "labels": labels}
        opened = Open.parse(body | {"trusted": list(labels)})
        time_ns = self.now if at is None else START + at
        return self.decisions.decide(hit, opened, 7, "m", time_ns).decision

    def digests(self) -> list[dict[str, Any]]:
        return [record_of(one) for one in self.decisions.digests(self.now)]


def record_of(one: Decided) -> dict[str, Any]:
    assert one.record is not None
    assert one.record.deliverable
    assert one.decision == "digest"
    found: dict[str, Any] = json.loads(one.record.core)
    return found


def test_a_label_that_nobody_vouches_for_groups_nothing() -> None:
    line, of = Line(), rule(Policy(group_by=("tenant",), repeat_after_s=3600))
    assert [line.hit(of, tenant="acme"), line.hit(of, tenant="acme")] == ["notified", "deduped"]
    body = {"key": 9, "prompt_len": 1, "labels": {"tenant": "acme"}, "trusted": []}
    opened = Open.parse(body)
    met = Condition(
        0, next(of.logic.literals), Atom(0, Scope.ANSWER, 1, "once", 1, 512), 0, 1, 600, 1, 1, 0
    )
    hit = Hit(of.rule, 9, 0, met, (), "d" * 64, of)
    assert line.decisions.decide(hit, opened, 7, "m", START).decision == "notified"


def test_a_server_whose_clock_is_ahead_does_not_use_up_the_limit_of_times_to_come() -> None:
    line, of = Line(), rule(Policy(limit=Limit(1, "minute")))
    assert line.hit(of, at=30 * DAY) == "notified"
    assert line.hit(of) == "limited"
    line.now += MINUTE
    assert line.hit(of) == "notified"


def test_a_clock_that_is_set_back_forgets_rather_than_keeps_silent() -> None:
    """What was decided a day ahead would have held back the alerts of a day."""
    line, of = Line(now=START + DAY), rule(Policy(limit=Limit(1, "day")))
    assert [line.hit(of), line.hit(of)] == ["notified", "limited"]
    line.now = START
    (digest,) = line.digests()
    assert (digest["notified"], digest["limited"]) == (1, 1)
    assert [line.hit(of), line.hit(of)] == ["notified", "limited"]


def test_rules_that_silence_still_do_after_a_clock_was_set_back() -> None:
    first, second = rule(Policy(), "first"), rule(Policy(quiet_when=("first",)), "second")
    line = Line(now=START + DAY)
    program = Program(("scam",), (Atom(0, Scope.ANSWER, 1, "once", 1, 512),), (first, second))
    line.decisions.expect(program)
    line.hit(first)
    line.now = START
    assert line.digests() == []
    assert line.hit(first) == "notified"
    line.key -= 1  # the same request
    assert line.hit(second) == "silenced"


def test_a_clock_that_was_ahead_while_no_hit_came_holds_nothing_back_afterwards() -> None:
    line = Line()
    once = rule(Policy(group_by=("tenant",), repeat_after_s=3600), "once")
    few = rule(Policy(limit=Limit(2, "minute")), "few")
    assert line.hit(once, tenant="acme") == "notified"
    line.now = START + DAY
    assert line.digests() == []
    line.now = START + S
    assert line.digests() == []
    for hours in (2, 4, 20):
        line.now = START + hours * 60 * MINUTE
        assert line.hit(once, tenant="acme") == "notified"
        assert [line.hit(few) for _ in range(3)] == ["notified", "notified", "limited"]
        line.now += MINUTE + LATE_NS
        (digest,) = line.digests()
        assert (digest["from_ns"], digest["limited"]) == (START + hours * 60 * MINUTE, 1)


def test_a_window_to_which_the_clock_comes_back_has_a_second_digest_with_an_id_of_its_own() -> None:
    line, of = Line(now=START + 30 * MINUTE), rule(Policy(limit=Limit(1, "hour")))
    assert [line.hit(of) for _ in range(4)] == ["notified"] + ["limited"] * 3
    line.now -= 2 * MINUTE
    (first,) = line.digests()
    assert [line.hit(of) for _ in range(6)] == ["notified"] + ["limited"] * 5
    line.now = START + 60 * MINUTE + LATE_NS
    (second,) = line.digests()
    assert (first["limited"], second["limited"]) == (3, 5)
    assert first["from_ns"] == second["from_ns"]
    assert first["event_id"] != second["event_id"]


@pytest.mark.parametrize(("status", "word"), [("live", "notified"), ("shadow", "shadow")])
def test_a_defect_in_deciding_tells_rather_than_loses(
    status: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line()
    monkeypatch.setattr(line.decisions, "_decider", None)
    assert line.hit(rule(Policy(), status=status)) == word


def test_a_digest_comes_once_when_its_window_is_over_and_late_hits_have_come() -> None:
    line, of = Line(), rule(Policy(limit=Limit(2, "minute")))
    words = [line.hit(of, tenant=f"t{n}") for n in range(5)]
    assert words == ["notified"] * 2 + ["limited"] * 3
    line.now = START + MINUTE + LATE_NS - 1
    assert line.digests() == []
    assert line.hit(of, at=MINUTE - 1) == "limited"  # was still on the way
    line.now += 1
    (digest,) = line.digests()
    assert (digest["from_ns"], digest["to_ns"]) == (START, START + MINUTE)
    assert (digest["notified"], digest["limited"], digest["groups"]) == (2, 4, 4)
    assert (digest["severity"], digest["owner"], digest["rule_sha256"]) == ("high", "us", "c" * 64)
    assert line.digests() == []


def test_a_digest_that_cannot_be_recorded_is_kept_as_a_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line, of = Line(), rule(Policy(limit=Limit(1, "minute")))
    line.hit(of)
    line.hit(of)
    line.decisions._facts["scam"] = replace(line.decisions._facts["scam"], owner="\ud800")
    line.now += 2 * MINUTE
    (one,) = line.decisions.digests(line.now)
    assert (one.record, one.decision) == (None, "defect")
    assert "surrogate" in str(one.defect["error"])
