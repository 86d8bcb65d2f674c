"""The record of a hit: bytes that are the same wherever they are made, and say everything."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rule_streams import SHA, rule

from dosimeter.detectors.frames import Scope
from dosimeter.rules.alert import Alert, AlertContext, build_alert, event_id, in_sd, value_text
from dosimeter.rules.atoms import Atom, Literal
from dosimeter.rules.decide import Decision
from dosimeter.rules.engine import Condition, Hit
from dosimeter.rules.policy import Policy

GOLDEN = Path(__file__).parents[1] / "golden" / "rules"

DECIDED = Condition(
    clause=0,
    literal=Literal(0, "deception", "a" * 64, "b" * 64, "1 in 1000 answers"),
    atom=Atom(3, Scope.ANSWER, 1, "average", 32, 700),
    start=20,
    end=52,
    value_sum=26_000,
    value_n=32,
    tokens_scored=30,
    tokens_unscored=2,
)
EARLIER = Condition(
    clause=1,
    literal=Literal(1, "urgency", "e" * 64, "f" * 64, "z 3 in 20 % of the message"),
    atom=Atom(5, Scope.MESSAGE, 1, "share", 1, 768, k=20),
    start=4,
    end=18,
    value_sum=5,
    value_n=14,
    tokens_scored=14,
    tokens_unscored=0,
)
HIT = Hit(
    rule="deceptive-answer",
    key=2**64 - 2,
    position=51,
    decided=DECIDED,
    also=(),
    program="c" * 64,
    compiled=rule("deceptive-answer", 0),
)
BOTH = replace(HIT, also=(EARLIER,))
NOTIFIED = Decision("notified", True, "")
LIMITED = Decision("limited", False, "beyond 50 per hour")
CONTEXT = AlertContext(
    time_ns=1_763_600_000_123_456_789,
    epoch=0xABC,
    model="lab",
    model_digest="d" * 64,
    labels={"tenant": "acme", "user": "u-1", "conversation": "c-9", "secret": "x"},
    trusted=frozenset({"tenant", "secret"}),
    coverage="32 tokens of the prompt came from the prefix cache",
)


def build(hit: Hit = HIT, context: AlertContext = CONTEXT, decision: Decision = NOTIFIED) -> Alert:
    return build_alert(hit, context, decision)


def test_who_looks_a_second_time_is_named_only_where_somebody_does() -> None:
    asking = replace(HIT, compiled=replace(HIT.compiled, policy=Policy(confirm="second-look")))
    assert build(asking).core == {**build().core, "confirm": "second-look"}
    assert "confirm" not in build().core


@pytest.mark.parametrize(
    ("name", "alert"),
    [("alert.json", build()), ("alert_two_conditions.json", build(BOTH, decision=LIMITED))],
)
def test_the_record_is_byte_for_byte_the_golden_one(name: str, alert: Alert) -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/rules/test_alert.py` refreshes it; review the diff."""
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        (GOLDEN / name).write_bytes(alert.canonical + b"\n")
    assert alert.canonical + b"\n" == (GOLDEN / name).read_bytes()


def test_the_record_holds_what_a_later_check_needs() -> None:
    core = json.loads(build().canonical)
    assert core["rule_sha256"] == SHA
    assert core["program_sha256"] == "c" * 64
    assert core["pack_sha256"] == "a" * 64
    assert core["calibration_sha256"] == "b" * 64
    assert (core["key"], core["epoch"]) == ("fffffffffffffffe", "0000000000000abc")
    assert core["time_ns"] == CONTEXT.time_ns
    assert core["value_sum"] / core["value_n"] / 256 == pytest.approx(3.17, abs=0.005)
    assert core["summary"] == "deception reached 3.17 in answer"


def test_only_known_labels_are_kept_and_they_stand_by_themselves() -> None:
    core = build().core
    assert core["labels"] == {"tenant": "acme", "user": "u-1", "conversation": "c-9"}
    assert core["trusted"] == ["tenant"]
    rest = {k: v for k, v in core.items() if k != "labels"}
    assert "u-1" not in json.dumps(rest)
    assert "c-9" not in json.dumps(rest)


