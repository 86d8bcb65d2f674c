"""`dosimeter rules backtest` over a small archive of the lab: what it prints, draws and refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import SEGMENTS, ScoreFrame
from dosimeter.monitor.backtest_report import lasting
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.cli.rules.backtest import read_labels
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import About, Kept, no_counts, write_part
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk import Bank, Ended, Fired, Opened
from dosimeter.monitor.history.strata import Stratum
from dosimeter.monitor.records import Column
from dosimeter.rules.engine import Engine, Hit
from dosimeter.rules.language.schema import load_rules
from dosimeter.rules.program import compile_program
from tests.monitor.cli.gone import Gone

ROOT = Path(__file__).parents[4]
RULES = ROOT / "rules" / "packs" / "lab.yaml"
CALIBRATION = ROOT / "monitor" / "lab" / "calibration"
EPOCH, DAY_NS = 0xAB, 86_400_000_000_000
MONDAY = 20_000 * DAY_NS
REQUESTS = 1500


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Hit]]:
    """Two days of the lab's benign requests, all kept, and what the lab's rules fired on them live."""
    calibration = Calibration.load(CALIBRATION)
    bank = Bank(tuple(zip(calibration.features, calibration.packs, strict=True)), "lab", "ab" * 32)
    columns = [Column(feature, pack, "") for feature, pack in bank.columns]
    engine = Engine(compile_program(load_rules([RULES]), columns, [calibration], date(2026, 1, 1)))
    kept: list[Kept] = []
    live: list[Hit] = []
    for key in range(REQUESTS):
        rows = slice(*calibration.offsets[key : key + 2].tolist())
        codes, scopes = calibration.codes[rows], calibration.scopes[rows]
        first = np.flatnonzero(np.diff(scopes, prepend=-1))
        segments = np.zeros(len(first), SEGMENTS)
        segments["key"], segments["start"], segments["scope"] = key, first, scopes[first]
        segments["n"] = np.diff(first, append=len(codes))
        engine.open(key, {})
        hits = engine.step(ScoreFrame(segments, codes, 0, 0)) + engine.close(key, finished=True)
        live += hits
        at = MONDAY + key * 2 * DAY_NS // REQUESTS
        opened = Opened(EPOCH, key, bank.digest, "", at, f"tenant-{key % 3}", "chat")
        request = Request(opened, bank, heard_ns=at, ended=Ended(EPOCH, key, True, at, len(codes)))
        request.add(segments, codes, (at, at + 1))
        request.fired = [Fired(EPOCH, key, h.rule, "notified", "0" * 32, h.position) for h in hits]
        kept.append(Kept(request, Stratum.FLAGGED if hits else Stratum.REST, 1, True))
    folder = tmp_path_factory.mktemp("archive")
    about = About(bank, 1, no_counts(), MONDAY, MONDAY + 2 * DAY_NS)
    write_part(ArchiveFolder(folder).part("2024-10-04", 0, 0, bank.digest).path, kept, about)
    return folder, live


def asked(folder: Path, *more: str, rules: Path = RULES) -> list[str]:
    return [
        "rules", "backtest", str(rules), "--archive", str(folder), "--calibration", str(CALIBRATION), *more
    ]  # fmt: skip


def answer(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    return body


def test_the_same_rules_find_what_fired_live(
    made: tuple[Path, list[Hit]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, live = made
    body = answer(capsys, asked(folder, "--compare", "live"))
    assert len(live) > 5
    assert body["together"]["hits"] == len(live)
    for one in body["rules"]:
        mine = [hit for hit in live if hit.rule == one["rule"]]
        assert one["hits"] == len(mine)
        assert one["alerts_a_day"]["value"] == pytest.approx(len(mine) / 2, rel=2e-3)
        assert one["alerts_a_day"]["low"] <= len(mine) / 2 <= one["alerts_a_day"]["high"]
        assert one["tenants"]["count"] == len({hit.key % 3 for hit in mine})
    assert body["changes"]["added"]["requests"] == body["changes"]["removed"]["requests"] == 0
    assert body["archive"]["requests_kept"] == body["archive"]["requests"] == REQUESTS
    assert body["archive"]["scored_of_served"] == 1.0


def test_other_levels_are_listed_as_what_is_added_and_what_falls_away(
    made: tuple[Path, list[Hit]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, live = made
    looser = tmp_path / "looser.yaml"
    looser.write_text(RULES.read_text().replace("1 in 500 answers", "1 in 50 answers"))
    body = answer(capsys, asked(folder, "--compare", str(RULES), rules=looser))
    added = body["changes"]["added"]
    assert added["requests"] > 5
    assert body["changes"]["removed"]["requests"] == 0
    assert body["together"]["requests"] >= added["requests"]
    fired = {(hit.rule, f"{EPOCH:016x}/{hit.key:016x}") for hit in live}
    assert not fired & {(one["rule"], one["request"]) for one in added["listed"]}
    back = answer(capsys, asked(folder, "--compare", str(looser)))
    assert back["changes"]["removed"]["requests"] == added["requests"]


def test_the_screen_says_what_was_read_and_every_rule(
    made: tuple[Path, list[Hit]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, live = made
    assert main(asked(folder, "--compare", "live")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2024-10-04T00:00:00Z to 2024-10-05T23:58:")
    assert lines[1].startswith("1,500 requests (")
    assert lines[2] == "scored 100.00 % of what the server says it served"
    head = next(line for line in lines if line.startswith("rule "))
    assert head.split("  ")[-1].strip() == "routes"
    shown = {line.split()[0]: line.split()[1] for line in lines[lines.index(head) + 1 :] if line}
    assert shown["together"] == str(len(live))
    assert any(line.startswith("+ 0 alerts that there were not: 0 (0 to") for line in lines)


def test_rules_that_do_not_run_say_so_and_what_they_fired_live_has_not_gone(
    made: tuple[Path, list[Hit]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, live = made
    rules = tmp_path / "rules.yaml"
    rules.write_text("""version: 1
