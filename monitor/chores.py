"""What is done to the ledger between commits: erasures that were asked for, and what is old goes.

It owns when, and how much at a time: a small part a turn, so that no commit waits longer than for one. How it is done
is `history.upkeep`'s and `history.erasure`'s. It runs in the writer's thread, and knows nothing of rules.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dosimeter.monitor.history.consumers import Consumer
from dosimeter.monitor.history.erasure import Elsewhere, erasing, waiting_requests
from dosimeter.monitor.history.upkeep import Upkeep

log = logging.getLogger(__name__)

DAY_NS = 86_400 * 10**9
LOOK_S = 2.0
"""How long a request for an erasure may wait to be seen."""
PAUSE_S = 0.1
"""Between parts, for the commits."""
TROUBLE_S = 30.0
"""After something failed."""
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """For the status. It is replaced as a whole, and so may be read from any thread."""

    oldest_s: float | None = None  # age of the first alert that is here
    pruned: int = 0
    erased: int = 0
    held_by: str | None = None  # the consumer that old alerts wait for
    upkeep_error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Chores:
    """`turn` does one part and says after how many seconds it wants the next."""

    def __init__(
        self,
        upkeep: Upkeep,
        data_dir: Path,
        *,
        keep_ns: Callable[[], int],
        slowest: Callable[[], Consumer],
        elsewhere: Sequence[Elsewhere] = (),
        time_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """keep_ns: how old an alert may get. slowest: who reads the ledger, and has come least far."""
        self._upkeep, self._data_dir = upkeep, data_dir
        self._keep_ns, self._slowest, self._elsewhere = keep_ns, slowest, elsewhere
        self._time_ns, self._monotonic = time_ns, monotonic
        self._erasing: Iterator[None] | None = None
        self._bound_ns, self._bound_until = 0, float("-inf")
        self.kept = Kept()

    def turn(self) -> float:
        """Never raises."""
        try:
            return self._turn()
        except Exception as error:  # the thread that commits must live
            self._erasing = None
            known = self.kept.upkeep_error == (words := str(error) or repr(error))
            expected = isinstance(error, sqlite3.Error | OSError | RuntimeError)
            if not known:
                log.error("ledger not tidied: %s", words, exc_info=not expected)
            self.kept = Kept(**self.kept.as_dict() | {"upkeep_error": words})
            return TROUBLE_S

    def _turn(self) -> float:
        if self._erase():
            return PAUSE_S
        now_ns = self._time_ns()
        gone, held_by = self._prune(now_ns)
        first = self._upkeep.first()
        oldest_s = None if first is None else round(max(0, now_ns - first[1]) / 1e9, 3)
        self.kept = Kept(oldest_s, self._upkeep.pruned(), self._upkeep.erased(), held_by)
        return PAUSE_S if gone else LOOK_S

    def _erase(self) -> bool:
        """One part of the request in hand, or of the next; False when there is none."""
        if self._erasing is None:
            waiting = waiting_requests(self._data_dir)
            if not waiting:
                return False
            self._erasing = erasing(self._upkeep, waiting[0], self._elsewhere)
        if next(self._erasing, self) is self:
            self._erasing = None
        return True

    def _prune(self, now_ns: int) -> tuple[int, str | None]:
        """How many went, and whom older ones wait for."""
        first, before_ns = self._upkeep.first(), now_ns - self._keep_ns()
        if first is None or first[1] >= before_ns:
            return 0, None
        # One day's alerts an hour at most, so that a clock that jumps takes little.
        if self._monotonic() >= self._bound_until:
            self._bound_ns, self._bound_until = first[1] + DAY_NS, self._monotonic() + HOUR_S
        consumer = self._slowest()
        gone = self._upkeep.prune(consumer.cursor, min(before_ns, self._bound_ns))
        held = consumer.cursor < first[0]
        return gone, consumer.name if held else None
