"""Running the tests of a rule: the engine decides, and every hit has to be expected."""

from __future__ import annotations

import pytest
from tested_rules import LONG, cases, rule, trial

from dosimeter.rules.testing.trial import Trial, Unplaced, Verdict
from dosimeter.rules.testing.unit_normal import UnitNormal


def run(when: str, tests: str, more: str = "") -> list[Verdict]:
    one = rule(when, tests, more)
    ready = trial(one)
    return [ready.run(test) for test in cases(one)]


def places(when: str, stream: str, more: str = "", test: str = "") -> list[str]:
    """Where it fires."""
    tests = f"[{{name: a, {test} stream: {stream}, expect: []}}]"
    (verdict,) = run(when, tests, more)
    return [str(found) for found in verdict.found]


@pytest.mark.parametrize(
    ("when", "stream", "at"),
    [  # each worked out by hand
        (LONG, '[{answer: {scam: "0*10 3*10"}}]', ["answer 14"]),
        (LONG, '[{answer: {scam: "3*3 0*1 3*3"}}]', []),
        (LONG, '[{answer: {scam: "3*3 ?*1 3*3"}}]', []),
        (LONG, '[{answer: {scam: "3*2"}}, {gap: 1}, {answer: {scam: "3*3"}}]', []),
        (LONG, '[{answer: {scam: "3*2"}}, {answer: {scam: "3*2"}}]', ["answer 4"]),
        (LONG, '[{answer: {scam: "3*2"}}, {message: {scam: "3*9"}}, {answer: {scam: "3*4"}}]',
         ["answer 6"]),
        (LONG, '[{answer: {scam: "2*4"}}]', []),
        ("{feature: scam, in: message, above: z 1, average: message}",
         '[{message: {scam: "0..4*5"}}, {answer: {scam: "0*1"}}]', ["end of message"]),
        ("{feature: scam, in: answer, below: z -1, average: answer, min-tokens: 3}",
         '[{answer: {scam: "-2*2"}}, {tool: {scam: "0*1"}}, {answer: {scam: "-2*3"}}]',
         ["end of answer 2"]),
        ("{feature: scam, in: answer, above: 1 in 1000 answers}",
         '[{answer: {scam: "3.09*1 3.1*1"}}]', ["answer 2"]),
        ("{score: scam - deception, in: answer, above: z 2}",
         '[{answer: {scam: "3*2", deception: "1*1"}}]', ["answer 2"]),
        ("{sequence: [{feature: scam, in: message, above: z 2}, "
         "{feature: scam, in: answer, above: z 2}], within: 4 tokens}",
         '[{message: {scam: "0 3"}}, {answer: {scam: "0*2 3 0"}}]', ["answer 3"]),
        ("{sequence: [{feature: scam, in: message, above: z 2}, "
         "{feature: scam, in: answer, above: z 2}], within: 3 tokens}",
         '[{message: {scam: "0 3"}}, {answer: {scam: "0*2 3 0"}}]', []),
    ],
)  # fmt: skip
def test_a_rule_fires_where_a_hand_worked_table_says(when: str, stream: str, at: list[str]) -> None:
    assert places(when, stream) == at


def test_a_rule_with_clear_fires_again() -> None:
    stream = '[{answer: {scam: "3*6 0*8 3*6"}}]'
    assert places(LONG, stream, "clear: {below: z 1, for: 8 tokens}") == ["answer 4", "answer 18"]
    assert places(LONG, stream, "clear: {below: z 1, for: 9 tokens}") == ["answer 4"]


HOT = '[{answer: {scam: "3*4"}}]'
ONLY = "only: {tenant: acme, model: m}"


@pytest.mark.parametrize(
    ("said", "fires"),
    [
        ("labels: {tenant: acme}, model: m,", True),
        ("untrusted: {tenant: acme}, model: m,", False),
        ("labels: {tenant: zeta}, model: m,", False),
        ("labels: {tenant: acme}, model: n,", False),
        ("labels: {tenant: acme},", False),
    ],
)
def test_only_trusted_labels_let_a_rule_fire(said: str, fires: bool) -> None:
    assert places(LONG, HOT, ONLY, said) == (["answer 4"] if fires else [])


