"""What somebody refused, said in the log: the first of a reason at once, then once a minute how many more.

A topic or a socket that others write to could else fill the log. It owns when a line is due; what is refused is its
owner's affair, and so is the count of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from dosimeter.detectors.findings import visible

log = logging.getLogger(__name__)

EVERY_NS = 60 * 10**9
REASONS, SHOWN = 8, 400
"""Reasons that are told apart, and characters of each: they quote what came."""
OTHERS = "other reasons"


class Refusals:
    """Use it from one thread. `tell` is called at each turn, for what is due when nothing comes any more."""

    def __init__(self, now_ns: Callable[[], int], what: str) -> None:
        """now_ns: of a clock that may be set. what: is said of each, such as `not counted`."""
        self._now_ns, self._what = now_ns, what
        self._since_ns = 0  # of the minute that runs, where there is a reason
        self._more: dict[str, int] = {}  # since the reason was said last
        self._latest: dict[str, str] = {}  # places, by reason

    def add(self, where: str, because: str, defect: Exception | None = None) -> None:
        """defect: of ours, that it came from; its first is said as an error, and where it arose."""
        self.tell()
        where, because = (visible(one[:SHOWN])[:SHOWN] for one in (where, because))
        if because not in self._more and len(self._more) >= REASONS:
            because = OTHERS
        if because in self._more:
            self._more[because] += 1
            self._latest[because] = where
            return
        if not self._more:
            self._since_ns = self._now_ns()
        self._more[because] = 0
        level = logging.WARNING if defect is None else logging.ERROR
        log.log(level, "%s is %s: %s", where, self._what, because, exc_info=defect)

    def tell(self) -> None:
        """Say what is due. A reason that did not come for a minute is forgotten: then its next one is said at once."""
        if not self._more:
            return
        now_ns = self._now_ns()
        if 0 <= now_ns - self._since_ns < EVERY_NS:
            return  # a clock that was set back holds nothing up
        again = {because: more for because, more in self._more.items() if more}
        for because, more in again.items():
            where = self._latest[because]
            log.warning("%d more are %s, the latest %s: %s", more, self._what, where, because)
        self._since_ns, self._more, self._latest = now_ns, dict.fromkeys(again, 0), {}