rules:
  - rule: deceptive-answer
    when: {feature: deception, in: answer, above: 1 in 500 answers, average: 8 tokens}
    status: live
    severity: high
    owner: us
    summary: "x"
  - rule: elsewhere
    when: {feature: power_seeking, in: answer, above: z 2}
    status: live
    severity: low
    owner: us
    summary: "x"
  - rule: many
    when: {count: hits, of: [deceptive-answer], more-than: 3, within: 1h}
    status: live
    severity: low
    owner: us
    summary: "x"
""")
    wanted = asked(folder, "--compare", "live", rules=rules)
    body = answer(capsys, wanted)
    others = [hit.rule for hit in live if hit.rule != "deceptive-answer"]
    assert len(others) > 2
    assert body["changes"]["removed"]["requests"] == 0
    assert sum(body["changes"]["not_compared"].values()) == len(others)
    assert set(body["changes"]["not_compared"]) == set(others)
    assert main(wanted) == 0
    lines = capsys.readouterr().out.splitlines()
    for rule in ("elsewhere", "many"):
        assert any(line.split() == [rule, "not", "run"] for line in lines)
        assert any(line.startswith(f"not run: {rule}: ") for line in lines)
    assert any(
        line.startswith(f"{len(others)} alerts of rules that are not run here are not compared: ")
        for line in lines
    )


def test_labels_give_precision(
    made: tuple[Path, list[Hit]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, live = made
    keys = sorted({hit.key for hit in live})
    rows = [f"ab/{key:x},{'yes' if index else 'no'}" for index, key in enumerate(keys)]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["request,label", *rows, "ab/fffffff,no"]) + "\n")
    body = answer(capsys, asked(folder, "--labels", str(labels)))
    found = body["together"]["precision"]
    assert (found["right"], found["labelled"]) == (len(keys) - 1, len(keys))
    assert found["low"] < found["value"] == (len(keys) - 1) / len(keys) < found["high"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request;label\n", ":1:1: error: no columns `request` and `label`"),
        ("request,label\nab/1,yes\nhello,no\n", ":3:1: error: `hello` is no request"),
        ("request,label\nab/1,maybe\n", ":2:1: error: `maybe` is no label"),
        ("request,label\nab/1\n", ":2:1: error: `` is no label"),
    ],
)
def test_labels_that_make_no_sense_are_refused_with_their_line(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_labels(path)
    assert said in str(caught.value)


def test_labels_that_are_not_there_are_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no\.csv: error: labels cannot be read: no such file"
    ) as it:
        read_labels(tmp_path / "no.csv")
    assert "hint: write a CSV file whose first line is `request,label`" in str(it.value)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(13, "13 seconds"), (90, "1.5 minutes"), (9000, "2.5 hours"), (216_000, "2.5 days")],
)
def test_a_duration_is_in_the_largest_unit_of_which_there_is_one(seconds: int, said: str) -> None:
    assert lasting(seconds / 86_400) == said


def test_the_plot_is_svg_with_every_rule_and_its_level(
    made: tuple[Path, list[Hit]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = made
    plot = tmp_path / "plot.svg"
    body = answer(capsys, asked(folder, "--plot", str(plot)))
    drawing = ElementTree.parse(plot).getroot()
    texts = ["".join(one.itertext()) for one in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for one in body["rules"]:
        assert one["rule"] in texts
    assert sum(text.startswith("level ") for text in texts) == len(body["rules"])


def test_a_time_without_requests_says_so(
    made: tuple[Path, list[Hit]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plot.svg"
    assert main(asked(made[0], "--since", "2030-01-01", "--plot", str(plot))) == 0
    assert "no request of that time is in the archive" in capsys.readouterr().out
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")


def test_a_folder_without_an_archive_is_data_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asked(tmp_path)) == 4
    assert "no archive of scores" in capsys.readouterr().err


def test_figures_are_told_though_the_plot_cannot_be_written(
    made: tuple[Path, list[Hit]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive takes minutes, and the figures had been lost with the drawing."""
    assert main(asked(made[0], "--plot", str(tmp_path / "none" / "plot.svg"))) == 3
    said = capsys.readouterr()
    assert "1,500 requests (" in said.out
    assert "No such file or directory" in said.err


def test_the_plot_is_written_though_nobody_reads_the_figures(
    made: tuple[Path, list[Hit]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", Gone())
    assert main(asked(made[0], "--plot", str(tmp_path / "plot.svg"))) == 0
    assert (tmp_path / "plot.svg").is_file()
