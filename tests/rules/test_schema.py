"""A rule file says exactly one thing, or is refused at the character that is wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import Shape
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import load
from dosimeter.rules.schema import Rule, load_rules, parse_rules, read_rules

RULE = """
version: 1
rules:
  - rule: deceptive-answer
    when: {feature: deception, in: answer, above: 1 in 1000 answers, average: 32 tokens}
    status: live
    severity: high
    owner: trust-and-safety
    summary: "{feature} reached {value} sd"
    runbook: https://runbooks.example/deception
"""


def one(text: str = RULE) -> Rule:
    (rule,) = parse_rules(text).rules
    return rule


def test_a_rule_is_read_as_it_was_written() -> None:
    rule = one()
    assert (rule.id, rule.status, rule.severity) == ("deceptive-answer", "live", "high")
    assert (rule.owner, rule.runbook) == ("trust-and-safety", "https://runbooks.example/deception")
    assert (rule.when.feature, rule.when.scope, rule.when.direction) == (
        "deception",
        Scope.ANSWER,
        1,
    )
    assert (rule.when.level.noun, rule.when.level.value) == ("answers", Fraction(1000))
    assert rule.when.shape == Shape("average", 32)
    assert str(rule.place) == "rules.yaml:4:11"
    assert str(rule.places["when.above"]) == "rules.yaml:5:51"


@pytest.mark.parametrize(
    ("shape", "meant"),
    [
        ("", Shape("once")),
        (", for: 16 tokens", Shape("for", 16)),
        (", for: 1 token", Shape("for", 1)),
        (", average: 4096 tokens", Shape("average", 4096)),
        (", average: answer", Shape("average_scope")),
        (", average: last 4 tokens", Shape("average_last", 4)),
        (", at-least: 4 of 8 tokens", Shape("at_least", 8, 4)),
        (", at-least: 1 of 1 token", Shape("at_least", 1, 1)),
    ],
)
def test_each_shape_means_what_it_says(shape: str, meant: Shape) -> None:
    assert one(RULE.replace(", average: 32 tokens", shape)).when.shape == meant


@pytest.mark.parametrize(
    ("level", "scope"),
    [
        ("above: 1 in 1000 messages", "message"),
        ("above: 20 a day", "answer"),
        ("above: 1 in 10000 tokens", "answer"),
        ("above: z 2", "tool"),
        ("below: z -2.5", "reasoning"),
        ("below: 1 in 500 answers", "system"),
    ],
)
def test_every_level_of_the_language_is_accepted(level: str, scope: str) -> None:
    text = RULE.replace("above: 1 in 1000 answers", level).replace("in: answer", f"in: {scope}")
    rule = one(text)
    assert rule.when.direction == (1 if level.startswith("above") else -1)
    assert rule.when.level.text == level.split(": ")[1]


# The character after ‸ is where the finding must point.
FAULTS = [
    ("unknown-key", "    ‸ownr: x"),
    ("unknown-key", "    ‸unless: []"),
    ("unknown-key", "    when: {feature: f, in: answer, above: z 2, ‸averge: 3 tokens}"),
    ("missing-key", "    when: ‸{in: answer, above: z 2}"),
    ("missing-key", "    when: ‸{feature: f, above: z 2}"),
    ("level", "    when: ‸{feature: f, in: answer}"),
    ("level", "    when: ‸{feature: f, in: answer, above: z 2, below: z 1}"),
    ("level", "    when: {feature: f, in: answer, above: ‸0.93}"),
    ("level", "    when: {feature: f, in: answer, above: ‸2}"),
    ("level", "    when: {feature: f, in: answer, above: ‸1 in 1000}"),
    ("level", "    when: {feature: f, in: answer, above: ‸1 in 1000 users}"),
    ("level", "    when: {feature: f, in: answer, above: ‸1 in 1 answers}"),
    ("level", "    when: {feature: f, in: answer, above: ‸1 in 1000 messages}"),
    ("level", "    when: {feature: f, in: message, above: ‸1 in 1000 answers}"),
    ("level", "    when: {feature: f, in: answer, above: ‸99 %}"),
    ("level", "    when: {feature: f, in: answer, above: ‸z 500}"),
    ("level", "    when: {feature: f, in: answer, above: ‸1 in 9 tokens, average: answer}"),
    ("kind", "    when: {feature: f, in: answer, above: ‸[z 2]}"),
    ("scope", "    when: {feature: f, in: ‸anser, above: z 2}"),
    ("scope", "    when: {feature: f, in: ‸history, above: z 2}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, for: ‸16}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, for: ‸0 tokens}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, for: ‸4097 tokens}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, for: ‸answer}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, for: ‸16 tok}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, average: ‸message}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, average: ‸32 seconds}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, average: ‸last 0 tokens}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, at-least: ‸9 of 8 tokens}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, at-least: ‸0 of 8 tokens}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, at-least: ‸4 of 65 tokens}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, at-least: ‸4 tokens}"),
    (
        "shape",
        "    when: {feature: f, in: answer, above: z 2, for: 2 tokens, at-least: ‸1 of 2 tokens}",
    ),
    ("level", "    when: {feature: f, in: answer, above: ‸1 in 9 tokens, average: last 2 tokens}"),
    ("shape", "    when: {feature: f, in: answer, above: z 2, for: 2 tokens, average: ‸2 tokens}"),
    ("kind", "    when: ‸f above z 2"),
    ("kind", "    when: {feature: ‸12, in: answer, above: z 2}"),
    ("status", "    status: ‸alive"),
    ("kind", "    status: ‸true"),
    ("severity", "    severity: ‸hgih"),
    ("kind", "    owner: ‸12"),
    ("kind", "    owner:‸"),
    ("value", '    owner: ‸""'),
    ("summary-field", '    summary: ‸"{tennant} did it"'),
    ("summary-field", '    summary: ‸"{user} did it"'),
    ("summary-field", '    summary: ‸"{} did it"'),
    ("summary-field", '    summary: ‸"a } brace"'),
    ("summary-field", '    summary: ‸"{value!r}"'),
    ("value", "    runbook: ‸javascript:alert(1)"),
    ("rule-id", "  - rule: ‸Bad_Name"),
    ("kind", "  - rule: ‸{no: x}"),
    ("kind", "  - rule: ‸1"),
]


@pytest.mark.parametrize(("code", "fault"), FAULTS, ids=[f.strip() for _, f in FAULTS])
def test_a_fault_is_reported_where_it_stands(code: str, fault: str) -> None:
    """One fault in a file that is right otherwise: one finding, at the marked character."""
    key = fault.replace("‸", "").split(":")[0]
    lines = RULE.splitlines()
    at = next((i for i, line in enumerate(lines) if line.split(":")[0] == key), None)
    if at is None:
        at = len(lines)
        lines.append("")
    lines[at] = fault
    marked = "\n".join(lines)
    before = marked[: marked.index("‸")]
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    with pytest.raises(InputError) as caught:
        parse_rules(marked.replace("‸", ""))
    assert [(f.code, (f.place.line, f.place.column)) for f in caught.value.findings] == [
        (code, place)
    ]


@pytest.mark.parametrize("key", ["rule", "when", "status", "severity", "summary"])
def test_a_key_that_every_rule_needs_is_missed(key: str) -> None:
    lines = [line for line in RULE.splitlines() if not line.strip().startswith(f"{key}:")]
    text = "\n".join(lines)
    if key == "rule":
        text = RULE.replace("  - rule: deceptive-answer\n    when", "  - when")
    with pytest.raises(InputError, match=f"`{key}` is missing"):
        parse_rules(text)


def test_a_live_rule_needs_an_owner_and_a_shadow_rule_does_not() -> None:
    text = RULE.replace("    owner: trust-and-safety\n", "")
    with pytest.raises(InputError, match="`live` without `owner`"):
        parse_rules(text)
    assert one(text.replace("status: live", "status: shadow")).owner == ""


def test_a_file_of_another_version_is_refused() -> None:
    for version in ("2", '"1"', "1.0", "[1]"):
        with pytest.raises(InputError, match="rule file version"):
            parse_rules(RULE.replace("version: 1", f"version: {version}"))


def test_all_faults_of_all_files_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULE.replace("high", "hgih").replace("live", "lvie"))
    (tmp_path / "b.yaml").write_text("version: 1\nrules: [\n")
    (tmp_path / "c.yaml").write_text(RULE.replace("in: answer", "in: anwser"))
    with pytest.raises(InputError) as caught:
        load_rules([tmp_path])
    found = [(Path(f.place.name).name, f.code) for f in caught.value.findings]
    assert found == [
        ("a.yaml", "status"),
        ("a.yaml", "severity"),
        ("b.yaml", "syntax"),
        ("c.yaml", "scope"),
    ]


def test_an_id_is_unique_over_all_files(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(RULE)
    with pytest.raises(InputError) as caught:
        load_rules([tmp_path])
    (finding,) = caught.value.findings
    assert finding.code == "duplicate-id"
    assert finding.place.name.endswith("b.yaml")
    assert "a.yaml:4:11" in finding.message


def test_an_empty_folder_is_a_finding_not_an_empty_ruleset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rule file in this folder"):
        load_rules([tmp_path])


def test_rules_that_say_the_same_have_the_same_digest_however_they_are_written() -> None:
    spread = """
