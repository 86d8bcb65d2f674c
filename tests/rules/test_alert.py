"""The record of a hit: bytes that are the same wherever they are made, and say everything."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rule_streams import SHA, rule

from dosimeter.detectors.frames import Scope
from dosimeter.rules.alert import AlertContext, build_alert, event_id, in_sd
from dosimeter.rules.engine import Hit

GOLDEN = Path(__file__).parents[1] / "golden" / "rules" / "alert.json"

HIT = Hit(
    rule="deceptive-answer",
    key=2**64 - 2,
    scope=Scope.ANSWER,
    start=20,
    end=52,
    position=51,
    value_sum=26_000,
    value_n=32,
    threshold_code=700,
    feature="deception",
    column=3,
    program="c" * 64,
    tokens_scored=30,
    tokens_unscored=2,
    compiled=rule("deceptive-answer", 0),
)
CONTEXT = AlertContext(
    time_ns=1_763_600_000_123_456_789,
    epoch=0xABC,
    model="lab",
    model_digest="d" * 64,
    labels={"tenant": "acme", "user": "u-1", "conversation": "c-9", "secret": "x"},
    trusted=frozenset({"tenant", "secret"}),
    coverage="32 tokens of the prompt came from the prefix cache",
)


def test_the_record_is_byte_for_byte_the_golden_one() -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/rules/test_alert.py` refreshes it; review the diff."""
    made = build_alert(HIT, CONTEXT).canonical
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        GOLDEN.write_bytes(made + b"\n")
    assert made + b"\n" == GOLDEN.read_bytes()


def test_the_record_holds_what_a_later_check_needs() -> None:
    core = json.loads(build_alert(HIT, CONTEXT).canonical)
    assert core["rule_sha256"] == SHA
    assert core["program_sha256"] == "c" * 64
    assert core["pack_sha256"] == "a" * 64
    assert core["calibration_sha256"] == "b" * 64
    assert (core["key"], core["epoch"]) == ("fffffffffffffffe", "0000000000000abc")
    assert core["time_ns"] == CONTEXT.time_ns
    assert core["value_sum"] / core["value_n"] / 256 == pytest.approx(3.17, abs=0.005)
    assert core["summary"] == "deception reached 3.17 in answer"


def test_only_known_labels_are_kept_and_they_stand_by_themselves() -> None:
    core = build_alert(HIT, CONTEXT).core
    assert core["labels"] == {"tenant": "acme", "user": "u-1", "conversation": "c-9"}
    assert core["trusted"] == ["tenant"]
    rest = {k: v for k, v in core.items() if k != "labels"}
    assert "u-1" not in json.dumps(rest)
    assert "c-9" not in json.dumps(rest)


def test_shadow_is_recorded_and_not_delivered() -> None:
    shadow = replace(HIT, compiled=rule("deceptive-answer", 0, "shadow"))
    alert = build_alert(shadow, CONTEXT)
    assert (alert.deliverable, alert.core["decision"]) == (False, "shadow")
    assert alert.core["would_act"] is True
    live = build_alert(HIT, CONTEXT)
    assert (live.deliverable, live.core["decision"]) == (True, "notified")


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
    made = build_alert(HIT, replace(CONTEXT, labels=hostile)).canonical.decode()
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
