"""`tests:` of a rule: what they may say, and what is wrong with them, at its exact place."""

from __future__ import annotations

from pathlib import Path

import pytest
from tested_rules import cases, rule

from dosimeter.detectors.reader import Reader
from dosimeter.rules.decide import Word
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.policy import NS
from dosimeter.rules.testing import cases as reading

HEAD = """version: 1
rules:
  - rule: r
    when: {score: scam + deception, in: answer, above: z 2, for: 4 tokens}
    status: draft
    severity: low
    summary: x
    tests:
"""
GOOD = '{answer: {scam: "3*4"}}'


def findings(tests: str) -> list[tuple[int, int, str, str | None]]:
    """(line within the tests, column, message, hint)."""
    reader = Reader()
    reading.read_tests(parse_rules(HEAD + tests).rules[0], reader)
    first = HEAD.count("\n")
    return [(f.place.line - first, f.place.column, f.message, f.hint) for f in reader.findings]


def test_all_that_a_test_can_say() -> None:
    one, two = cases(
        rule(
            tests="""
      - name: labelled
        labels: {tenant: acme, user: u}
        untrusted: {route: chat}
        model: m
        cancelled: true
        stream: [{answer: {scam: "3*4"}}]
        expect: [{at: answer 4}, {at: end of answer 1, exempt: true}]
      - name: several
        requests:
          - {stream: [{answer: {scam: "3*4"}}]}
          - {after: 10m, model: n, stream: [{answer: {scam: "3*4"}}]}
        expect: [{request: 2, decision: deduped}, {request: 1, at: answer 4, decision: notified}]"""
        )
    )
    (request,) = one.requests
    assert request.labels == {"tenant": "acme", "user": "u", "route": "chat"}
    assert request.trusted == {"tenant", "user"}
    assert (request.model, request.cancelled, request.after_ns) == ("m", True, 0)
    assert [(e.at, e.exempt, e.decision) for e in one.expect] == [
        ("answer 4", False, None),
        ("end of answer", True, None),
    ]
    assert [r.after_ns for r in two.requests] == [0, 600 * NS]
    assert [(e.request, e.at, e.decision) for e in two.expect] == [
        (2, None, "deduped"),
        (1, "answer 4", "notified"),
    ]
    assert [t.fires for t in (one, two)] == [True, True]


def test_a_rule_without_tests_has_none() -> None:
    assert cases(rule()) == ()


def test_every_decision_but_shadow_can_be_expected() -> None:
    """A draft is tested as if it were live, which `shadow` would hide."""
    assert {*reading.DECISIONS, "shadow"} == set(Word.__args__)  # type: ignore[attr-defined]


