"""What people read: every case with its figures, what failed first, and one line that says whether it conforms."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dosimeter.monitor.conformance import continuous, generate, over_http
from dosimeter.monitor.conformance.case import Outcome
from dosimeter.monitor.conformance.findings import Findings
from dosimeter.monitor.conformance.report import as_json, as_table, conforms

GOOD = Outcome("serve", "packing", "", 1.0, Findings(3, compared=40, served=40, worst=1), {})
SKIPPED = Outcome("serve", "beams", "", 0.0, skipped="this server has no beams")
BAD = Outcome(
    "serve",
    "turns",
    "",
    1.0,
    Findings(2, compared=9, served=10, missing=1, examples=["`turn-1` key 4: 1 unexplained"]),
    {"missing": 1},
)
BROKEN = Outcome("serve", "lengths", "", 1.0, error="TimeoutError: no answer")


def test_a_table_that_conforms() -> None:
    assert as_table([GOOD, SKIPPED]).splitlines() == [
        "serve",
        "case     requests  positions  max diff  misattributed  missing  reused  twice  unaccounted  verdict",
        "packing         3         40     1/256              0        0       0      0            0  conforms",
        "beams                                                                                       not offered",
        "  beams: this server has no beams",
        "",
        "conforms: 1 cases, 40 tokens served, 40 positions compared, largest difference 1 code (0.0039 sd)",
    ]


def test_a_table_that_does_not_says_where_to_look() -> None:
    text = as_table([GOOD, BAD, BROKEN])
    assert "  turns: missing 1\n    `turn-1` key 4: 1 unexplained" in text
    assert "  lengths: TimeoutError: no answer" in text
    assert "does not conform: 2 of 3 cases" in text
    assert text.splitlines()[-1] == "  first: turns (serve), lengths (serve)"


def test_it_conforms_only_if_something_was_run_and_all_of_it_did() -> None:
    assert conforms([GOOD, SKIPPED])
    assert not conforms([GOOD, BAD])
    assert not conforms([GOOD, BROKEN])
    assert not conforms([SKIPPED])


def test_as_json_every_figure_is_there() -> None:
    found = json.loads(as_json([GOOD, BAD, SKIPPED]))
    assert found["conforms"] is False
    assert [case["verdict"] for case in found["cases"]] == ["conforms", "FAILS", "not offered"]
    assert found["cases"][1]["faults"] == {"missing": 1}
    assert found["cases"][0]["worst_sd"] == 1 / 256


def test_every_case_is_documented() -> None:
    """A case that no page names is a claim that nobody can read."""
    text = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text()
    for title, cases in (
        ("`generate`", generate.CASES),
        ("`continuous`", continuous.CASES),
        ("over HTTP", over_http.CASES),
    ):
        table = text.split(f"| {title} | |\n")[1].split("\n\n")[0]
        named = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:]
        assert ", ".join(named) == ", ".join(case.name for case in cases)
