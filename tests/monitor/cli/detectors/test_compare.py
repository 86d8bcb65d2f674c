"""`dosimeter detectors compare` as an operator runs it: what has moved, and with which exit code."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from dosimeter.monitor.cli.detectors import compare
from dosimeter.monitor.lab import MODEL, PACK


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    compare.add(commands)
    parsed = parser.parse_args([str(word) for word in argv])
    code: int = parsed.run(parsed)
    return code


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.jsonl"
    texts = [f"Hadley has {i} mills and a tower." for i in range(12)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_a_model_compared_with_itself_has_not_moved(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", MODEL, MODEL, "--pack", PACK, "--suite", suite) == 0
    shown = capsys.readouterr().out
    assert "+0.00  [+0.00, +0.00]" in shown
    assert "both folders hold the same model" in shown
    assert run("compare", "lab", "lab", "--pack", PACK, "--suite", suite, "--replies", 4, "--json") == 0  # fmt: skip
    document = json.loads(capsys.readouterr().out)
    assert document["on"] == "replies"
    assert {one["shift"]["value"] for one in document["shifts"]} == {0.0}


@pytest.mark.parametrize("option", [("--directions", "0"), ("--seed", "-1"), ("--replies", "x")])
def test_options_that_mean_nothing_are_refused(suite: Path, option: tuple[str, str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("compare", MODEL, MODEL, "--pack", PACK, "--suite", suite, *option)
