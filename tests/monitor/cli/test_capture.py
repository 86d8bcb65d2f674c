"""`dosimeter capture`: what it refuses before anything is asked of anybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dosimeter.monitor.capture.asking import Came
from dosimeter.monitor.cli.capture import _share, _size, _span, lines
from dosimeter.monitor.cli.main import main

GOOD = {
    "--socket": "c.sock", "--layers": "4,8", "--for": "10m", "--sample": "1%", "--max-bytes": "1GB",
    "--reason": "INC-441", "--out": "captured",
}  # fmt: skip


def asked(tmp_path: Path, **changed: str | None) -> list[str]:
    wanted = {**GOOD, "--socket": str(tmp_path / "c.sock"), "--out": str(tmp_path / "captured")}
    wanted |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    said = [(name, value) for name, value in wanted.items() if value is not None]
    return ["capture", *(part for pair in said for part in pair)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", "four"), ("layers", ""), ("for", "25h"), ("for", "10"), ("sample", "0%"), ("sample", "101%"),
        ("sample", "1"), ("max_bytes", "1"), ("max_bytes", "0GB"), ("max_requests", "0"), ("reason", " "),
        ("reason", None), ("for", None), ("max_bytes", None), ("sample", None),
    ],
)  # fmt: skip
def test_a_bound_that_is_missing_or_wrong_is_a_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: str | None
) -> None:
    """There is no capture without a bound, nor without a reason."""
    with pytest.raises(SystemExit) as ended:
        main(asked(tmp_path, **{name: value}))
    assert ended.value.code == 2
    assert f"--{name.replace('_', '-')}" in capsys.readouterr().err


def test_units_are_what_they_say() -> None:
    assert (_share("1%"), _share("0.05 %"), _share("100%")) == (10_000, 500, 1_000_000)
    assert (_size("1GB"), _size("500MB"), _size("3kB")) == (10**9, 5 * 10**8, 3000)
    assert (_span("90s"), _span("10m"), _span("24h")) == (90, 600, 86_400)


def test_a_folder_that_is_there_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "captured").mkdir()
    assert main(asked(tmp_path)) == 4
    assert "is there already" in capsys.readouterr().err


def test_what_came_is_said_of_a_folder_whose_name_is_no_text() -> None:
    said = "\n".join(lines(Came(why="its time is up"), "ab", Path(os.fsdecode(b"/caf\xe9"))))
    assert said.encode()
    assert "/caf" in said


def test_where_no_folder_can_be_made_nobody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It had failed once the tap had begun, and had put that on record."""
    assert main(asked(tmp_path, out=str(tmp_path / "none" / "captured"))) == 4
    assert "is no folder" in capsys.readouterr().err


def test_where_a_link_to_nowhere_stands_nobody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no folder and is there: that had been found out when the tap had begun."""
    monkeypatch.setattr("dosimeter.monitor.capture.asking.FOUND_S", 0.1)
    (tmp_path / "captured").symlink_to(tmp_path / "nowhere")
    assert main(asked(tmp_path)) == 4
    assert "is there already" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_where_the_disk_takes_no_folder_nobody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("dosimeter.monitor.capture.asking.FOUND_S", 0.1)
    monkeypatch.setattr(os, "mkdir", refuse)
    assert main(asked(tmp_path)) == 4
    assert "cannot be made: Read-only file system" in capsys.readouterr().err


def test_a_key_that_others_may_read_is_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    key.chmod(0o644)
    assert main(asked(tmp_path, key_file=str(key))) == 4
    assert "others may read" in capsys.readouterr().err


def test_where_no_tap_comes_nothing_is_left_and_the_hint_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dosimeter.monitor.capture.asking.FOUND_S", 0.3)
    assert main(asked(tmp_path)) == 3
    assert "--allow-capture" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_server_is_not_started_with_leave_that_others_could_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o777)
    assert main(["attach", "--allow-capture", str(tmp_path / "c.sock"), "--", "true"]) == 2
    assert "others may write its folder" in capsys.readouterr().err


def test_an_engine_that_nothing_is_captured_from_is_refused_and_one_that_can_be_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    leave = ["attach", "--allow-capture", str(tmp_path / "c.sock"), "--"]
    assert main([*leave, "sglang", "serve", "--model-path", "m"]) == 2
    assert "no activations leave SGLang" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*leave, "vllm", "serve", "m"]) == 3
    assert "`vllm` is not on PATH" in capsys.readouterr().err
