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
    """Call it with what is done so far and all there is to do, as often as you like."""

    def __init__(
        self,
        what: str,
        now: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
    ) -> None:
        self._what, self._now = what, now
        self._stream = sys.stderr if stream is None else stream
        self._screen = self._stream.isatty()
        self._drawn = False  # a line that has no end yet
        self._began = self._said = now()

    def __call__(self, done: int, of: int) -> None:
        now, last = self._now(), done >= of
        if now - self._said < (REDRAW_S if self._screen else SAY_S) and not (last and self._drawn):
            return
        self._said = now
        share = min(done / max(of, 1), 1.0)
        left = f", {(now - self._began) * (1 - share) / share:.0f} s left" if share else ""
        full = int(20 * share)
        line = f"{self._what} {'█' * full}{'░' * (20 - full)} {done:,} of {of:,}{left}"
        self._drawn = self._screen and not last
        print(f"\r\x1b[K{line}" if self._screen else line, end="" if self._drawn else "\n",
              file=self._stream, flush=True)  # fmt: skip

    def close(self) -> None:
        """Leaves no half of a line."""
        if self._drawn:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
            self._drawn = False
