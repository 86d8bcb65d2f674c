"""What stands beside a claim as its proof is there: the command, the target, the test, the run that was kept."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from dosimeter.monitor.cli.main import build_parser

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/claims.md"]


def proofs(page: str) -> list[str]:
    """All that a row of its tables sets as code."""
    text = (ROOT / page).read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [span for row in rows for span in re.findall(r"`([^`]+)`", row)]


def options(parser: argparse.ArgumentParser, words: list[str]) -> tuple[str, set[str]]:
    """The command as far as `words` name one, and the options it takes."""
    said: list[str] = []
    for word in words:
        inner = [
            action.choices[word]
            for action in parser._actions
            if isinstance(action, argparse._SubParsersAction) and word in action.choices
        ]
        if not inner:
            break
        parser, said = inner[0], [*said, word]
    return " ".join(said), {one for action in parser._actions for one in action.option_strings}


@pytest.mark.parametrize("page", PAGES)
def test_commands_beside_claims_exist_and_take_their_options(page: str) -> None:
    commands = [span.split()[1:] for span in proofs(page) if span.startswith("dosimeter ")]
    assert commands
    for words in commands:
        found, known = options(build_parser(words[:1]), words)
        assert found, f"no command: {words}"
        assert {word for word in words if word.startswith("--")} <= known, words


@pytest.mark.parametrize("page", PAGES)
def test_targets_and_files_beside_claims_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [span.split()[1] for span in proofs(page) if span.startswith("make ")]
    assert named
    assert set(named) <= targets
    for span in proofs(page):
        if re.match(r"(tests|monitor|rules|deploy)/\S+$", span):
            for path in alternatives(span):
                assert [*ROOT.glob(path.rstrip("/"))], f"`{path}` is not there"


def test_every_run_that_is_named_was_kept() -> None:
    text = (ROOT / "docs" / "claims.md").read_text()
    named = set(re.findall(r"benchmarks/[\w.-]+\.json", text))
    assert len(named) >= 10
    for path in named:
        assert (ROOT / path).is_file(), path


def alternatives(path: str) -> list[str]:
    """`a_{b,c}.py` as the two files it stands for."""
    found = re.match(r"(.*)\{(.*)\}(.*)", path)
    if found is None:
        return [path]
    return [found[1] + one + found[3] for one in found[2].split(",")]
