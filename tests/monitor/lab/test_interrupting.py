"""Ctrl-C of a demo in the worst moment: in a callback of a fork, in a finalizer, while it clears up."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEFORE = """
import logging, os, signal, subprocess, sys, threading
from dosimeter.monitor.lab.interrupting import clearing_up, interruptible, starting

def press(*_):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000): pass  # bytecode, at which Python looks for signals

def ended(process):
    process.wait()
    print("known")
"""
IN_A_FORK = """
class Slow(logging.Handler):
    def emit(self, record): print("said", record.getMessage())
logging.getLogger().addHandler(Slow())
os.register_at_fork(after_in_parent=press)
parts = []
try:
    with interruptible():
        with starting():
            parts.append(subprocess.Popen(["true"], preexec_fn=lambda: None))
        print("after")
except KeyboardInterrupt:
    for part in parts: ended(part)
    def say(): logging.getLogger().warning("goodbye")
    thread = threading.Thread(target=say); thread.start(); thread.join(20)
    print("ended", thread.is_alive())
"""
IN_A_FINALIZER = """
class Thing:
    def __del__(self): press()
try:
    with interruptible():
        thing = Thing()
        del thing
        signal.pause()
        print("after")
except KeyboardInterrupt:
    print("ended")
"""
CLEARING_UP = """
try:
    with interruptible():
        clearing_up.set()
        press()
        print("after")
except KeyboardInterrupt:
    print("ended")
"""
IN_THE_CHILD = """
try:
    with interruptible():
        with starting():
            part = subprocess.Popen(["true"], preexec_fn=press)
        ended(part)
except KeyboardInterrupt:
    print("ended")
"""


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        (IN_A_FORK, ["known", "said goodbye", "ended False"]),
        (IN_A_FINALIZER, ["ended"]),
        (CLEARING_UP, ["after"]),
        (IN_THE_CHILD, ["known"]),
    ],
    ids=["in a fork", "in a finalizer", "while clearing up", "in the child, before it is itself"],
)
def test_an_interruption_is_neither_lost_nor_shown(program: str, shown: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + program], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.split("\n")[:-1] == shown
