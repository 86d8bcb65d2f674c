"""A record of the second stage stands by itself, and the same finding has the same id."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from dosimeter.detectors.drift import DriftState
from dosimeter.detectors.frames import Scope
from dosimeter.rules.alert import Alert
from dosimeter.rules.correlate import Exceeded
from dosimeter.rules.decide import Decision
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule, SecondWhen
from dosimeter.rules.language.watching import Absent, Shift, Silent
from dosimeter.rules.policy import Policy
from dosimeter.rules.second_record import Watched, build_absent, build_count, build_shift

NOTIFIED = Decision("notified", True, "")
SHADOW = Decision("shadow", True, "the rule is in shadow")
AT = Watched("000000000000000a", "m", "cd" * 32, 1_700_000_000_123_456_789)
HITS = tuple(f"{n:032x}" for n in range(3))
DRIFT = DriftState(True, 9.5, 9.0, 120, 3, 100, "up", "it has risen")


def rule(when: SecondWhen, summary: str) -> SecondRule:
    policy = Policy(group_by=("tenant", "model"), labels=(("team", "x"),))
    return SecondRule("r", when, "live", "high", summary, "sre", "https://r/1", policy)


def count(**changes: object) -> Exceeded:
    form = Count("users", ("a", "b"), 2, 5400)
    said = "{count} {counted} in {within} of {tenant} on {model}: {rule} ({severity})"
    found = Exceeded(rule(form, said), (("tenant", "t\u202e9"), ("model", "m")), 5, 7_000_000, HITS)
    return replace(found, **changes)  # type: ignore[arg-type]


def silent(served: int = 42, at: Watched = AT) -> Alert:
    said = "{feature} silent for {for}: {tokens} tokens of {model}"
    return build_absent(rule(Absent("scam", 300), said), Silent(301, served), at, NOTIFIED)


def drifted(state: DriftState = DRIFT) -> Alert:
    said = "{feature} in {scope} {direction} after {requests} requests of {model}"
    return build_shift(rule(Shift("scam", Scope.ANSWER), said), state, "ef" * 32, AT, NOTIFIED)


def test_a_count_names_what_it_counted_and_for_whom() -> None:
    core = build_count(count(), NOTIFIED).core
    assert core["summary"] == "3 users in 90m of t9 on m: r (high)"
    assert (core["kind"], core["time_ns"], core["from_ns"]) == ("count", 7_000_000, 5)
    assert (core["hits"], core["of"], core["more_than"]) == (list(HITS), ["a", "b"], 2)
    assert (core["labels"], core["trusted"]) == ({"tenant": "t9"}, ["tenant"])
    assert (core["model"], core["rule_labels"]) == ({"name": "m"}, {"team": "x"})
    assert core["rule_sha256"] == hashlib.sha256(count().rule.canonical).hexdigest()


def test_a_count_can_ask_for_a_second_look() -> None:
    found = count()
    asking = replace(found.rule, policy=replace(found.rule.policy, confirm="second-look"))
    core = build_count(replace(found, rule=asking), NOTIFIED).core
    assert core["confirm"] == "second-look"
    assert "confirm" not in build_count(found, NOTIFIED).core


def test_a_silence_and_a_drift_name_the_server_and_what_was_looked_at() -> None:
    core = silent().core
    assert core["summary"] == "scam silent for 5m: 42 tokens of m"
    assert (core["epoch"], core["lasted_ns"], core["tokens_served"]) == (AT.epoch, 301, 42)
    core = drifted().core
    assert core["summary"] == "scam in answer up after 120 requests of m"
    assert (core["calibration_sha256"], core["since_request"]) == ("ef" * 32, 100)
    assert core["model"] == {"name": "m", "digest": "cd" * 32}


@pytest.mark.parametrize(
    ("one", "others"),
    [
        (
            lambda: build_count(count(), NOTIFIED),
            [
                build_count(count(hits=HITS[1:]), NOTIFIED),
                build_count(count(rule=replace(count().rule, severity="low")), NOTIFIED),
            ],
        ),
        (silent, [silent(at=replace(AT, epoch="b")), silent(at=replace(AT, time_ns=1))]),
        (drifted, [drifted(replace(DRIFT, requests=121))]),
    ],
)
def test_the_same_finding_has_the_same_id_and_no_other_has_it(
    one: object, others: list[Alert]
) -> None:
    assert callable(one)
    made = one()
    assert made == one()
    assert len({made.event_id, *(other.event_id for other in others)}) == 1 + len(others)
    assert made.event_id[:12] == f"{made.core['time_ns'] // 1_000_000:012x}"


def test_the_id_of_a_count_does_not_hang_on_whom_it_is_about() -> None:
    """An id is kept for good, and whoever can guess a name could try it: the hits say enough."""
    mine = build_count(count(group=(("user", "ada"), ("model", "m"))), NOTIFIED)
    other = build_count(count(group=(("user", "bob"), ("model", "m"))), NOTIFIED)
    assert mine.event_id == other.event_id


def test_only_what_notified_is_sent() -> None:
    assert build_count(count(), NOTIFIED).deliverable
    made = build_count(count(), SHADOW)
    assert not made.deliverable
    assert (made.core["decision"], made.core["reason"]) == ("shadow", "the rule is in shadow")
    assert made.event_id == build_count(count(), NOTIFIED).event_id
