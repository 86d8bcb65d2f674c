"""`dosimeter detectors captured`: the table that somebody labels, and that the build then reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from dosimeter.monitor.capture.folder import KEY, CaptureWriter, make_key
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.cli.rules.backtest import read_labels
from tests.monitor.capture.test_folder import ABOUT, record


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    folder = tmp_path / "captured"
    folder.mkdir()
    writer = CaptureWriter(folder, make_key(folder / KEY), ABOUT)
    writer.rows(7, 0, np.ones((2, 16), np.float32))
    writer.rows(10, 0, np.ones((2, 16), np.float32))
    writer.request(record(7, 2, labels={"request_id": "=cmd()", "route": "chat"}))
    writer.request(record(10, 2, ids=[300, 301, 302]))
    writer.request(record(11, 2, whole=False))
    writer.close("its time is up", {})
    return folder


def test_the_table_is_what_the_build_reads_once_it_is_labelled(
    captured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detectors", "captured", str(captured), "--model", "lab"]) == 0
    said = capsys.readouterr()
    assert "1 requests left out" in said.err
    first, second = csv.DictReader(io.StringIO(said.out))
    assert first["request"] == "00000000000000ff/0000000000000007"
    assert first["route"] == "chat"
    assert first["request_id"] == "'=cmd()"  # a spreadsheet takes it for text
    assert first["text"] == ""
    assert second["text"]
    labels = tmp_path / "labels.csv"
    labels.write_text(f"request,label\n{first['request']},yes\n{second['request']},no\n")
    assert read_labels(labels) == {(255, 7): True, (255, 10): False}


def test_a_capture_without_its_key_is_refused(
    captured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (captured / KEY).unlink()
    assert main(["detectors", "captured", str(captured)]) == 4
    assert "key" in capsys.readouterr().err
