"""The alerts about the monitor, checked and tested by Prometheus' own tool."""

from __future__ import annotations

import subprocess

import pytest

from .prometheus_scene import promtool
from .test_prometheus import FOLDER, TESTS

pytestmark = pytest.mark.parts


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool(), *arguments], capture_output=True, text=True, timeout=60)


def test_promtool_accepts_the_rules_and_their_tests_pass() -> None:
    done = run("check", "rules", str(FOLDER / "dosimeter.rules.yaml"))
    assert done.returncode == 0, done.stderr
    done = run("test", "rules", *map(str, TESTS))
    assert done.returncode == 0, done.stdout + done.stderr
