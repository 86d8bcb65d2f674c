"""Signals: one that comes while its own thread holds the event's lock ends the program too; SIGHUP ends none."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal
from dosimeter.monitor.{module} import stop_on_signals
stop = stop_on_signals()
with stop._cond:  # as `stop.wait` holds it for a moment, ten times a second, for days
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(100_000):
        pass
assert stop.wait(20)
"""

HUNG_UP = """
import os, signal
from dosimeter.monitor.{module} import stop_on_signals
stop = stop_on_signals()
os.kill(os.getpid(), signal.SIGHUP)
assert not stop.is_set()
"""


@pytest.mark.parametrize("module", ["stopping", "cli.deliver"])
def test_told_to_end_in_the_middle_of_a_wait_it_ends(module: str) -> None:
    """2026-11-30: a supervisor whose demo was killed ran on for ever, waiting for a lock that it held itself."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module)], timeout=60, check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("module", ["stopping", "cli.deliver"])
def test_a_terminal_that_goes_ends_nothing(module: str) -> None:
    """Whoever sends SIGHUP wants settings read anew, or has logged out: neither is a reason to stop watching."""
    done = subprocess.run(
        [sys.executable, "-c", HUNG_UP.format(module=module)], timeout=60, check=False
    )
    assert done.returncode == 0
