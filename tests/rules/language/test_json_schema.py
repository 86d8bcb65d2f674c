"""What an editor is told about rule files: it accepts all that lint accepts, and refuses what cannot be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from seeded_faults import BASE, FILES, RULE_FAULTS, SECOND, marked, with_lines, with_third
from surprises import FINE, SURPRISES

import dosimeter.rules
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.strict_yaml import load
from dosimeter.rules.language.json_pieces import ABOUT
from dosimeter.rules.language.json_schema import json_schema

PACKS = Path(dosimeter.rules.__path__[0]) / "packs"
DOCS = Path(__file__).parents[3] / "docs"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
STRUCTURAL = ("unknown-key", "missing-key", "kind", "owner")


def complaints(text: str) -> list[str]:
    data: Any = load(text, "f.yaml").plain()
    return [f"{list(e.absolute_path)}: {e.message[:200]}" for e in VALIDATOR.iter_errors(data)]


def test_it_is_a_schema_that_json_can_carry() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("path", sorted(PACKS.glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_rules_are_accepted(path: Path) -> None:
    assert complaints(path.read_text()) == []


def test_the_rules_of_the_documentation_are_accepted() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (DOCS / "rules.md").read_text(), re.M | re.S)
    files = [b for b in blocks if "\nrules:" in b and not b.startswith("# wrong")]
    assert files
    for text in files:
        assert complaints(text) == []


MORE = [
    "    when: {feature: scam, in: message, below: '1 in 1,000 messages', at-least: 4 of 8 tokens}",
    "    when: {score: max(scam), in: answer, above: 20 a day, average: last 4 tokens}",
    "    when: {feature: scam, in: answer, above: z -2.5, average: answer, min-tokens: 3, coverage: 80%}",
    "    when: {feature: scam, in: answer, above: 1 in  9   tokens, share: 20 % of answer}",
    "    when: {count: hits, of: [loud], more-than: 5, within: 1h}",
    "    when: {absent: scam, for: 5m, while: requests}",
    "    when: {shift: scam, in: answer}",
    "    clear: {above: z 1, for: 1 token}",
    "    labels: {team: trust}\n    limit: 50 per hour\n    runbook: https://a.example/x",
    "    tests: [{name: a, requests: [{stream: [{gap: 2}, {answer: {scam: 9}}]}, {after: 10m, "
    "labels: {tenant: x}, stream: [{fixture: a.json}]}], expect: [{request: 1, decision: notified}]}]",
]
ACCEPTED = [*FINE, *(text.replace("‸", "") for _, _, text in SURPRISES), *MORE]


def test_the_rule_that_faults_are_put_into_is_accepted() -> None:
    assert complaints(BASE) == []


@pytest.mark.parametrize("lines", ACCEPTED, ids=[f.strip()[:100] for f in ACCEPTED])
def test_what_can_be_read_is_accepted(lines: str) -> None:
    assert complaints(with_lines(lines)) == []


STRUCTURES = [with_lines(fault) for code, fault in RULE_FAULTS if code in STRUCTURAL]
STRUCTURES += [with_third(when) for code, when in SECOND if code in STRUCTURAL]
STRUCTURES += [text for code, text in FILES if code in STRUCTURAL]


@pytest.mark.parametrize("text", STRUCTURES)
def test_a_fault_of_structure_is_refused(text: str) -> None:
    try:
        assert complaints(marked(text)[0])
    except InputError:
        pytest.fail("this one is not even YAML: it belongs to no kind of structure")


def test_most_values_that_are_wrong_are_refused_as_well() -> None:
    """What only a reader can know stays lint's: names, dates that exist, which of two levels is looser."""
    others = [(code, text) for code, text in RULE_FAULTS if code not in STRUCTURAL]
    accepted = [code for code, text in others if not complaints(marked(with_lines(text))[0])]
    lint_only = {
        "level", "shape", "score", "condition", "unknown-signal", "unknown-list", "clear", "control",
        "summary-field", "duplicate-id", "duplicate", "date", "repeat-after", "limit", "quiet",
        "label", "duplicate-test", "unknown-feature", "runs", "at", "value",
    }  # fmt: skip
    assert set(accepted) <= lint_only
    assert len(accepted) < len(others) / 2


def test_every_key_of_a_rule_and_a_condition_has_a_line_for_people() -> None:
    schema = json_schema()
    for keys in (schema, schema["$defs"]["rule"], schema["$defs"]["condition"]):
        for key, value in keys["properties"].items():
            assert value["description"] == ABOUT[key]
