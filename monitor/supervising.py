"""Processes that are kept running: what dies is started again, with backoff, and all are ended on SIGTERM.

In a sidecar these are the line, delivery where there are sinks, archive and history where asked for; the first of them
is ended first. It knows only their commands, and imports nothing of what they do.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event

log = logging.getLogger(__name__)

ENVIRONMENT = 3
"""Exit code: this machine does not allow it; trying again will not help by itself."""
DRAIN_S, COMMIT_S = 2.0, 20.0
"""What the line has to take in what is on the wire, and then to commit it."""
END_S = DRAIN_S + COMMIT_S + 3
"""Then a child is killed."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, SETTLED_S = 0.2, 5.0, 10.0


def ending_with_parent(how: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """For `preexec_fn`: the child gets this signal when we die, even by SIGKILL, so that nothing is left behind.

    SIGKILL for what is someone else's and has nothing to save: it might not end for less.
    """
    return partial(end_with, os.getpid(), how)


def end_with(parent: int, how: signal.Signals) -> None:
    """Of the process that calls it, which `parent` has started."""
    ctypes.CDLL(None).prctl(1, how)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before we could ask
        os.kill(os.getpid(), how)


@dataclass
class Child:
    """One supervised process. essential: where it may not run, the others are not wanted either."""

    name: str
    command: Sequence[str]
    essential: bool = False
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    next_start: float = 0.0
    restarts: int = 0

    def start(self, now: float) -> None:
        self.process = subprocess.Popen(
            self.command, start_new_session=True, preexec_fn=ending_with_parent()
        )
        self.started = now

    def died(self, now: float) -> int:
        """Note the end of the process and when to try again; returns its exit code."""
        assert self.process is not None  # only called for one that was started
        code, self.process = self.process.returncode, None
        self._wait(now)
        self.restarts += 1
        return code

    def start_again(self, now: float) -> None:
        """A machine that has no process to give now is no reason to end the others."""
        try:
            self.start(now)
        except (OSError, subprocess.SubprocessError) as error:
            self.started = now
            self._wait(now)
            log.warning("%s cannot be started: %s, again in %.1f s", self.name, error, self.pause_s)

    def _wait(self, now: float) -> None:
        self.pause_s = (
            FIRST_PAUSE_S
            if now - self.started > SETTLED_S
            else min(LONGEST_PAUSE_S, 2 * self.pause_s)
        )
        self.next_start = now + self.pause_s

    def end(self, patience_s: float) -> int:
        """SIGTERM, and SIGKILL for one that does not go."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            code = self.process.wait(patience_s)
            return 0 if code == -signal.SIGTERM else code  # told to end before it could listen
        except subprocess.TimeoutExpired:
            log.error("%s did not end within %.0f s and was killed", self.name, patience_s)
            self.process.kill()
            return self.process.wait()


def supervise(children: Sequence[Child], stop: Event) -> int:
    """Keep them running until `stop` is set, or until the first start of an essential one fails."""
    for child in children:
        child.start(time.monotonic())
    while not stop.wait(0.1):
        now = time.monotonic()
        for child in children:
            if child.process is None:
                if now >= child.next_start:
                    child.start_again(now)
            elif child.process.poll() is not None:
                code = child.died(now)
                first = child.restarts == 1 and now - child.started < SETTLED_S
                if child.essential and code == ENVIRONMENT and first:
                    for other in children:
                        other.end(END_S)
                    return code
                log.warning("%s ended with %d, again in %.1f s", child.name, code, child.pause_s)
    codes = [child.end(END_S) for child in children]
    return next((code for code in codes if code), 0)
