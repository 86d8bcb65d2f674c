"""Patches, checked by git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dosimeter.monitor.pages.patch import unified


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("a\nb\nc\n", "a\nB\nc\n", "a\nB\nc\n"),
        ("a\nb", "a\nc", "a\nc"),
        ("a\nb", "a\nb\n", "a\nb\n"),
        ("a\nb\n", "a\nb\nc", "a\nb\nc\n"),
        ("a\r\nb\r\n", "a\nX\n", "a\r\nX\r\n"),
        ("a\u2028b\x0cc\n", "a\u2028b\x0cd\n", "a\u2028b\x0cd\n"),
        ("", "a\n", "a\n"),
        ("a\n", "", "\n"),
    ],
)
def test_git_applies_it_and_line_ends_stay_those_of_the_file(
    tmp_path: Path, before: str, after: str, wanted: str
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/x.yaml").write_bytes(before.encode())
    patch = unified("r/x.yaml", before, after)
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "r/x.yaml").read_bytes() == wanted.encode()


def test_nothing_changed_is_no_patch() -> None:
    assert unified("x", "a\nb\n", "a\r\nb\r\n") == ""


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a b", "a\nb", "", "-x/../y"])
def test_a_path_outside_a_repository_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        unified(path, "a", "b")
