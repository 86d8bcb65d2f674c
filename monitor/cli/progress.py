"""A bar on stderr for work that takes long: redrawn on a terminal, a line every few seconds elsewhere.

It owns how often something is said. Standard output stays what the command prints.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

REDRAW_S, SAY_S = 0.2, 4.0


class Progress:
    """Call it with what is done so far, as often as you like. of: all there is to do."""

    def __init__(
        self,
        what: str,
        of: int,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._of, self._now = what, max(of, 1), now
        self._stream = sys.stderr if stream is None else stream
        self._screen = self._stream.isatty()
        self._began = self._said = now()

    def __call__(self, done: int) -> None:
        now = self._now()
        if now - self._said < (REDRAW_S if self._screen else SAY_S):
            return
        self._said = now
        share = min(done / self._of, 1.0)
        left = f", {(now - self._began) * (1 - share) / share:.0f} s left" if share else ""
        full = int(20 * share)
        line = f"{self._what} {'█' * full}{'░' * (20 - full)} {done:,} of {self._of:,}{left}"
        print(f"\r\x1b[K{line}" if self._screen else line, end="" if self._screen else "\n",
              file=self._stream, flush=True)  # fmt: skip

    def close(self) -> None:
        """Leaves no half of a line."""
        if self._screen and self._said > self._began:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
