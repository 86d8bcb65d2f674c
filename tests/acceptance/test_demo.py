"""The demo as a user starts it: right once through, and nothing left behind however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.scene import alive, commands, descendants, until

pytestmark = pytest.mark.parts
COMMAND = [str(Path(sys.executable).with_name("dosimeter")), "demo"]
ENDS_S = 40.0


@contextlib.contextmanager
def folder_with_a_space() -> Iterator[Path]:
    """Where a demo runs, and keeps what it needs meanwhile.

    Not pytest's own: the path of a unix socket has at most 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="dm-") as parent:
        folder = Path(parent, "a folder")
        folder.mkdir()
        yield folder


@pytest.fixture
def home() -> Iterator[Path]:
    with folder_with_a_space() as folder:
        yield folder


class Started:
    """One `dosimeter demo`, and every process that it has started so far."""

    def __init__(self, home: Path, process: subprocess.Popen[Any]) -> None:
        self.home, self.process = home, process
        self.pids: set[int] = set()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self.process.poll() is None:
            self.pids |= descendants(self.process.pid)
            threading.Event().wait(0.1)

    def ended(self) -> int:
        code = self.process.wait(ENDS_S)
        self._thread.join(5)
        return code

    def left_nothing(self) -> None:
        """Broker, server, supervisor, line and delivery were there, and are gone, with their folder."""
        assert self.pids
        until(lambda: not [pid for pid in self.pids if alive(pid)], "the end of every process", 10)
        assert not list(self.home.iterdir())


def start(home: Path, *more: str, **how: Any) -> Started:
    environment = {**os.environ, "TMPDIR": str(home)}
    return Started(home, subprocess.Popen([*COMMAND, *more], cwd=home, env=environment, **how))


@pytest.fixture(scope="module")
def once() -> Iterator[tuple[int, dict[str, Any], Started]]:
    """(exit code, the JSON it printed, its processes) of one `demo --once --json`."""
    with folder_with_a_space() as home:
        pipe = subprocess.PIPE
        demo = start(home, "--once", "--json", stdout=pipe, stderr=pipe, text=True)
        out, told = demo.process.communicate(timeout=150)
        assert out, told
        yield demo.ended(), json.loads(out), demo


def test_once_through_every_token_is_accounted_for_and_every_alert_read_back(
    once: tuple[int, dict[str, Any], Started],
) -> None:
    """Whatever the probes find: coverage against the clients' own count, and three equal counts of alerts."""
    _, report, _ = once
    assert report["failed_calls"] == []
    assert report["taps"] == [["live", None]]
    assert report["unaccounted"] == 0
    assert report["served_tokens"] == report["client_tokens"] > 1000
    gaps = sum(report["unscored"].values())
    assert report["scored_tokens"] + gaps == report["served_tokens"]
    assert report["coverage"] >= 0.99
    assert report["kafka_read_back"] == report["otlp_read_back"] == report["alerts"]
    assert report["seconds"] <= 90
    assert 0 < report["hook_to_decision_p99_ms"] < 1000
    assert 0 < report["decision_to_durable_p99_ms"] < 1000


def test_once_through_what_misbehaves_is_found_and_nothing_else(
    once: tuple[int, dict[str, Any], Started],
) -> None:
    code, report, _ = once
    found = {name: report[name] for name in ("missed", "false", "features", "alerts", "expected")}
    assert report["missed"] == [], found
    assert report["false"] == [], found
    assert report["features"] == ["deception", "defection", "scam", "sycophancy"]
    assert report["alerts"] >= report["expected"] >= 4
    assert report["ok"]
    assert code == 0


def test_once_through_nothing_is_left_behind(once: tuple[int, dict[str, Any], Started]) -> None:
    _, _, demo = once
    assert len(demo.pids) >= 5
    demo.left_nothing()


def test_once_ended_by_a_signal_leaves_nothing_behind(home: Path) -> None:
    """As `timeout` and CI end it: SIGTERM, in the middle of the traffic."""
    demo = start(home, "--once", stderr=subprocess.PIPE, text=True)
    assert demo.process.stderr is not None
    for line in demo.process.stderr:
        if line.startswith("traffic:"):
            break
    demo.process.terminate()
    assert demo.ended() == 130
    demo.process.stderr.close()
    demo.left_nothing()


class Terminal:
    """A terminal of its own for a process: what it shows, and keys to press."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        self._shown = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def take(self) -> None:
        """Run in the child: this is its controlling terminal, whose Ctrl-C is a SIGINT."""
        fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)

    def begin(self) -> None:
        os.close(self.theirs)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(self._ours, 65536):
                self._shown += part
        os.close(self._ours)

    @property
    def text(self) -> str:
        shown = self._shown.decode(errors="replace")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)


@contextlib.contextmanager
def live(home: Path) -> Iterator[tuple[Started, Terminal]]:
    terminal = Terminal()
    ends = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.theirs)
    demo = start(home, start_new_session=True, preexec_fn=terminal.take, **ends)
    terminal.begin()
    try:
        yield demo, terminal
    finally:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGTERM)
            demo.ended()


def test_live_it_shows_what_it_sees_and_ctrl_c_leaves_nothing_behind(home: Path) -> None:
    with live(home) as (demo, terminal):
        until(
            lambda: re.search(r"[1-9][\d,]* scored", terminal.text), "scored tokens on the screen"
        )
        assert "alerts, as consumed from Kafka" in terminal.text
        assert len(demo.pids) >= 5
        terminal.press(b"\x03")
        assert demo.ended() == 0
        assert "Traceback" not in terminal.text
        demo.left_nothing()


def test_ctrl_c_before_the_parts_are_up_leaves_nothing_behind(home: Path) -> None:
    with live(home) as (demo, terminal):
        until(lambda: "broker:" in terminal.text and demo.pids, "the first part named, and one up")
        terminal.press(b"\x03")
        assert demo.ended() == 130
        assert "Traceback" not in terminal.text
        demo.left_nothing()


def test_killed_outright_it_takes_every_process_with_it(home: Path) -> None:
    """kill -9 leaves the folder, which nobody is there to remove; but nothing that runs."""
    with live(home) as (demo, terminal):
        until(lambda: "what it sees" in terminal.text, "the screen")
        until(lambda: len(demo.pids) >= 5, "every part")
        demo.process.kill()
        demo.ended()
        until(
            lambda: not any(map(alive, demo.pids)),
            "the end of every process",
            ENDS_S,
            left=lambda: commands(filter(alive, demo.pids)),
        )