def test_what_unless_exempts_is_a_hit_all_the_same() -> None:
    """Whatever the day: a test does not begin to fail when an exemption runs out."""
    more = "unless: [{route: course, reason: quotes scams, by: j.doe, until: 2020-01-31}]"
    assert places(LONG, HOT, more, "labels: {route: course},") == ["answer 4, exempt"]
    assert places(LONG, HOT, more) == ["answer 4"]


def test_a_cancelled_request_is_decided_on_what_came() -> None:
    when = "{feature: scam, in: answer, above: z 2, average: answer}"
    assert places(when, HOT, "", "cancelled: true,") == ["end of answer"]


def test_expectations_are_complete() -> None:
    good, missing, extra, twice = run(
        LONG,
        f"""
      - {{name: good, stream: {HOT}, expect: [{{at: answer 4}}]}}
      - {{name: missing, stream: {HOT}, expect: [{{at: answer 4}}, {{at: answer 9}}]}}
      - {{name: extra, stream: {HOT}, expect: []}}
      - {{name: twice, stream: {HOT}, expect: [{{at: answer 4}}, {{at: answer 4}}]}}""",
    )
    assert good.passed
    assert ([str(e) for e in missing.missing], missing.unexpected) == (["answer 9"], ())
    assert ([str(f) for f in extra.unexpected], extra.missing) == (["answer 4"], ())
    assert [str(e) for e in twice.missing] == ["answer 4"]


def test_requests_are_decided_one_after_the_other() -> None:
    """Once an hour for each tenant, twice a day in all; shadow rules are tested as if they were live."""
    tests = f"""
      - name: a
        requests:
          - {{labels: {{tenant: a}}, stream: {HOT}}}
          - {{after: 59m, labels: {{tenant: a}}, stream: {HOT}}}
          - {{labels: {{tenant: b}}, stream: {HOT}}}
          - {{after: 1m, labels: {{tenant: a}}, stream: {HOT}}}
          - {{after: 22h, stream: [{{answer: {{scam: "0*4"}}}}]}}
          - {{after: 1h, labels: {{tenant: a}}, stream: {HOT}}}
        expect:
          - {{request: 1, at: answer 4, decision: notified}}
          - {{request: 2, decision: deduped}}
          - {{request: 3, decision: notified}}
          - {{request: 4, decision: limited}}
          - {{request: 6, decision: notified}}"""
    more = "group-by: [tenant]\nrepeat-after: 1h\nlimit: 2 per day"
    (verdict,) = run(LONG, tests, more)
    assert [str(f) for f in verdict.found] == [
        "request 1, answer 4, notified",
        "request 2, answer 4, deduped",
        "request 3, answer 4, notified",
        "request 4, answer 4, limited",
        "request 6, answer 4, notified",
    ]
    assert verdict.passed


def test_a_hit_that_says_where_is_kept_for_the_expectation_that_says_where() -> None:
    more = "clear: {below: z 1, for: 8 tokens}\nrepeat-after: 1h"
    tests = """
      - name: a
        requests: [{stream: [{answer: {scam: "3*6 0*8 3*6"}}]}]
        expect:
          - {request: 1, decision: deduped}
          - {request: 1, at: answer 4, decision: notified}"""
    (verdict,) = run(LONG, tests, more)
    assert verdict.passed


def test_a_rule_that_cannot_be_placed_says_why() -> None:
    with pytest.raises(Unplaced, match="every answer"):
        trial(rule("{feature: scam, in: answer, above: 1000000 a day}"))
    with pytest.raises(Unplaced, match="no loaded pack scores `scam`"):
        Trial(rule(), UnitNormal(("deception",)))
