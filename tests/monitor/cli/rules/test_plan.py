"""`dosimeter rules plan` on the lab's own calibration, and what it refuses."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.cli.rules import backtest, plan
from dosimeter.monitor.lab import CALIBRATION
from dosimeter.rules.language.schema import load_rules
from tests.monitor.cli.gone import Gone

PACK = Path(__file__).parents[4] / "rules" / "packs" / "lab.yaml"
PLAN = ["rules", "plan", str(PACK), "--calibration", str(CALIBRATION)]
DAY = ["--per-day", "10,000"]


def test_a_plan_fits_is_written_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot, out = tmp_path / "plan.svg", tmp_path / "planned"
    wanted = ["--reviews-per-day", "120", "--write", str(out), "--plot", str(plot), "--json"]
    assert main([*PLAN, *DAY, *wanted]) == 0
    body = json.loads(capsys.readouterr().out)
    together = body["together"]["planned"]
    assert 100 < together["expected"] <= 120
    assert together["low"] < 100 < 130 < together["high"]
    written = {rule.id: rule for rule in load_rules([out]).rules}
    before = {rule.id: rule for rule in load_rules([PACK]).rules}
    assert set(written) == set(before)
    for rule in body["rules"]:
        (condition,) = written[rule["rule"]].when.conditions
        assert condition.level.text == rule["levels"][0]["planned"]
    assert written["defection-in-message"].as_json() == before["defection-in-message"].as_json()
    comments = [line for line in PACK.read_text().splitlines() if line.strip().startswith("#")]
    assert [
        line for line in (out / "lab.yaml").read_text().splitlines() if line.strip().startswith("#")
    ] == comments
    drawing = ElementTree.fromstring(plot.read_text())
    assert "120 reviews a day of 10,000 requests" in "".join(drawing.itertext())


def test_the_screen_says_levels_cost_and_what_is_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*PLAN, *DAY, "--reviews-per-day", "60"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("60 reviews a day of 10,000 requests: fits, ")
    assert "what it catches and misses: not known, nobody labelled" in said
    assert "label these 200 first (numbers of the calibration's requests): " in said
    assert "note: planned on benign requests: what is risky comes on top of these reviews" in said


def test_a_budget_that_does_not_hold_the_rules_says_so_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "planned"
    many = ["--per-day", "1000000", "--reviews-per-day", "60", "--write", str(out)]
    assert main([*PLAN, *many]) == 1
    said = capsys.readouterr().out
    assert "does not fit" in said
    assert "alarm: " not in said
    assert "cannot be tighter: `1 in 1100 answers` needs 11,000 benign answers" in said
    assert said.endswith("nothing written: the rules do not fit\n")
    assert not out.exists()


def test_rules_whose_tests_fail_at_the_planned_level_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 in 100 lies at 2.33 sd. The first test is far above any level, the second at the old one's edge."""
    rules = tmp_path / "rules.yaml"
    rule = """
  - rule: NAME
    when: {feature: scam, in: answer, above: 1 in 100 answers, average: 8 tokens}
    status: live
    severity: low
    owner: us
    summary: "x"
    tests:
      - name: fires
        stream: [{answer: {scam: "SD*8"}}]
        expect: [{at: answer 8}]
"""
    far, near = (
        rule.replace("NAME", n).replace("SD", s) for n, s in (("far", "9"), ("near", "2.4"))
    )
    rules.write_text(f"version: 1\nrules:{far}{near}")
    out = tmp_path / "planned"
    wanted = ["--reviews-per-day", "100", "--per-day", "20,000", "--write", str(out)]
    assert main(["rules", "plan", str(rules), "--calibration", "lab", *wanted]) == 0
    assert capsys.readouterr().out.endswith(
        "tests with scores near the old level fail at the new one; change them in: `near`\n"
    )
    assert main(["rules", "test", str(out)]) == 1


