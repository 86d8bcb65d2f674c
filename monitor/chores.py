"""What is done to the ledger between commits: erasures that were asked for, and what is old goes.

It owns when, and how much at a time: a small part a turn, so that no commit waits longer than for one. How it is done
is `history.upkeep`'s and `history.erasure`'s. It runs in the writer's thread, and knows nothing of rules.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
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
"""After something failed; an erasure that goes on failing is tried half as often each time, and each hour at least."""
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
        self._erasing: Iterator[bool] | None = None
        self._erase_at, self._trouble_s = float("-inf"), TROUBLE_S
        self._errors: dict[str, str] = {}
        self._bound_ns, self._bound_until = 0, float("-inf")
        self.kept = Kept()

    def turn(self) -> float:
        """Never raises. An erasure that cannot be done now keeps nothing old from going."""
        if self._monotonic() >= self._erase_at:
            began = False
            try:
                began, wait_s = self._erase()
            except Exception as error:  # the thread that commits must live
                self._erasing = None
                self._failed("erasure", error)
                wait_s, self._trouble_s = self._trouble_s, min(HOUR_S, 2 * self._trouble_s)
            self._erase_at = self._monotonic() + wait_s
            if began:
                return PAUSE_S
        try:
            wait_s = self._tidy()
        except Exception as error:
            self._failed("old alerts", error)
            return TROUBLE_S
        self._well("old alerts")
        return wait_s

    def hurry(self) -> None:
        """From any thread: what takes long is left undone."""
        self._upkeep.hurry()

    def _erasure_well(self) -> None:
        self._trouble_s = TROUBLE_S
        self._well("erasure")

    def _well(self, what: str) -> None:
        if self._errors.pop(what, None) is not None:
            self._tell()

    def _failed(self, what: str, error: Exception) -> None:
        words = str(error) or repr(error)
        if self._errors.get(what) != words:
            expected = isinstance(error, sqlite3.Error | OSError | RuntimeError)
            log.error("ledger not tidied, %s: %s", what, words, exc_info=not expected)
        self._errors[what] = words
        self._tell()

    def _tell(self) -> None:
        self.kept = replace(self.kept, upkeep_error=next(iter(self._errors.values()), None))

    def _tidy(self) -> float:
        now_ns = self._time_ns()
        gone, held_by = self._prune(now_ns)
        first = self._upkeep.first(now_ns)
        oldest_s = None if first is None else round(max(0, now_ns - first[1]) / 1e9, 3)
        self.kept = replace(
            self.kept,
            oldest_s=oldest_s,
            pruned=self._upkeep.pruned(),
            erased=self._upkeep.erased(),
            held_by=held_by,
        )
        return PAUSE_S if gone else LOOK_S

    def _erase(self) -> tuple[bool, float]:
        """One part of the request in hand, or of the next: whether something was done, and when to ask again."""
        if self._erasing is None:
            request = next(waiting_requests(self._data_dir), None)
            if request is None:
                self._erasure_well()
                return False, 0.0
            self._erasing = erasing(self._upkeep, request, self._elsewhere)
        done = next(self._erasing, None)
        if done is None:
            self._erasing = None
            self._erasure_well()
        return (False, LOOK_S) if done is False else (True, 0.0)

    def _prune(self, now_ns: int) -> tuple[int, str | None]:
        """How many went, and whom older ones wait for."""
        first, before_ns = self._upkeep.first(now_ns), now_ns - self._keep_ns()
        if first is None or first[1] >= before_ns:
            return 0, None
        # One day's alerts an hour at most, so that a clock that jumps takes little.
        if self._monotonic() >= self._bound_until:
            self._bound_ns, self._bound_until = first[1] + DAY_NS, self._monotonic() + HOUR_S
        consumer = self._slowest()
        gone = self._upkeep.prune(consumer.cursor, min(before_ns, self._bound_ns), now_ns)
        held = consumer.cursor < first[0]
        return gone, consumer.name if held else None
