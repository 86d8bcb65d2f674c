"""What an analyst reads of failed tests is tested, not wished for."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tested_rules import LONG, rule

from dosimeter.rules.language.schema import load_rules
from dosimeter.rules.testing.tested import Tested, run_tests
from dosimeter.rules.testing.tested_text import as_json, as_text, score_of

GOLDEN = Path(__file__).parents[2] / "golden" / "rules"


def golden() -> list[Tested]:
    return run_tests(load_rules([GOLDEN / "failing.yaml"]).rules, mutants=True)


def test_every_outcome_is_worded_as_in_the_golden_file() -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/rules/testing/test_tested_text.py` refreshes it; review the diff."""
    text = as_text(golden()).replace(str(GOLDEN) + "/", "")
    path = GOLDEN / "failing.txt"
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_json_says_what_the_text_says() -> None:
    body = json.loads(as_json(golden()))
    assert (body["passed"], body["failed"]) == (2, 7)
    assert as_text(golden()).splitlines()[-1].startswith("2 passed, 7 failed")
    rules = {one["rule"]: one for one in body["rules"]}
    silent = rules["silent"]["tests"][0]
    assert silent["name"] == "not hot enough"
    assert (silent["line"], silent["column"], silent["passed"]) == (21, 15, False)
    assert (silent["expected"], silent["happened"]) == (["answer 30"], [])
    assert len(silent["conditions"]) == 1
    assert rules["unplaced"]["tests"] == []
    assert "every answer" in rules["unplaced"]["unplaced"]
    missed = rules["untested"]["mutants"]
    assert (missed["noticed"], missed["counted"]) == (0, len(missed["missed"]))
    assert missed["tests"].startswith("      - name:")
    assert body["mutants"]["counted"] == 7 + missed["counted"]


def test_the_share_is_of_all_changes_of_all_rules() -> None:
    tests = '[{name: a, stream: [{answer: {scam: "2.05*4"}}], expect: [{at: answer 4}]}]'
    both = [rule(LONG, tests, name="a"), rule(LONG, name="b")]
    tested = run_tests(both, mutants=True)
    # a: z 2.1, below, message, 3 tokens and 5 tokens of 7; b: none of 7
    assert score_of(tested) == 100 * 5 / 14
    assert score_of(run_tests(both)) is None
    assert "36 % of changes noticed" in as_text(tested)
