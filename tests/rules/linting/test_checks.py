"""What will surprise in a rule that can be read is said at its place, and only where it is so."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from seeded_faults import FEATURES, D, Z, marked, with_lines
from surprises import FINE, LOOSER, SURPRISES, WHO, A

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import SEGMENTS, Scope, ScoreFrame
from dosimeter.detectors.levels import Level
from dosimeter.rules.engine import Engine
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.linting.checks import implies
from dosimeter.rules.linting.lint import lint
from dosimeter.rules.program import compile_program

DAY = date(2027, 1, 31)


def found(text: str, folder: Path, day: date | None = DAY) -> list[tuple[str, str, int, int]]:
    file = folder / "f.yaml"
    file.write_text(text)
    return [(f.code, f.severity, f.place.line, f.place.column) for f in lint([file], FEATURES, day)]


# code, severity, lines with the mark where the finding points


@pytest.mark.parametrize(
    ("code", "severity", "fault"), SURPRISES, ids=[f"{s[0]} {s[2].strip()[:90]}" for s in SURPRISES]
)
def test_a_surprise_is_the_one_finding_where_it_stands(
    code: str, severity: str, fault: str, tmp_path: Path
) -> None:
    text, line, column = marked(with_lines(fault))
    findings = found(text, tmp_path)
    others = [f for f in findings if code == "no-tests" or f[0] != "no-tests"]
    assert others == [(code, severity, line, column)]


@pytest.mark.parametrize("lines", FINE, ids=[f.strip()[:100] for f in FINE])
def test_what_only_looks_like_one_is_none(lines: str, tmp_path: Path) -> None:
    assert found(with_lines(lines), tmp_path) == []


def test_an_exemption_that_is_over_takes_nothing_back(tmp_path: Path) -> None:
    lines = f"    only: {{tenant: a}}\n    unless: [{{tenant: a, {WHO}, until: 2027-01-30}}]"
    assert [f[0] for f in found(with_lines(lines), tmp_path)] == ["exemption-over"]
    assert [f[0] for f in found(with_lines(lines), tmp_path, day=None)] == ["nothing-left"]


def test_a_score_that_a_comma_cut_off_is_told_to_be_quoted(tmp_path: Path) -> None:
    """In `{…}` a comma ends the value: the rest of the expression stands there as a key."""
    text = with_lines("    when: {score: max(scam, deception), in: answer, above: z 2}")
    (tmp_path / "f.yaml").write_text(text)
    score, rest = lint([tmp_path / "f.yaml"])
    assert (score.code, rest.code) == ("score", "unknown-key")
    assert "put it in quotes" in (score.hint or "")


@pytest.mark.parametrize("status", ["draft", "retired"])
def test_a_rule_that_does_not_run_is_not_asked_for_dates_and_tests(
    status: str, tmp_path: Path
) -> None:
    lines = f"    status: {status}\n    tests: []\n    expires: 2020-01-01\n    repeat-after: 1h"
    assert [f[:2] for f in found(with_lines(lines), tmp_path)] == [(status, "note")]


def test_without_a_day_no_date_is_judged(tmp_path: Path) -> None:
    assert found(with_lines("    expires: 2020-01-01"), tmp_path, day=None) == []


def test_a_list_or_a_signal_that_no_rule_uses_is_named(tmp_path: Path) -> None:
    text = with_lines("    severity: high")
    for old, new in (
        ("  ours:", "  ‸theirs: [acme]\n  ours:"),
        ("  hot:", f"  ‸cold: {Z}\n  hot:"),
    ):
        plain, line, column = marked(text.replace(old, new, 1))
        assert found(plain, tmp_path) == [("unused", "note", line, column)]


def test_one_condition_implies_another_that_is_the_same_or_looser() -> None:
    def condition(text: str) -> Condition:
        rule = f"{{rule: r, when: {text}, status: draft, severity: low, summary: x}}"
        single = parse_rules(f"version: 1\nrules: [{rule}]").rules[0].when.single
        assert single is not None
        return single

    strict, loose = condition(A), condition(LOOSER)
    assert implies(strict, strict)
    assert implies(strict, loose)
    assert not implies(loose, strict)
    assert implies(condition(A.replace("1 in 1000 answers", "'1 in 1,000 answers'")), strict)
    low, lower = (condition(Z.replace("above: z 2", f"below: z -{n}")) for n in (2, 3))
    assert implies(lower, low)
    assert not implies(low, lower)
    few, many = (condition(Z.replace("z 2", f"{n} a day")) for n in (5, 50))
    assert implies(few, many)
    assert not implies(many, few)
    assert not implies(strict, condition(Z)), "z and a share cannot be compared without traffic"
    assert not implies(strict, condition(LOOSER.replace("scam", "deception")))
    assert not implies(strict, condition(LOOSER.replace("}", ", for: 2 tokens}")))
    assert Level.parse("z 2") == condition(Z).level


IMPOSSIBLE = [  # and what differs from it least
    (
        f"{{sequence: [{Z}, {D}, {Z}], within: 2 tokens}}",
        f"{{sequence: [{Z}, {D}, {Z}], within: 3 tokens}}",
    ),
    (
        f"{{all: [{Z}, {{not: {Z}}}], within: 5 tokens}}",
        f"{{all: [{Z}, {{not: {Z.replace('z 2', 'z 3')}}}], within: 5 tokens}}",
    ),
    (f"{{all: [{Z}, {{not: {Z.replace('z 2', 'z 1')}}}]}}", f"{{all: [{D}, {{not: {Z}}}]}}"),
    (
        f"{{all: [{{any: [{Z}, {D}]}}, {{not: {{any: [{D}, {Z}]}}}}]}}",
        f"{{all: [{{any: [{Z}, {D}]}}, {{not: {D}}}]}}",
    ),
]


@pytest.mark.parametrize("pair", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_what_is_called_impossible_never_fires_and_its_neighbour_does(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    """By the engine itself, over traffic in which half of the tokens lie beyond each level."""
    names = ("scam", "deception")
    columns = [Column(name, "a" * 64, "p") for name in names]
    answer = int(Scope.ANSWER)
    empty = np.zeros((1, 2), np.int16), np.array([answer], np.uint8)
    benign = Calibration.from_requests(columns, [empty], corpus="one token", date="2026-11-20")
    rng = np.random.default_rng(7)
    fired = []
    for when in pair:
        text = with_lines(f"    when: {when}").split("    tests: [")[0]
        codes = [code for code, *_ in found(text, tmp_path)]
        assert ("impossible" in codes) is (when == pair[0])
        rule = f"{{rule: r, when: {when}, status: shadow, severity: low, summary: x}}"
        ruleset = parse_rules(f"version: 1\nrules: [{rule}]")
        engine = Engine(compile_program(ruleset, columns, [benign]))
        hits = []
        for key in range(300):
            n = int(rng.integers(1, 12))
            scored = rng.integers(0, 5 * 256, (n, 2)).astype(np.int16)
            engine.open(key, {})
            hits += engine.step(ScoreFrame(np.array([(key, 0, n, answer)], SEGMENTS), scored, 0, 0))
            hits += engine.close(key, finished=True)
        fired.append(bool(hits))
    assert fired == [False, True]
