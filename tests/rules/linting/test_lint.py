"""Lint is where an analyst learns the language, so its wording is tested, not wished for."""

from __future__ import annotations

import io
import json
import os
from datetime import date
from pathlib import Path

import dosimeter.rules
from dosimeter.rules.linting.lint import CLEAN, FINDINGS, USAGE, lint, lint_command

GOLDEN = Path(__file__).parents[2] / "golden" / "rules"
PACKS = Path(dosimeter.rules.__path__[0]) / "packs"
FEATURES = ("deception", "sycophancy", "scam", "defection", "scam_warning")

CLEAN_RULE = """version: 1
rules:
  - rule: r{n}
    when: {{feature: scam, in: answer, above: 1 in 1000 answers, average: 32 tokens}}
    status: {status}
    severity: high
    summary: "x"
    tests:
      - {{name: hot, stream: [{{answer: {{scam: 9*32}}}}], expect: [{{at: answer 32}}]}}
      - {{name: calm, stream: [{{answer: {{scam: 1*99}}}}], expect: []}}
"""
DAY = date(2027, 1, 1)


def run(*paths: Path, as_json: bool = False) -> tuple[int, str]:
    out = io.StringIO()
    return lint_command(paths, as_json, out, FEATURES, DAY), out.getvalue()


def test_every_kind_of_fault_is_worded_as_in_the_golden_file() -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/rules/linting/test_lint.py` refreshes it; review the diff."""
    code, text = run(GOLDEN / "lint.yaml")
    text = text.replace(str(GOLDEN) + "/", "")
    golden = GOLDEN / "lint.txt"
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        golden.write_text(text)
    assert code == FINDINGS
    assert text == golden.read_text()


def test_shipped_rules_have_no_finding() -> None:
    assert lint([PACKS], FEATURES, DAY) == []


def test_json_carries_the_same_findings_as_the_text() -> None:
    _, text = run(GOLDEN / "lint.yaml")
    code, written = run(GOLDEN / "lint.yaml", as_json=True)
    findings = json.loads(written)["findings"]
    assert code == FINDINGS
    assert sum(line.startswith(str(GOLDEN)) for line in text.splitlines()) == len(findings)
    for finding in findings:
        place = f"{finding['file']}:{finding['line']}:{finding['column']}"
        said = f"{place}: {finding['severity']}: {finding['message']} [{finding['code']}]"
        assert said in text
        assert finding["hint"] is None or f"hint: {finding['hint']}" in text


def test_nothing_to_lint_is_a_usage_error() -> None:
    code, text = run()
    assert code == USAGE
    assert "no rule file given" in text


def test_notes_alone_do_not_fail(tmp_path: Path) -> None:
    """A draft is listed, so that nobody takes it for a rule that runs; it is not a fault."""
    (tmp_path / "r.yaml").write_text(CLEAN_RULE.format(n=1, status="draft"))
    code, text = run(tmp_path)
    assert code == CLEAN
    assert "rule `r1` is `draft`: it does not run" in text
    assert text.endswith("1 note\n")


def test_a_clean_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(CLEAN_RULE.format(n=1, status="shadow"))
    assert run(tmp_path) == (CLEAN, "nothing to change\n")


def test_without_a_registry_features_are_not_judged() -> None:
    assert "unknown-feature" not in {f.code for f in lint([GOLDEN / "lint.yaml"])}


def test_a_path_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    code, text = run(tmp_path / "absent.yaml")
    assert code == FINDINGS
    assert "cannot be read: no such file or directory" in text


def test_what_a_wrong_file_does_not_use_is_not_held_against_it(tmp_path: Path) -> None:
    """The rule that is wrong may be the one that uses it."""
    text = CLEAN_RULE.format(n=1, status="shadow") + "lists: {ours: [acme]}\n"
    (tmp_path / "r.yaml").write_text(text)
    assert [f.code for f in lint([tmp_path])] == ["unused"]
    (tmp_path / "r.yaml").write_text(text.replace("shadow", "shaddow"))
    assert [f.code for f in lint([tmp_path])] == ["status"]
