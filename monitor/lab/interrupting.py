"""Ctrl-C and SIGTERM of a demo: what is under way ends, but neither a start of a process nor the clearing up does.

While a process is forked, Python runs callbacks of other modules, in which an exception is printed and lost;
`logging` would keep its lock for ever. So an interruption then waits until the process is there, and known.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

AGAIN_S = 1.0

clearing_up = threading.Event()
"""Set once a stage of this process has begun to end: an interruption now would leave parts running."""

_starting = threading.Event()
_waiting = threading.Event()


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Around the start of a process. Raises KeyboardInterrupt at its end if one came meanwhile."""
    _waiting.clear()
    _starting.set()
    try:
        yield
    finally:
        _starting.clear()
    if _waiting.is_set():
        interrupt()


def interrupt(*_: object) -> None:
    """End what is under way, until clearing up has begun, which nothing may break.

    An exception in a signal handler can be swallowed where it lands (a finalizer, a callback), so it is
    raised again a second later.
    """
    if clearing_up.is_set():
        return
    if _starting.is_set():
        _waiting.set()
        return
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
    raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Signals that end a demo are heard, and one that was swallowed is not printed: it comes again."""
    said = sys.unraisablehook

    def quiet(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            said(unraisable)

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(name, interrupt)
    sys.unraisablehook = quiet
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = said
