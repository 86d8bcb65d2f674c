"""The command's own part: what it refuses, and what it answers where the kit cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.cli import conformance
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.conformance import kit


def test_the_servers_it_names_are_those_of_the_kit() -> None:
    """Named twice, so that `--help` needs no torch."""
    assert tuple(kit.SERVERS) == conformance.SERVERS


def test_a_command_needs_the_folder_that_the_reference_is_read_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["conformance", "--", "vllm", "serve", "m"]) == 2
    assert "needs --model FOLDER" in capsys.readouterr().err
    assert main(["conformance", "--server", "generate", "--", "vllm", "serve", "m"]) == 2
    assert "leave one of them out" in capsys.readouterr().err
    assert main(["conformance", "--tokens", "-1"]) == 2


def test_a_folder_without_a_model_cannot_be_run_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conformance", "--model", str(tmp_path)]) == 3
    assert f"conformance: {tmp_path}: no model's folder" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert main(["conformance", "--model", str(tmp_path)]) == 3
    assert f"conformance: {tmp_path}: no decoder" in capsys.readouterr().err


@pytest.mark.parts
def test_a_server_that_ends_at_once_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sh", "-c", "echo no such device; exit 7"]
    assert main(["conformance", "--model", str(kit.LAB), "--", *command]) == 3
    said = capsys.readouterr().err
    assert "the server ended with 7" in said
    assert "no such device" in said


def test_one_case_from_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--server", "generate", "--case", "one-token", "--tokens", "0"]
    assert main(["conformance", *arguments]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("conforms: 1 cases, 31 tokens served, 31 positions")
    assert "pack of random directions planted" in err
