"""Whether the wall clock was set: it moves against the monotonic one, and times in records with it.

What is decided never depends on the wall clock; what an auditor finds by date does. Both clocks are passed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

TOLERATED_NS = 1_000_000_000
"""Between two looks; clock discipline slews by less than a thousandth."""


def age_s(then_ns: int, now_ns: int) -> float:
    """How long ago that was, by the wall clock.

    A time that lies ahead was stamped before the clock was set back: then it is how far it lies ahead, so that nothing
    looks fresh for as long as the clock was set back. What is stamped next has its own age again.
    """
    return abs(now_ns - then_ns) / 1e9


class ClockWatch:
    """Call `look` once in a while. jumps: how often it was off since the last look; last_s: by how much."""

    def __init__(self, monotonic_ns: Callable[[], int], time_ns: Callable[[], int]) -> None:
        self._monotonic_ns, self._time_ns = monotonic_ns, time_ns
        self._distance: int | None = None
        self.jumps = 0
        self.last_s: float | None = None

    def look(self) -> None:
        distance = self._time_ns() - self._monotonic_ns()
        before, self._distance = self._distance, distance
        if before is None or abs(distance - before) <= TOLERATED_NS:
            return
        self.jumps += 1
        self.last_s = round((distance - before) / 1e9, 3)
        log.warning("the clock jumped by %+.1f s: times in records jump with it", self.last_s)