def test_the_other_conditions_of_a_rule_are_told_with_their_own_feature_shape_and_span() -> None:
    core = build(BOTH).core
    assert (core["clause"], core["feature"], core["shape"]) == (0, "deception", "average")
    (other,) = core["also"]
    assert (other["clause"], other["feature"], other["shape"]) == (1, "urgency", "share")
    assert (other["scope"], other["start"], other["end"], other["position"]) == (
        "message",
        4,
        18,
        17,
    )
    assert (other["value_sum"], other["value_n"], other["threshold_code"]) == (5, 14, 768)
    assert other["pack_sha256"] == "e" * 64
    assert set(other) <= set(core)  # the same fields, so one reader serves both
    assert build().core["also"] == []


@pytest.mark.parametrize(
    ("decision", "sent"),
    [
        (NOTIFIED, True),
        (LIMITED, False),
        (Decision("shadow", True, "the rule is in shadow"), False),
        (Decision("exempt", False, "course material (j.doe)"), False),
    ],
)
def test_only_what_is_notified_is_delivered_and_the_rest_says_why(
    decision: Decision, sent: bool
) -> None:
    alert = build(decision=decision)
    assert alert.deliverable is sent
    assert (alert.core["decision"], alert.core["would_act"]) == (
        decision.decision,
        decision.would_act,
    )
    assert alert.core["reason"] == decision.reason


def test_a_reason_cannot_inject_lines_or_grow_without_bound() -> None:
    reason = "a\nb\x1b[31m" + "x" * 5000
    found = build(decision=Decision("exempt", False, reason)).core["reason"]
    assert found.isprintable()
    assert len(found) == 400


def test_the_event_id_is_the_time_and_then_what_was_decided() -> None:
    identity = event_id(CONTEXT, HIT)
    assert len(identity) == 32
    assert int(identity[:12], 16) == CONTEXT.time_ns // 10**6
    assert event_id(replace(CONTEXT, labels={}, model="other"), HIT) == identity


@pytest.mark.parametrize(
    "changed",
    [
        replace(HIT, key=1),
        replace(HIT, program="e" * 64),
        replace(HIT, rule="other"),
        replace(HIT, position=52),
    ],
)
def test_another_decision_has_another_event_id(changed: Hit) -> None:
    assert event_id(CONTEXT, changed)[12:] != event_id(CONTEXT, HIT)[12:]
    assert event_id(replace(CONTEXT, epoch=1), HIT)[12:] != event_id(CONTEXT, HIT)[12:]


def test_labels_cannot_inject_lines_or_escape_codes() -> None:
    hostile = {"tenant": "a\nb\x1b[31m\u202e" + "x" * 5000, "user": "\ud800"}
    made = build(context=replace(CONTEXT, labels=hostile)).canonical.decode()
    assert made.isprintable()
    assert len(made) < 3000


@pytest.mark.parametrize(
    ("value", "n", "shown"),
    [
        (0, 1, "0.00"),
        (256, 1, "1.00"),
        (-640, 1, "-2.50"),
        (26_000, 32, "3.17"),  # 3.1738
        (1, 1, "0.00"),
        (-1, 1, "0.00"),  # -0.0039, never "-0.00"
        (2, 1, "0.01"),
        (32_767, 1, "128.00"),
    ],
)
def test_codes_are_shown_in_standard_deviations(value: int, n: int, shown: str) -> None:
    assert in_sd(value, n) == shown


@pytest.mark.parametrize(
    ("shape", "value", "n", "shown"),
    [("average", 512, 1, "2.00"), ("share", 5, 14, "35 %"), ("share", 14, 14, "100 %")],
)
def test_a_share_is_shown_as_a_percentage(shape: str, value: int, n: int, shown: str) -> None:
    assert value_text(shape, value, n) == shown