def test_labels_say_what_is_caught_and_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"{i},no" for i in range(0, 10_000, 50)] + ["31,yes", "96,yes"]
    labels.write_text("request,label\n" + "\n".join(rows))
    wanted = ["--reviews-per-day", "120", "--labels", str(labels), "--json"]
    assert main([*PLAN, *DAY, *wanted]) == 0
    catch = json.loads(capsys.readouterr().out)["catch"]
    assert (catch["positives"], catch["caught"]) == (2, 2)
    low, high = catch["missed_a_day_between"]
    assert low == 0
    assert 100 < high < 1000  # about 3.7 in 200, of 9,880 a day, and what was never sampled


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "nobody knows how many requests a day there are"),
        (["--labels", "{tmp}/bad.csv", *DAY], "`maybe` is no label"),
        (["--labels", "{tmp}/head.csv", *DAY], "no columns `request` and `label`"),
        (["--labels", "{tmp}/no.csv", *DAY], "no.csv: error: labels cannot be read: no such file"),
        (["--share", "medium=100", *DAY], "no share for critical, high, low"),
        (["--calibration", str(CALIBRATION), *DAY], "a plan needs all rules on the same requests"),
        (["--archive", "{tmp}/none", *DAY], "no archive of scores"),
        (["--write", "{tmp}", *DAY], "this file is there already"),
    ],
)
def test_what_cannot_be_is_refused_with_a_place(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("request,label\n1,maybe\n")
    (tmp_path / "head.csv").write_text("id,label\n1,yes\n")
    (tmp_path / "lab.yaml").write_text("mine\n")
    wanted = [word.replace("{tmp}", str(tmp_path)) for word in more]
    assert main([*PLAN, "--reviews-per-day", "120", *wanted]) == 4
    assert said in capsys.readouterr().err
    assert (tmp_path / "lab.yaml").read_text() == "mine\n"


@pytest.mark.parametrize(
    "more",
    [
        ["--reviews-per-day", "0"],
        ["--reviews-per-day", "1,00"],
        ["--reviews-per-day", "9", "--share", "top=3"],
    ],
)
def test_wrong_arguments_are_usage_errors(
    more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*PLAN, *more])
    assert stopped.value.code == 2


@pytest.mark.parametrize(("option", "code"), [("--plot", 3), ("--write", 4)])
def test_a_plan_is_told_though_it_cannot_be_written(
    option: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "none" / "x.svg"
    if option == "--write":
        where = tmp_path
        (tmp_path / PACK.name).write_text("mine")
    assert main([*PLAN, *DAY, "--reviews-per-day", "60", option, str(where)]) == code
    assert capsys.readouterr().out.startswith("60 reviews a day of 10,000 requests: fits, ")


@pytest.mark.parametrize("read", [backtest.read_labels, plan.read_labels])
def test_what_is_labelled_yes_and_no_is_refused(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    """However it is written; the last row had counted, without a word."""
    path = tmp_path / "labels.csv"
    path.write_text("request,label\naa/7,yes\n00aa/07,yes\n")
    assert list(read(path).values()) == [True]  # type: ignore[attr-defined]
    path.write_text("request,label\naa/7,yes\n00aa/07,no\n")
    with pytest.raises(InputError, match="csv:3:1: error: `00aa/07` is labelled yes and no"):
        read(path)


def test_a_quote_that_is_never_closed_is_an_error_with_its_place(tmp_path: Path) -> None:
    """In a long file it had been a traceback."""
    path = tmp_path / "labels.csv"
    csv.field_size_limit(128 << 10)  # Python's own, which another test may have changed
    for begin in ('request,label\naa/7,yes\n"aa/8,yes\n', 'request,"label\n'):
        path.write_text(begin + "aa/9,no\n" * 20_000)
        with pytest.raises(InputError, match="no CSV: field larger than field limit"):
            plan.read_labels(path)


def test_a_plan_is_written_though_nobody_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", Gone())
    files = ["--plot", str(tmp_path / "x.svg"), "--write", str(tmp_path / "rules")]
    assert main([*PLAN, *DAY, "--reviews-per-day", "60", *files]) == 0
    assert (tmp_path / "x.svg").is_file()
    assert (tmp_path / "rules" / PACK.name).is_file()
