"""Processes that are kept running, and ended."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dosimeter.monitor.supervising import Child, supervise
from tests.monitor.test_service import PATIENCE_S, until

pytestmark = pytest.mark.parts


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    script = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text() + 'x')"
    (tmp_path / "starts").write_text("")
    child = Child("one", [sys.executable, "-c", script, str(tmp_path / "starts")])
    stop = threading.Event()
    thread = threading.Thread(target=supervise, args=([child], stop))
    thread.start()
    until(lambda: len((tmp_path / "starts").read_text()) >= 2)
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_child_that_cannot_be_started_now_ends_no_other(tmp_path: Path) -> None:
    """As where there are no more processes: the supervisor had ended with a traceback, and all with it."""
    command, away = tmp_path / "command", tmp_path / "away"
    command.write_text(f"#!/bin/sh\nmv {command} {away}\n")
    command.chmod(0o755)
    leaves, stays = Child("leaves", [str(command)]), Child("stays", ["sleep", "60"])
    stop = threading.Event()
    thread = threading.Thread(target=supervise, args=([leaves, stays], stop))
    thread.start()
    try:
        until(lambda: leaves.pause_s >= 0.8)  # it died, and was then not to be started
        assert stays.process is not None
        assert stays.process.poll() is None
        away.rename(command)
        until(lambda: leaves.restarts >= 2)
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_process_that_is_told_to_end_before_it_can_listen_has_not_failed() -> None:
    """2026-11-29: on a busy machine the sidecar's exit code was that of a child still importing."""
    child = Child("early", [sys.executable, "-c", "import time; time.sleep(60)"])
    child.start(time.monotonic())
    assert child.end(PATIENCE_S) == 0


def test_whoever_supervises_imports_nothing_of_what_is_supervised() -> None:
    """A broker or a server under test that is to end with its parent had loaded the whole line for it."""
    asked = (
        "import dosimeter.monitor.supervising, sys;"
        "print([name for name in sys.modules if name.startswith(('dosimeter.rules', 'numpy'))])"
    )
    assert subprocess.check_output([sys.executable, "-c", asked], text=True).strip() == "[]"
