"""Rules over hits and over the monitor are read as they stand, and what is wrong is said where it stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from dosimeter.detectors.findings import Finding, InputError
from dosimeter.detectors.frames import Scope
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.language.second import SecondRule, running
from dosimeter.rules.language.watching import Absent, Shift
from dosimeter.rules.linting.lint import lint

RULE = """version: 1
rules:
  - rule: scam
    when: {feature: scam, in: message, above: 1 in 1000 messages}
    status: live
    severity: medium
    owner: ts
    summary: "scam"
  - rule: second
    when: WHEN
    status: live
    severity: high
    owner: sre
    summary: "SUMMARY"
"""
COUNT = "{count: conversations, of: [scam, deception], more-than: 5, within: 60m}"
ABSENT = "{absent: deception, for: 5m, while: requests}"
SHIFT = "{shift: deception, in: answer}"


def text(when: str, more: str = "", summary: str = "{rule}") -> str:
    return RULE.replace("WHEN", when).replace("SUMMARY", summary) + more


def second(when: str, more: str = "", summary: str = "{rule}") -> SecondRule:
    ruleset = parse_rules(text(when, more, summary), "r.yaml")
    assert [rule.id for rule in ruleset.rules] == ["scam"]
    (rule,) = ruleset.second
    return rule


def wrong(when: str, more: str = "", summary: str = "{rule}") -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_rules(text(when, more, summary), "r.yaml")
    return [
        f"{f.place.line}:{f.place.column} {f.message} | {f.hint}" for f in caught.value.findings
    ]


def test_each_form_is_read_as_it_was_written() -> None:
    assert second(COUNT).when == Count("conversations", ("deception", "scam"), 5, 3600)
    assert second(ABSENT).when == Absent("deception", 300)
    assert second(SHIFT).when == Shift("deception", Scope.ANSWER)


@pytest.mark.parametrize("when", [COUNT, ABSENT, SHIFT])
def test_what_says_the_same_has_the_same_digest_and_reads_back(when: str) -> None:
    rule = second(when, "    repeat-after: 60m\n")
    assert rule.as_json()["repeat-after"] == "1h"
    again = second(str(rule.as_json()["when"]).replace("'", '"'), "    repeat-after: 1h\n")
    assert (again, again.sha256) == (rule, rule.sha256)
    assert second(when).sha256 != rule.sha256


def test_the_order_of_what_is_counted_does_not_matter() -> None:
    turned = COUNT.replace("scam, deception", "deception, scam").replace("60m", "1h")
    assert second(turned).sha256 == second(COUNT).sha256


def test_what_runs_is_in_shadow_or_live_and_has_not_expired() -> None:
    rule = second(COUNT, "    expires: 2027-02-28\n")
    rules = [replace(rule, status=status) for status in ("draft", "shadow", "live", "retired")]
    assert [r.status for r in running(rules, date(2027, 2, 28))] == ["shadow", "live"]
    assert running(rules, date(2027, 3, 1)) == ()


def test_ids_are_unique_among_all_rules() -> None:
    with pytest.raises(InputError, match="rule `scam` stands twice"):
        parse_rules(
            text(COUNT.replace("scam, deception", "x")).replace("rule: second", "rule: scam")
        )


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("{count: hit, of: [scam], more-than: 5, within: 1h}",
         "10:19 `hit` is not one of the allowed words | did you mean `hits`?"),
        ("{cuont: hits, of: [scam], more-than: 5, within: 1h}",
         "10:12 unknown key `cuont` | did you mean `count`?"),
        ("{count: hits, of: [], more-than: 5, within: 1h}", "10:29 `of` 0 rules | name from 1 to 64"),
        ("{count: hits, of: [second], more-than: 5, within: 1h}",
         "10:30 `second` cannot count itself | name other rules"),
        ("{count: hits, of: [scam, scam], more-than: 5, within: 1h}",
         "10:36 `scam` stands twice | remove one"),
        ("{count: hits, of: [S cam], more-than: 5, within: 1h}", "10:30 `S cam` is not a rule id"),
        ("{count: hits, of: [scam], more-than: 0, within: 1h}",
         "10:48 `0` is out of range | from 1 to 1000"),
        ("{count: hits, of: [scam], more-than: 5, within: 1 hour}",
         "10:59 `1 hour` is no length of time | a number with its unit"),
        ("{count: hits, of: [scam], more-than: 5}", "10:11 `within` is missing"),
        ("{absent: deception, for: 5, while: requests}", "10:36 `5` is no length of time"),
        ("{absent: deception, for: 5m}", "10:11 `while` is missing"),
        ("{absent: deception, for: 5m, while: always}",
         "10:47 `always` is not one of the allowed words | known here: `requests`"),
        ("{shift: deception, in: history}", "10:34 `history` is not one of the allowed words"),
        ("{shift: deception}", "10:11 `in` is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_stands(when: str, said: str) -> None:
    (found,) = wrong(when)
    assert found.startswith(said)


def test_a_summary_says_what_such_a_rule_knows() -> None:
    by = "    group-by: [tenant]\n"
    assert second(COUNT, by, "{count} {counted} in {within} of {tenant}")
    (found,) = wrong(COUNT, "", "{tenant}")  # it is not grouped by it
    assert found.startswith("14:14 unknown field `{tenant}` in `summary`")
    assert "unknown field `{value}`" in wrong(COUNT, by, "{value}")[0]
    assert second(ABSENT, "", "{feature} for {for}, {tokens} tokens of {model}")
    assert second(SHIFT, "", "{feature} in {scope} {direction} of {model}, {requests} requests")


@pytest.mark.parametrize(
    ("when", "more", "said"),
    [
        (COUNT, "    clear: {below: z 1, for: 2 tokens}\n", "`clear` in a rule with `count`"),
        (ABSENT, "    tests: []\n", "`tests` of a rule with `absent`"),
        (ABSENT, "    group-by: [tenant]\n", "`group-by` by `tenant` in a rule with `absent`"),
        (SHIFT, "    only: {route: r}\n", "`only` by `route` in a rule with `shift`"),
        (SHIFT, "    unless: [{user: u, reason: r, by: b, until: 2027-01-01}]\n",
         "`unless` by `user` in a rule with `shift`"),
    ],
)  # fmt: skip
def test_a_key_that_means_nothing_there_is_refused(when: str, more: str, said: str) -> None:
    (found,) = wrong(when, more)
    assert said in found


def test_a_server_can_be_named_by_its_model() -> None:
    assert second(ABSENT, "    only: {model: m}\n    group-by: [model]\n")


def linted(tmp_path: Path, written: str, replicas: int = 1) -> list[Finding]:
    path = tmp_path / "r.yaml"
    path.write_text(written)
    ours = {
        "unknown-rule",
        "count-of",
        "count-never",
        "replicas",
        "unknown-feature",
        "scope-unseen",
    }
    found = lint([path], ["scam", "deception"], replicas=replicas)
    return [finding for finding in found if finding.code in ours]


def test_lint_knows_whom_a_count_counts(tmp_path: Path) -> None:
    count = "{count: hits, of: [scan], more-than: 5, within: 1h}"
    (found,) = linted(tmp_path, text(count))
    assert (found.code, found.place.line, found.place.column) == ("unknown-rule", 10, 30)
    assert (found.hint or "").startswith("did you mean `scam`?")
    known = count.replace("scan", "scam")
    assert linted(tmp_path, text(known)) == []
    for status in ("shadow", "draft"):
        (found,) = linted(tmp_path, text(known).replace("status: live", f"status: {status}", 1))
        assert (found.code, found.severity) == ("count-never", "warning")
    other = "  - {rule: o, when: %s, status: draft, severity: low, summary: x}\n"
    (found,) = linted(tmp_path, text(known) + other % count.replace("scan", "second"))
    assert (found.code, found.severity, found.place.line) == ("count-of", "error", 15)


def test_a_count_on_several_replicas_is_an_error(tmp_path: Path) -> None:
    known = "{count: hits, of: [scam], more-than: 5, within: 1h}"
    (found,) = linted(tmp_path, text(known), replicas=2)
    assert (found.code, found.severity) == ("replicas", "error")
    assert (found.place.line, found.place.column) == (10, 19)
    assert linted(tmp_path, text(ABSENT), replicas=2) == []


def test_lint_knows_what_nobody_scores(tmp_path: Path) -> None:
    for when in (ABSENT, SHIFT):
        (found,) = linted(tmp_path, text(when.replace("deception", "deceptoin")))
        assert (found.code, found.place.line, found.place.column) == (
            "unknown-feature",
            10,
            20 if when is ABSENT else 19,
        )
    (found,) = linted(tmp_path, text("{shift: scam, in: reasoning}"))
    assert found.code == "scope-unseen"
