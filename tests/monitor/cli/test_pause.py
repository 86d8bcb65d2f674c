"""`dosimeter pause` and `resume`: what is asked for is what a sidecar says it does, or it is said why not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dosimeter.monitor import pause_file
from dosimeter.monitor.cli import pause
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.pausing import Pausing
from dosimeter.monitor.status_client import NEEDED
from tests.monitor.cli.status_scene import serving


@contextmanager
def sidecar(data_dir: Path) -> Iterator[list[str]]:
    """One that looks for orders whenever it is asked how it stands; yields what names it."""
    pausing = Pausing(data_dir, "led")

    def read() -> dict[str, object]:
        pausing.look()
        return dict.fromkeys(NEEDED) | {"paused": pausing.status()}

    with serving(read) as url:
        yield ["--data-dir", str(data_dir), "--url", url]


def test_a_pause_and_its_end_are_said_when_the_sidecar_says_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sidecar(tmp_path) as which:
        assert main(["pause", *which, "--for", "15m", "--reason", "INC-441"]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith("paused until 2")
        assert first.endswith(" UTC: INC-441")
        assert "dosimeter resume" in second
        assert main(["resume", *which]) == 0
        assert capsys.readouterr().out == "the sidecar looks\n"
        assert main(["resume", *which]) == 0  # again: as it was asked, so it is
    assert list(tmp_path.iterdir()) == []


def test_a_reason_is_asked_for_as_it_is_shown(tmp_path: Path) -> None:
    with sidecar(tmp_path) as which:
        assert main(["pause", *which, "--for", "1m", "--reason", "INC\t441\n"]) == 0
        found = pause_file.read(tmp_path)
    assert found is not None
    assert found.reason == "INC441"


@pytest.mark.parametrize("span", ["0s", "25h", "15", "m", "-1m", "1.5h", "900001s", "15 m"])
def test_a_time_that_is_none_is_refused(
    tmp_path: Path, span: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pause", "--data-dir", str(tmp_path), f"--for={span}", "--reason", "x"])
    assert ended.value.code == 2
    assert "write `90s`, `15m` or `2h`" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["", "  ", "\x1b", "x" * 201])
def test_no_pause_without_a_reason(
    tmp_path: Path, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["pause", "--data-dir", str(tmp_path), "--for", "1m", "--reason", reason])
    assert "a reason has 1 to 200 characters" in capsys.readouterr().err


def test_where_no_sidecar_answers_it_holds_for_the_next_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data-dir", str(tmp_path), "--url", "http://127.0.0.1:1"]
    assert main(["pause", *asked, "--for", "1m", "--reason", "INC-441"]) == 3
    assert "holds as soon as a sidecar runs there" in capsys.readouterr().err
    assert pause_file.read(tmp_path) is not None


def test_a_sidecar_of_another_folder_is_not_taken_for_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "ANSWER_S", 0.0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with sidecar(tmp_path / "a") as (*_, url):
        asked = ["--data-dir", str(tmp_path / "b"), "--url", url]
        assert main(["pause", *asked, "--for", "1m", "--reason", "INC-441"]) == 3
    assert "does not say that it took it over" in capsys.readouterr().err


def test_whoever_may_not_write_there_may_not_pause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> str:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(pause_file, "ask", refused)
    asked = ["--data-dir", str(tmp_path), "--for", "1m", "--reason", "x"]
    assert main(["pause", *asked]) == 3
    told = capsys.readouterr().err
    assert f"{tmp_path}: cannot ask the sidecar here: permission denied" in told
    assert "as a user who may write its data-dir" in told
    assert main(["resume", "--data-dir", str(tmp_path / "nowhere")]) == 3


def test_its_own_clock_is_the_one_that_the_file_goes_by(tmp_path: Path) -> None:
    before = time.time_ns()
    with sidecar(tmp_path) as which:
        assert main(["pause", *which, "--for", "2h", "--reason", "x"]) == 0
        found = pause_file.read(tmp_path)
    assert found is not None
    assert before <= found.asked_ns <= time.time_ns()
    assert found.until_ns - found.asked_ns == 2 * 3600 * 10**9
