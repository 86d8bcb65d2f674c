"""What a stage refused, said in the log: the first of a reason at once, then once a minute how many more.

A topic that somebody else writes to could else fill the log. It owns when a line is due; what is refused is the
stages' affair, and so is the count of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

EVERY_NS = 60 * 10**9
REASONS, SHOWN = 8, 400
"""Reasons that are told apart, and characters of each: they quote what came."""
OTHERS = "other reasons"


class Refusals:
    """Use it from one thread. `tell` is called at each turn, for what is due when nothing comes any more."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._since_ns = 0  # of the minute that runs, where there is a reason
        self._more: dict[str, int] = {}  # since the reason was said last
        self._latest: dict[str, str] = {}  # places, by reason

    def add(self, where: str, because: str) -> None:
        self.tell()
        because = because[:SHOWN]
        if because not in self._more and len(self._more) >= REASONS:
            because = OTHERS
        if because in self._more:
            self._more[because] += 1
            self._latest[because] = where
            return
        if not self._more:
            self._since_ns = self._now_ns()
        self._more[because] = 0
        log.warning("%s is not counted: %s", where, because)

    def tell(self) -> None:
        """Say what is due. A reason that did not come for a minute is forgotten: then its next one is said at once."""
        now_ns = self._now_ns()
        if not self._more or 0 <= now_ns - self._since_ns < EVERY_NS:
            return  # a clock that was set back holds nothing up
        again = {because: more for because, more in self._more.items() if more}
        for because, more in again.items():
            where = self._latest[because]
            log.warning("%d more are not counted, the latest %s: %s", more, where, because)
        self._since_ns, self._more, self._latest = now_ns, dict.fromkeys(again, 0), {}
