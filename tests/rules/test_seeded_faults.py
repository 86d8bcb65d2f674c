"""Every kind of fault that an analyst can write is found, at its character, with what to do about it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from seeded_faults import BASE, FEATURES, FILES, RULE_FAULTS, SECOND, marked, with_lines, with_third

from dosimeter.rules.linting.lint import lint


def test_the_file_that_faults_are_put_into_has_none(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(BASE)
    assert lint([tmp_path / "f.yaml"], FEATURES) == []


SAY_IT_THEMSELVES = ("missing-key", "kind", "empty")
"""Such as "`in` is missing": the message is the next step."""

FAULTS = [(code, with_lines(fault), fault) for code, fault in RULE_FAULTS]
FAULTS += [(code, with_third(when), when) for code, when in SECOND]
FAULTS += [(code, text, text) for code, text in FILES]


@pytest.mark.parametrize(
    ("code", "text"), [f[:2] for f in FAULTS], ids=[f"{f[0]} {f[2].strip()[:90]}" for f in FAULTS]
)
def test_a_fault_is_the_one_finding_where_it_stands_with_a_next_step(
    code: str, text: str, tmp_path: Path
) -> None:
    plain, line, column = marked(text)
    file = tmp_path / "f.yaml"
    file.write_text(plain)
    findings = lint([file], FEATURES)
    found = [(f.code, f.severity, f.place.line, f.place.column) for f in findings]
    whole_file = code == "empty"
    assert found == [(code, "error", *((0, 0) if whole_file else (line, column)))], findings
    assert findings[0].message
    assert findings[0].hint or code in SAY_IT_THEMSELVES


def test_the_faults_are_many_and_of_every_kind() -> None:
    """A code that no fault here has is a check that nobody tried."""
    assert len(FAULTS) >= 120
    assert len(Counter(code for code, *_ in FAULTS)) >= 30
