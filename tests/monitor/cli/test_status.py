"""`dosimeter status`: one picture of what is well, a line with the next step for what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.cli.main import main
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from tests.monitor.cli.status_scene import ran, serving, status_of, stored
from tests.monitor.test_pipeline import Line, folder, line

__all__ = ["folder", "line"]

WELL = """\
dosimeter 0.1.0, up 2 s, URL
servers   1 live of 1 expected
tap       EPOCH (m) live; 1 features, 0 requests open, 10 tokens, last word 0 s ago
coverage  100.00 % of 10 tokens scored; 0 unaccounted
alerts    1 notified
rules     2 run, 0 inactive, digest DIGEST
sinks     none has begun: alerts are kept and not sent
ledger    1 committed, 0 waiting, 0 pruned, 0 erased
archive   not kept
history   not kept here
cost      0.0 % of a core
clock     steady
all well
"""


def test_all_well_is_one_picture_and_exit_code_0(
    line: Line, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(line, folder)
    body = status_of(line, folder, expected=1)
    with serving(lambda: body) as url:
        assert main(["status", "--data-dir", str(folder), "--url", f"{url}/status"]) == 0
    shown = capsys.readouterr().out.replace(url, "URL")
    for name, value in (
        ("EPOCH", body["taps"][0]["epoch"]),
        ("DIGEST", body["rules"]["digest"][:12]),
        ("dosimeter 0.1.0", f"dosimeter {body['version']}"),
    ):
        shown = shown.replace(value, name)
    assert shown == WELL


def test_what_is_wrong_has_a_line_a_next_step_and_its_runbook(
    line: Line,
    folder: Path,
    record_of: Callable[..., LedgerRecord],
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = ran(line, folder)
    server.hello |= {"state": "blind", "reason": "canary\x1b[2J: other codes"}
    server.beat()
    (folder / "rules.yaml").write_text("version: 1\nrulez: []\n")
    line.pipeline.rulebook.refresh()
    line.read()
    stored(folder, record_of(1), labels={}, words="too large")
    body = status_of(line, folder, expected=2)
    with serving(lambda: body) as url:
        assert main(["status", "--data-dir", str(folder), "--url", url]) == 1
        shown = capsys.readouterr().out
        assert main(["status", "--data-dir", str(folder), "--url", url, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    names = [
        "DosimeterBlind",
        "DosimeterServersMissing",
        "rules",
        "DosimeterDeliveryLagging",
        "DosimeterDeadLetters",
    ]
    assert [one["name"] for one in told["findings"]] == names
    assert told["status"] == json.loads(json.dumps(body))
    lines = shown.splitlines()
    assert "\x1b" not in shown
    assert "5 findings" in lines
    assert f"DosimeterBlind: tap {body['taps'][0]['epoch']} is blind" in shown
    assert "sink      kafka: 0 delivered, 1 queued (oldest 10 min), 1 dead, 0 withheld" in shown
    assert "kafka: 1 queued, the oldest 600 s: BrokerError: too large" in shown
    assert "(docs/runbooks.md#dosimeterdeliverylagging)" in shown
    begin = lines.index("5 findings") + 1
    assert all(one.startswith("  next: ") for one in lines[begin + 1 :: 2])


def test_where_nothing_answers_the_files_are_read_and_the_exit_code_is_3(
    tmp_path: Path, record_of: Callable[..., LedgerRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path, record_of(1), labels={}, words="too large")
    with LedgerReader(tmp_path / "ledger.db") as reader:
        cursor = {"ledger_id": reader.ledger_id, "seq": 1}
    (tmp_path / "history.cursor").write_text(json.dumps(cursor))
    asked = ["status", "--data-dir", str(tmp_path), "--url", "http://127.0.0.1:1"]
    assert main(asked) == 3
    shown = capsys.readouterr()
    assert "http://127.0.0.1:1: no status came: connection refused\n  hint: " in shown.err
    assert "ledger    2 alerts; the last commit: 2023-11-14 22:03:20 UTC" in shown.out
    assert "sink      kafka: 0 delivered, 1 queued" in shown.out
    assert "history   has taken in 1 of 2 alerts" in shown.out
    assert "DosimeterDeadLetters: kafka refused 1 alerts" in shown.out
    assert main([*asked, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["files"]["ledger"]["last_seq"] == 2
    (tmp_path / "history.cursor").write_text(json.dumps(cursor | {"ledger_id": "another"}))
    assert main(asked) == 3
    assert "history   not known: its cursor is of another ledger" in capsys.readouterr().out


def test_where_there_is_nothing_at_all_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--data-dir", str(tmp_path), "--url", "http://127.0.0.1:1"]) == 3
    assert f"{tmp_path / 'ledger.db'}: no ledger here" in capsys.readouterr().out


def test_the_status_of_another_release_is_exit_code_4(
    line: Line, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = status_of(line, folder)
    del body["servers"]["missing"]
    with serving(lambda: body) as url:
        assert main(["status", "--url", url]) == 4
    assert "no field 'missing'" in capsys.readouterr().err


def test_one_that_brings_its_ledger_up_to_date_is_no_fault_and_its_files_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was taken for another service, and its half-made ledger was read."""
    said = "ledger.db is brought from version 1 to 2: 40 s so far"
    with serving(lambda: {"migrating": said}) as url:
        asked = ["status", "--data-dir", str(tmp_path), "--url", url]
        assert main(asked) == 3
        told = capsys.readouterr()
        assert (told.out, told.err) == (
            "",
            f"{url}: it lives, and has no status yet: {said}\n"
            "  hint: wait: a restart would only begin the same again\n",
        )
        assert main([*asked, "--json"]) == 3
        assert said in json.loads(capsys.readouterr().out)["error"]
