"""The systemd units: verified and judged by systemd's own tool. A running systemd is not needed, nor shown."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from dosimeter.monitor.cli.main import build_parser
from dosimeter.monitor.supervising import COMMIT_S, DRAIN_S

from .conftest import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
each = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)


def command(unit: Path) -> list[str]:
    match = re.search(r"^ExecStart=(.+)$", unit.read_text(), flags=re.M)
    assert match is not None
    return shlex.split(match[1])


@pytest.fixture
def placed(unit: Path, tmp_path: Path) -> Path:
    """The unit with a program that is there: systemd looks for it."""
    found = tmp_path / unit.name
    found.write_text(unit.read_text().replace(command(unit)[0], "/bin/true"))
    return found


@each
def test_systemd_has_nothing_to_say(unit: Path, placed: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(placed)], capture_output=True, text=True, timeout=60
    )
    assert [line for line in done.stderr.splitlines() if unit.stem in line] == []


@each
def test_its_exposure_is_low(unit: Path, placed: Path) -> None:
    """0 is best, 10 worst; below 2 systemd says OK."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(placed)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@each
def test_its_command_is_one_of_ours(unit: Path) -> None:
    words = command(unit)
    assert words[0].endswith("/dosimeter")
    build_parser(words[1:2]).parse_args(words[1:])


@each
def test_there_is_time_to_drain_and_it_may_lower_its_own_priority(unit: Path) -> None:
    """`os.nice` is refused under `~@resources`, and history would not start."""
    text = unit.read_text()
    (limit,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, flags=re.M)
    assert int(limit) >= 2 * (COMMIT_S + DRAIN_S + 3)
    assert "@resources" not in text
