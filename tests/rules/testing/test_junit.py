"""JUnit's XML of tested rules: valid whatever a test is called."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from tested_rules import LONG, cases, rule, trial

from dosimeter.detectors.findings import Place
from dosimeter.rules.language.schema import load_rules
from dosimeter.rules.testing.cases import RuleTest
from dosimeter.rules.testing.junit import as_junit
from dosimeter.rules.testing.tested import Tested, run_tests

GOLDEN = Path(__file__).parents[2] / "golden" / "rules" / "failing.yaml"


def test_a_suite_a_rule_and_a_case_a_test() -> None:
    root = ElementTree.fromstring(as_junit(run_tests(load_rules([GOLDEN]).rules)))
    counts = {
        suite.get("name"): tuple(int(suite.get(k, "")) for k in ("tests", "failures", "errors"))
        for suite in root.iter("testsuite")
    }
    assert counts == {
        "loud": (3, 2, 0), "passes": (1, 0, 0), "repeated": (1, 1, 0), "silent": (3, 3, 0),
        "unplaced": (1, 0, 1), "untested": (0, 0, 0),
    }  # fmt: skip
    for suite in root.iter("testsuite"):
        cases_of = suite.findall("testcase")
        assert len(cases_of) == int(suite.get("tests", ""))
        assert len(suite.findall("testcase/failure")) == int(suite.get("failures", ""))
        assert len(suite.findall("testcase/error")) == int(suite.get("errors", ""))
    (failure,) = (f for f in root.iter("failure") if "answer 30" in f.get("message", ""))
    assert failure.get("message") == "expected answer 30, happened nothing"
    assert "came to" in str(failure.text)


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_name_makes_xml_that_can_be_read(name: str) -> None:
    one = rule(LONG, '[{name: a, stream: [{answer: {scam: "3*4"}}], expect: []}]')
    (test,) = cases(one)
    named = RuleTest(name, Place(name, 1, 1), test.requests, test.expect)
    ready = trial(one)
    raw = as_junit([Tested(one, (named,), (ready.run(named),), ready)])
    (case,) = ElementTree.fromstring(raw).iter("testcase")
    assert case.get("name") is not None
    if name.isprintable() and max(name) < "\ufffe" and name == name.strip():
        assert case.get("name") == name
