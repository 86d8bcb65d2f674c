"""The tests of many rules: which fail, and what a failed one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tested_rules import LONG, rule

from dosimeter.detectors.findings import InputError
from dosimeter.rules.language.schema import load_rules
from dosimeter.rules.testing.tested import explained, run_tests
from dosimeter.rules.testing.unit_normal import UnitNormal

GOLDEN = Path(__file__).parents[2] / "golden" / "rules" / "failing.yaml"
FILE = """version: 1
rules:
  - rule: {name}
    when: {{feature: scam, in: answer, above: z 2}}
    status: draft
    severity: low
    summary: x
    tests: {tests}
"""


def test_each_rule_has_its_own_outcome() -> None:
    tested = {one.rule.id: one for one in run_tests(load_rules([GOLDEN]).rules)}
    assert {name: one.good for name, one in tested.items()} == {
        "passes": True, "silent": False, "loud": False, "repeated": False, "untested": True,
        "unplaced": False,
    }  # fmt: skip
    assert [v.test.name for v in tested["loud"].failed] == [
        "nothing of the kind",
        "in another place",
    ]
    assert "every answer" in tested["unplaced"].unplaced
    assert all(one.mutation is None for one in tested.values())


def test_mutants_are_made_of_rules_that_pass() -> None:
    """Of a failing test nothing can be said: it fails for the changed rule too."""
    tested = {one.rule.id: one for one in run_tests(load_rules([GOLDEN]).rules, mutants=True)}
    changed = {name for name, one in tested.items() if one.mutation is not None}
    assert changed == {"passes", "untested"}


def test_a_file_with_wrong_tests_is_refused_as_a_whole(tmp_path: Path) -> None:
    """All that is wrong in it at once, and nothing run."""
    (tmp_path / "a.yaml").write_text(FILE.format(name="a", tests="[{name: a}]"))
    (tmp_path / "b.yaml").write_text(FILE.format(name="b", tests="[{nam: b, stream: 5}]"))
    with pytest.raises(InputError) as caught:
        run_tests(load_rules([tmp_path]).rules)
    assert [(Path(f.place.name).name, f.message) for f in caught.value.findings] == [
        ("a.yaml", "`expect` is missing"),
        ("a.yaml", "`stream` is missing"),
        ("b.yaml", "`expect` is missing"),
        ("b.yaml", "unknown key `nam`"),
        ("b.yaml", "expected a list, found a number `5`"),
    ]


def test_a_failed_test_is_told_of_the_first_request_that_went_wrong() -> None:
    (one,) = run_tests(
        [
            rule(
                LONG,
                """
      - name: a
        requests:
          - {stream: [{answer: {scam: "3*4"}}]}
          - {stream: [{answer: {scam: "1*4"}}]}
        expect: [{request: 1, decision: notified}, {request: 2, decision: notified}]""",
            )
        ]
    )
    (line,) = explained(one, one.failed[0])
    assert "came to 1 sd at answer 4, not above 2 sd" in line


def test_levels_can_be_those_of_a_calibration() -> None:
    class Strict(UnitNormal):
        def code(self, *_: object) -> int:
            return 1000

    tests = '[{name: a, stream: [{answer: {scam: "3.9*4 4*4"}}], expect: [{at: answer 8}]}]'
    (one,) = run_tests([rule(LONG, tests)], Strict(("deception", "scam")))
    assert one.good
