"""A rule file says exactly one thing, or is refused at the character that is wrong."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import Shape
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import load
from dosimeter.rules.language.schema import Rule, load_rules, parse_rules, read_rules
from dosimeter.rules.language.when import When
from dosimeter.rules.policy import EVERYONE

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
WHEN = "    when: {feature: deception, in: answer, above: 1 in 1000 answers, average: 32 tokens}"


def one(text: str = RULE) -> Rule:
    (rule,) = parse_rules(text).rules
    return rule


def test_a_rule_is_read_as_it_was_written() -> None:
    rule = one()
    assert (rule.id, rule.status, rule.severity) == ("deceptive-answer", "live", "high")
    assert (rule.owner, rule.runbook) == ("trust-and-safety", "https://runbooks.example/deception")
    condition = rule.when.single
    assert condition is not None
    assert (condition.feature, condition.scope) == ("deception", Scope.ANSWER)
    assert (condition.direction, condition.score) == (1, None)
    assert (condition.level.noun, condition.level.value) == ("answers", Fraction(1000))
    assert condition.shape == Shape("average", 32)
    assert (rule.clear, rule.policy, rule.tests) == (None, EVERYONE, None)
    assert str(rule.place) == "rules.yaml:4:11"
    assert str(condition.places["above"]) == "rules.yaml:5:51"
    assert str(rule.places["summary"]) == "rules.yaml:9:14"


SHAPES = [
    ("", Shape("once"), {}),
    (", for: 16 tokens", Shape("for", 16), {"for": "16 tokens"}),
    (", for: 1 token", Shape("for", 1), {"for": "1 tokens"}),
    (", average: 4096 tokens", Shape("average", 4096), {"average": "4096 tokens"}),
    (", average: answer", Shape("average_scope"), {"average": "answer"}),
    (", average: last 4 tokens", Shape("average_last", 4), {"average": "last 4 tokens"}),
    (", at-least: 4 of 8 tokens", Shape("at_least", 8, 4), {"at-least": "4 of 8 tokens"}),
    (", at-least: 1 of 1 token", Shape("at_least", 1, 1), {"at-least": "1 of 1 tokens"}),
    (", share: 20 % of answer", Shape("share", 1, 20), {"share": "20 % of answer"}),
    (", share: 100% of answer", Shape("share", 1, 100), {"share": "100 % of answer"}),
    (
        ", average: answer, min-tokens: 30, coverage: 80 %",
        Shape("average_scope", least=30, coverage=80),
        {"average": "answer", "min-tokens": 30, "coverage": "80 %"},
    ),
    (
        ", share: 5 % of answer, min-tokens: 1",
        Shape("share", 1, 5, least=1),
        {"share": "5 % of answer", "min-tokens": 1},
    ),
]


@pytest.mark.parametrize(("shape", "meant", "canonical"), SHAPES, ids=[s[0] for s in SHAPES])
def test_each_shape_means_what_it_says(
    shape: str, meant: Shape, canonical: dict[str, object]
) -> None:
    """And the canonical form says it in one way, which reads back to the same."""
    rule = one(RULE.replace(", average: 32 tokens", shape))
    condition = rule.when.single
    assert condition is not None
    assert condition.shape == meant
    assert rule.as_json()["when"] == {
        "feature": "deception",
        "in": "answer",
        "above": "1 in 1000 answers",
        **canonical,
    }
    again = RULE.replace(WHEN, f"    when: {json.dumps(rule.as_json()['when'])}")
    assert one(again).sha256 == rule.sha256


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
    condition = one(text).when.single
    assert condition is not None
    assert condition.direction == (1 if level.startswith("above") else -1)
    assert condition.level.text == level.split(": ")[1]


A = "{feature: scam, in: answer, above: z 2}"
B = "{feature: deception, in: message, below: z -1, for: 3 tokens}"
A_JSON = {"feature": "scam", "in": "answer", "above": "z 2"}
B_JSON = {"feature": "deception", "in": "message", "below": "z -1", "for": "3 tokens"}


def when(text: str) -> When:
    return one(RULE.replace(WHEN, f"    when: {text}")).when


def shape_of(found: When) -> list[tuple[list[str], bool]]:
    """Features of each part, and whether it is negated."""
    return [([c.feature for c in part.conditions], part.negated) for part in found.parts]


@pytest.mark.parametrize(
    ("text", "parts", "canonical"),
    [
        (
            f"{{all: [{A}, {B}], within: 64 tokens}}",
            [(["scam"], False), (["deception"], False)],
            {"all": [A_JSON, B_JSON], "within": "64 tokens"},
        ),
        (
            f"{{all: [{A}, {{not: {B}}}]}}",
            [(["scam"], False), (["deception"], True)],
            {"all": [A_JSON, {"not": B_JSON}]},
        ),
        (f"{{any: [{A}, {B}]}}", [(["scam", "deception"], False)], {"any": [A_JSON, B_JSON]}),
        (
            f"{{all: [{{any: [{A}, {B}]}}, {A}]}}",
            [(["scam", "deception"], False), (["scam"], False)],
            {"all": [{"any": [A_JSON, B_JSON]}, A_JSON]},
        ),
        (
            f"{{all: [{A}, {{not: {{any: [{A}, {B}]}}}}]}}",
            [(["scam"], False), (["scam", "deception"], True)],
            {"all": [A_JSON, {"not": {"any": [A_JSON, B_JSON]}}]},
        ),
        (
            f"{{all: [{A}, {{not: {{not: {B}}}}}]}}",
            [(["scam"], False), (["deception"], False)],
            {"all": [A_JSON, B_JSON]},
        ),
        (
            f"{{sequence: [{B}, {{any: [{A}, {B}]}}], within: 1000000 tokens}}",
            [(["deception"], False), (["scam", "deception"], False)],
            {"sequence": [B_JSON, {"any": [A_JSON, B_JSON]}], "within": "1000000 tokens"},
        ),
    ],
)
def test_conditions_are_joined_as_they_are_written(
    text: str, parts: list[tuple[list[str], bool]], canonical: dict[str, object]
) -> None:
    found = when(text)
    assert shape_of(found) == parts
    assert found.kind == ("sequence" if "sequence" in text else "all")
    assert found.single is None
    assert found.as_json() == canonical
    assert when(json.dumps(canonical)) == found


def test_a_score_reads_the_features_it_names_and_has_one_way_of_being_written() -> None:
    condition = when("{score: 'max( scam,deception )*0.50', in: answer, above: z 2}").single
    assert condition is not None
    assert condition.features == ("scam", "deception")
    assert condition.feature == "max(scam, deception) * 0.5"
    assert condition.as_json() == {
        "score": "max(scam, deception) * 0.5",
        "in": "answer",
        "above": "z 2",
    }


def test_a_signal_is_the_condition_that_it_names_wherever_one_may_stand() -> None:
    """Its name is for people: rules that say the same have one digest, whatever their file calls things."""
    plain = RULE.replace(WHEN, f"    when: {{all: [{B}, {{any: [{A}, {B}]}}, {{not: {A}}}]}}")
    for name in ("calm", "x9"):
        signals = f"signals:\n  {name}: {A}\n  other: {B}\nrules:"
        ref = f"{{signal: {name}}}"
        text = f"{{all: [{{signal: other}}, {{any: [{ref}, {B}]}}, {{not: {ref}}}]}}"
        named = RULE.replace("rules:", signals).replace(WHEN, f"    when: {text}")
        assert one(named) == one(plain)
        assert one(named).sha256 == one(plain).sha256
    alone = RULE.replace("rules:", f"signals: {{s: {A}}}\nrules:")
    assert one(alone.replace(WHEN, "    when: {signal: s}")).when == when(A)


def test_a_list_stands_for_its_values() -> None:
    values = "    only: {tenant: [zeta, acme, beta]}\n"
    named = "    only: {tenant: [$ours, beta]}\n"
    for name in ("ours", "o2"):
        lists = f"lists:\n  {name}: [acme, zeta]\nrules:"
        text = RULE.replace("rules:", lists) + named.replace("ours", name)
        assert one(text).policy.only.as_json() == {"tenant": ["acme", "beta", "zeta"]}
        assert one(text).sha256 == one(RULE + values).sha256


@pytest.mark.parametrize(
    ("level", "calm", "direction", "side"),
    [
        ("above: 1 in 1000 answers", "below: 1 in 20 answers", -1, "below"),
        ("above: 20 a day", "below: 100 a day", -1, "below"),
        ("above: z 2.5", "below: z 1", -1, "below"),
        ("below: z -2.5", "above: z -1", 1, "above"),
        ("below: 1 in 500 answers", "above: 1 in 10 answers", 1, "above"),
    ],
)
def test_clear_is_calm_on_the_other_side_of_a_looser_level(
    level: str, calm: str, direction: int, side: str
) -> None:
    text = RULE.replace("above: 1 in 1000 answers", level)
    rule = one(text + f"    clear: {{{calm}, for: 32 tokens}}\n")
    assert rule.clear is not None
    assert (rule.clear.direction, rule.clear.n) == (direction, 32)
    assert rule.as_json()["clear"] == {side: calm.split(": ")[1], "for": "32 tokens"}
    assert rule.sha256 != one(text).sha256


def test_tests_belong_to_no_digest() -> None:
    """A rule stays what it is when someone writes another test for it."""
    tested = RULE + "    tests: [{name: quiet, stream: [], expect: []}]\n"
    assert one(tested).tests is not None
    assert one(tested).sha256 == one().sha256
    assert one(tested) == one()


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
        ("feature: deception", "score: deception"),
        ("average: 32 tokens", "at-least: 31 of 32 tokens"),
        ("average: 32 tokens", "share: 32 % of answer"),
        ("average: 32 tokens", "average: answer"),
        ("average: 32 tokens", "average: last 32 tokens"),
        ("average: 32 tokens", "average: answer, min-tokens: 32"),
        ("average: 32 tokens", "average: answer, coverage: 32 %"),
        (WHEN, f"    when: {{all: [{A}, {B}]}}"),
        (WHEN, f"    when: {{any: [{A}, {B}]}}"),
        (WHEN, f"    when: {{all: [{A}, {{not: {B}}}]}}"),
        (WHEN, f"    when: {{sequence: [{A}, {B}], within: 9 tokens}}"),
        ("    runbook", "    clear: {below: 1 in 9 answers, for: 2 tokens}\n    runbook"),
        ("    runbook", "    only: {tenant: acme}\n    runbook"),
        ("    runbook", "    limit: 5 per day\n    runbook"),
        ("    runbook", "    expires: 2027-01-31\n    runbook"),
        ("    runbook", "    labels: {team: trust}\n    runbook"),
    ],
)
def test_a_rule_that_says_something_else_has_another_digest(old: str, new: str) -> None:
    assert old in RULE
    assert one(RULE.replace(old, new)).sha256 != one().sha256


def test_no_two_ways_of_joining_the_same_conditions_have_one_digest() -> None:
    texts = [
        f"{{all: [{A}, {B}]}}",
        f"{{all: [{B}, {A}]}}",
        f"{{all: [{A}, {B}], within: 64 tokens}}",
        f"{{all: [{A}, {B}], within: 65 tokens}}",
        f"{{sequence: [{A}, {B}], within: 64 tokens}}",
        f"{{sequence: [{B}, {A}], within: 64 tokens}}",
        f"{{any: [{A}, {B}]}}",
        f"{{all: [{A}, {{not: {B}}}]}}",
        f"{{all: [{B}, {{not: {A}}}]}}",
        A,
        B,
    ]
    digests = {one(RULE.replace(WHEN, f"    when: {text}")).sha256 for text in texts}
    assert len(digests) == len(texts)


def test_a_rule_that_is_wrong_does_not_hide_the_others() -> None:
    """Lint goes on with what can be read."""
    reader = Reader()
    text = RULE + RULE.split("rules:\n")[1].replace("high", "hgih").replace("deceptive", "other")
    assert [r.id for r in read_rules(load(text, "f.yaml"), reader)] == ["deceptive-answer"]
    assert [f.code for f in reader.findings] == ["severity"]


def test_what_is_wrong_with_a_signal_or_a_list_is_said_once() -> None:
    """And not again at each rule that uses it."""
    text = RULE.replace("rules:", "signals: {s: {feature: f, in: answer, above: 2}}\nrules:", 1)
    with pytest.raises(InputError) as caught:
        parse_rules(text.replace(WHEN, "    when: {signal: s}"))
    assert [f.code for f in caught.value.findings] == ["level"]
    text = RULE.replace("rules:", "lists: {l: [acme, acme]}\nrules:", 1)
    with pytest.raises(InputError) as caught:
        parse_rules(text + "    only: {tenant: $l}\n")
    assert [f.code for f in caught.value.findings] == ["duplicate"]


def test_a_wrong_condition_does_not_turn_the_side_of_clear() -> None:
    text = RULE.replace("above: 1 in 1000 answers", "below: z -x")
    with pytest.raises(InputError) as caught:
        parse_rules(text + "    clear: {above: z -1, for: 2 tokens}\n")
    assert [f.code for f in caught.value.findings] == ["level"]


def test_a_file_that_is_named_twice_is_told_as_that(tmp_path: Path) -> None:
    """It had been told to rename a rule that stands once."""
    file = tmp_path / "r.yaml"
    file.write_text(RULE)
    with pytest.raises(InputError, match="rule `deceptive-answer` is read twice") as caught:
        load_rules([tmp_path, file])
    assert [f.hint for f in caught.value.findings] == ["name its file, or its folder, once"]
