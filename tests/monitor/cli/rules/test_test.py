"""`dosimeter rules test`: exit codes, and the same outcome as text, JSON and JUnit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import dosimeter.monitor.lab
from dosimeter.monitor.cli.main import main
from tests.monitor.cli.gone import Gone

GOLDEN = Path(__file__).parents[3] / "golden" / "rules" / "failing.yaml"
CALIBRATION = Path(dosimeter.monitor.lab.__path__[0]) / "calibration"

RULE = """version: 1
rules:
  - rule: r
    when: {{feature: scam, in: answer, above: {level}, for: 4 tokens}}
    status: draft
    severity: low
    summary: x
    tests:
      - name: fires
        stream: [{{answer: {{scam: "{value}*4"}}}}]
        expect: [{{at: answer 4}}]
"""


def run(*arguments: object) -> int:
    return main(["rules", "test", *map(str, arguments)])


@pytest.fixture
def passing(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RULE.format(level="z 2", value="2.05"))
    return path


def test_passing_tests_are_a_success(passing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(passing) == 0
    assert capsys.readouterr().out == f"{passing}:3:11: r: 1 test passed\n1 passed, 0 failed\n"


def test_a_failed_test_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(GOLDEN) == 1
    assert "3 of 3 tests failed" in capsys.readouterr().out


def test_too_few_changes_noticed_is_a_failure(
    passing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: 5 of 7."""
    assert run(passing, "--mutants") == 0
    assert run(passing, "--mutants", "--min", "71") == 0
    assert run(passing, "--mutants", "--min", "72") == 1
    assert "71 % of changes noticed" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--min", "90"], ["--mutants", "--min", "101"]])
def test_a_minimum_without_a_measure_is_a_usage_error(
    passing: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(passing, *arguments) == 2
    assert "--min goes with --mutants" in capsys.readouterr().err


def test_a_wrong_test_is_data_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RULE.format(level="z 2", value="hot"))
    assert run(path) == 4
    assert f"{path}:10:35: error: `hot*4` is no run of scores [runs]" in capsys.readouterr().err


def test_json_and_junit_carry_the_same_tests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(GOLDEN, "--json", "--junit", tmp_path / "out.xml") == 1
    body = json.loads(capsys.readouterr().out)
    said = {(r["rule"], t["name"], t["passed"]) for r in body["rules"] for t in r["tests"]}
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    cases = {
        (case.get("classname"), case.get("name"), case.find("failure") is None)
        for case in root.iter("testcase")
        if case.find("error") is None
    }
    assert said == cases


def test_what_happened_is_told_though_the_junit_file_cannot_be_written(
    passing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(passing, "--junit", passing.parent / "none" / "out.xml") == 3
    assert "1 passed, 0 failed" in capsys.readouterr().out


def test_levels_can_be_placed_on_a_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There, `1 in 100 answers` of four tokens in a row is not the 2.33 sd of a single draw."""
    path = tmp_path / "r.yaml"
    path.write_text(RULE.format(level="1 in 50 answers", value="2.06"))
    assert run(path) == 0
    run(path, "--calibration", CALIBRATION)
    out = capsys.readouterr().out
    assert "cannot be tested" not in out
    path.write_text(RULE.format(level="1 in 100000000 answers", value="100"))
    assert run(path, "--calibration", CALIBRATION) == 1
    assert "cannot be tested: `1 in 100000000 answers` of `scam`" in capsys.readouterr().out


BURST = """  - rule: users-burst
    when: {{count: hits, of: [{of}], more-than: 5, within: 10m}}
    status: draft
    severity: low
    summary: x
"""


def test_rules_over_hits_are_named(passing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passing.write_text(passing.read_text() + BURST.format(of="r"))
    assert run(passing) == 0
    out = capsys.readouterr().out
    assert f"{passing}:12:11: users-burst: a `count` has no tests\n1 passed, 0 failed\n" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("scam", "scma"), "4:21: error: unknown feature `scma`"),
        (lambda text: text + BURST.format(of="q"), "13:30: error: unknown rule `q`"),
    ],
)
def test_an_error_that_lint_finds_is_said_first_and_is_a_failure(
    change: Callable[[str], str],
    said: str,
    passing: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    passing.write_text(change(passing.read_text()))
    assert run(passing, "--junit", tmp_path / "out.xml") == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{passing}:{said}")
    assert out.endswith("1 passed, 0 failed; 1 error in the rules\n")
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [case.get("classname") for case in root.iter("testcase")] == ["lint", "r"]
    assert run(passing, "--json") == 1
    body = json.loads(capsys.readouterr().out)
    assert [f["severity"] for f in body["refused"]] == ["error"]
    assert body["failed"] == 0


def test_warnings_of_lint_are_left_to_lint(
    passing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passing.write_text(passing.read_text().replace("z 2", "1 in 100 tokens"))
    run(passing)
    assert "level-tokens" not in capsys.readouterr().out


def test_the_junit_file_is_written_though_nobody_reads_what_happened(
    passing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", Gone())
    assert run(passing, "--junit", passing.parent / "out.xml") == 0
    assert (passing.parent / "out.xml").is_file()
