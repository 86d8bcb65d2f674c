"""What lies in the repository, by name: nothing that a run or a slip of the hand has left there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests import conftest

ROOT = Path(__file__).resolve().parents[1]
TOP = {
    ".ci", ".gitignore", "CHANGELOG.md", "DECISIONS.md", "LICENSE", "Makefile", "NOTICE", "README.md",
    "benchmarks", "deploy", "detectors", "docs", "monitor", "pyproject.toml", "rules", "tests",
}  # fmt: skip
PLAIN = re.compile(r"[A-Za-z0-9._/@+-]+")


def names() -> list[str]:
    """Of every file that git has, or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.rstrip("\0").split("\0")


def test_nothing_lies_at_the_top_but_what_belongs_there() -> None:
    """2026-11-30: commands run with absurd values had made the folders `1d`, `nan` and `*`, and they were committed."""
    assert {name.split("/")[0] for name in names()} == TOP


def test_names_can_be_typed_in_any_shell() -> None:
    assert [name for name in names() if not PLAIN.fullmatch(name)] == []


def test_files_that_the_tiers_are_made_of_are_there() -> None:
    """Else one that was given another name is collected where it cannot run, or starts a scene of its own."""
    needs = [
        name for key, found in vars(conftest).items() if key.startswith("NEEDS_") for name in found
    ]
    assert len(needs) > 10
    tests = [ROOT / "tests" / name for name in needs] + [ROOT / name for name in conftest.TOGETHER]
    assert [str(path) for path in tests if not path.is_file()] == []