# a comment
rules:
  - severity: "high"
    status: live
    summary: '{feature} reached {value} sd'
    owner: >-
      trust-and-safety
    runbook: https://runbooks.example/deception
    when:
      average: 32 tokens
      above: 1 in  1000   answers
      in: answer
      feature: deception
    rule: deceptive-answer
version: 1
"""
    assert one(spread).sha256 == one().sha256
    assert one(spread) == one()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1000", "1001"),
        ("32", "31"),
        ("average: 32 tokens", "for: 32 tokens"),
        ("above", "below"),
        ("status: live", "status: shadow"),
        ("severity: high", "severity: low"),
        ("reached", "got to"),
        ("runbooks.example", "other.example"),
        ("feature: deception", "feature: scam"),
    ],
)
def test_a_rule_that_says_something_else_has_another_digest(old: str, new: str) -> None:
    assert one(RULE.replace(old, new)).sha256 != one().sha256


def test_a_rule_that_is_wrong_does_not_hide_the_others() -> None:
    """Lint goes on with what can be read."""
    reader = Reader()
    text = RULE + RULE.split("rules:\n")[1].replace("high", "hgih").replace("deceptive", "other")
    assert [r.id for r in read_rules(load(text, "f.yaml"), reader)] == ["deceptive-answer"]
    assert [f.code for f in reader.findings] == ["severity"]