FAULTS = [  # the place of the complaint is marked with §
    (
        "      §5\n",
        "expected a list, found a number `5`",
        "start each member with `- `",
    ),
    (
        "      - §name: a\n        stream: []\n",
        "`expect` is missing",
        None,
    ),
    (
        '      - §stream: [{answer: {scam: "3*4"}}]\n        expect: []\n',
        "`name` is missing",
        None,
    ),
    (
        '      - {name: a, §strem: [{answer: {scam: "3*4"}}], expect: []}\n',
        "unknown key `strem`",
        "did you mean `stream`?",
    ),
    (
        '      - {name: a, stream: [{answer: {scam: "3*4"}}], expect: []}\n'
        '      - {name: §a, stream: [{answer: {scam: "3*4"}}], expect: []}\n',
        "test `a` stands twice, first at rules.yaml:9:16",
        "rename or remove one",
    ),
    (
        "      - {name: a, expect: [], stream: §[]}\n",
        "a stream without a token",
        'write what came, such as `- answer: {deception: "0*30"}`',
    ),
    (
        "      - {name: a, expect: [], stream: §[{gap: 3}]}\n",
        "a stream without a token",
        'write what came, such as `- answer: {deception: "0*30"}`',
    ),
    (
        '      - {name: a, expect: [], stream: [{§answr: {scam: "3*4"}}]}\n',
        "unknown key `answr`",
        "did you mean `answer`?",
    ),
    (
        '      - {name: a, expect: [], stream: [{answer: {§scma: "3*4"}}]}\n',
        "the rule does not read `scma`",
        "did you mean `scam`?",
    ),
    (
        '      - {name: a, expect: [], stream: [{answer: {scam: "3*4 §4,1*2"}}]}\n',
        "`4,1*2` is no run of scores",
        "write `3.2*20` for 20 tokens at 3.2 sd, `?*3` for 3 not scored, `0..4*10` for a ramp",
    ),
    (
        "      - {name: a, expect: [], stream: [{answer: {scam: §[3, 4]}}]}\n",
        "expected text, found a list",
        None,
    ),
    (
        '      - {name: a, expect: [], stream: [{answer: §"3*4"}]}\n',
        "expected runs of scores by feature, found text `3*4`",
        'write `{deception: "3.2*20"}`',
    ),
    (
        '      - {name: a, expect: [], stream: [§{gap: 1, answer: {scam: "3*4"}}]}\n',
        "an entry of `gap`, `answer`",
        "one scope an entry, in the order in which they came: start the next one with `- `",
    ),
    (
        "      - {name: a, expect: [], stream: [{gap: §0}]}\n",
        "`0` is out of range",
        "from 1 to 100000",
    ),
    (
        "      - {name: a, expect: [], stream: [{fixture: §missing.safetensors}]}\n",
        "`missing.safetensors`: cannot be read: no such file or directory",
        None,
    ),
    (
        '      - {name: a, expect: [], stream: [{answer: {scam: "0*60000"}}, §{answer: {scam: "0*60000"}}]}\n',
        "the stream becomes too long",
        "at most 100000 tokens",
    ),
    (
        '      - {name: a, expect: [], labels: {§tenat: x}, stream: [{answer: {scam: "3*4"}}]}\n',
        "unknown key `tenat`",
        "did you mean `tenant`?",
    ),
    (
        '      - {name: a, expect: [], labels: {user: §5}, stream: [{answer: {scam: "3*4"}}]}\n',
        "expected text, found a number `5`",
        'put it in quotes: "5"',
    ),
    (
        '      - {name: a, expect: [], labels: {user: x}, untrusted: {§user: y}, stream: [{answer: {scam: "3*4"}}]}\n',
        "label `user` is trusted and untrusted",
        "keep one",
    ),
    (
        '      - {name: a, expect: [], cancelled: §yes, stream: [{answer: {scam: "3*4"}}]}\n',
        "expected true or false, found text `yes`",
        "YAML 1.2 has only these two: `yes`, `on`, `no` and `off` are text",
    ),
    (
        '      - {name: a, stream: [{answer: {scam: "3*4"}}], expect: §none}\n',
        "expected a list, found text `none`",
        "`[]` where the rule must not fire; else one `- at: answer 16` for each hit",
    ),
    (
        '      - {name: a, stream: [{answer: {scam: "3*4"}}], expect: [§{}]}\n',
        "`at` is missing",
        None,
    ),
    (
        '      - {name: a, stream: [{answer: {scam: "3*4"}}], expect: [{at: §token 4}]}\n',
        "`token` is no scope",
        "known here: `answer`, `history`, `message`, `reasoning`, `system`, `tool`",
    ),
    (
        '      - {name: a, stream: [{answer: {scam: "3*4"}}], expect: [{at: §answer 0}]}\n',
        "`answer 0` is no place in a stream",
        "write `answer 16` for the 16th token of the request's answers, or `end of answer`",
    ),
    (
        '      - {name: a, stream: [{answer: {scam: "3*4"}}], expect: [{at: answer 4, §decision: deduped}]}\n',
        "unknown key `decision`",
        "known here: `exempt`",
    ),
    (
        "      - {name: a, requests: [{stream: [{answer: {scam: 3}}]}], expect: [{request: §2, decision: deduped}]}\n",
        "`2` is out of range",
        "from 1 to 1",
    ),
    (
        "      - {name: a, requests: [{stream: [{answer: {scam: 3}}]}], expect: [{request: 1, decision: §dedupd}]}\n",
        "`dedupd` is not one of the allowed words",
        "did you mean `deduped`? (`notified`, `deduped`, `limited`, `silenced`, `exempt`)",
    ),
    (
        '      - {name: a, requests: [{after: §soon, stream: [{answer: {scam: "3*4"}}]}], expect: []}\n',
        "`soon` is no length of time",
        "write `90s`, `10m`, `2h` or `1d`, since the request before",
    ),
    (
        '      - {name: a, requests: [{after: §401d, stream: [{answer: {scam: "3*4"}}]}], expect: []}\n',
        "`401d` is out of range",
        "at most 400d",
    ),
    (
        "      - {name: a, requests: §[], expect: []}\n",
        "0 requests",
        "from 1 to 1000",
    ),
    (
        '      - {name: a, §model: m, requests: [{stream: [{answer: {scam: "3*4"}}]}], expect: []}\n',
        "`model` beside `requests`",
        "write it in each of the `requests`",
    ),
]


@pytest.mark.parametrize(("marked", "message", "hint"), FAULTS)
def test_what_is_wrong_is_said_at_its_place(marked: str, message: str, hint: str | None) -> None:
    before = marked.partition("§")[0]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert findings(marked.replace("§", ""))[0] == (line, column, message, hint)


@pytest.mark.parametrize("name", ["/etc/passwd", "../other/f.safetensors"])
def test_a_fixture_lies_beside_its_rule(name: str) -> None:
    ((_, column, message, _),) = findings(
        f"      - {{name: a, expect: [], stream: [{{fixture: {name}}}]}}\n"
    )
    assert (column, message) == (50, f"`{name}` lies elsewhere")


def test_a_name_may_not_act_on_a_terminal() -> None:
    ((line, column, message, _),) = findings(
        f'      - {{name: "a\\x1b[31m", stream: [{GOOD}], expect: []}}\n'
    )
    assert (line, column) == (1, 16)
    assert message == "control character `\\x1b`"


def test_the_tests_of_one_rule_are_bounded_together() -> None:
    """A file of a megabyte must not become gigabytes of codes."""
    many = "".join(
        f'      - {{name: a{i}, stream: [{{answer: {{scam: "0*100000"}}}}], expect: []}}\n'
        for i in range(12)
    )
    ((line, _, message, _),) = findings(many)
    assert (line, message) == (11, "the tests of this rule are too long")


def test_fixtures_are_looked_for_beside_the_rule_file(tmp_path: Path) -> None:
    reader = Reader()
    text = HEAD + "      - {name: a, expect: [], stream: [{fixture: sub/none.safetensors}]}\n"
    one = parse_rules(text, str(tmp_path / "rules.yaml")).rules[0]
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "none.safetensors").write_bytes(b"")
    assert reading.read_tests(one, reader) == ()
    assert "not a readable safetensors file" in reader.findings[0].message
