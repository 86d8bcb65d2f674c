"""What was counted of a ledger before, so that who looks every second need not go through all of it each time.

Up to a position the number of alerts that ever were is final, whatever is pruned since: only what follows is counted.
Each EVERY-th time all of it is counted again, because a row that somebody took out has to show. It holds no connection.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from dosimeter.monitor.history.ledger import SQL
from dosimeter.monitor.history.restored import Opening

EVERY = 100


@dataclass(slots=True)
class Counted:
    """Deliverable alerts of one ledger, for any thread."""

    ledger_id: str = ""
    wrote: Sequence[Opening] = ()
    through: int = 0  # the last position that is in `total`
    total: int = 0
    looks: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def count(
        self, db: sqlite3.Connection, seq: int, ledger_id: str, wrote: Sequence[Opening]
    ) -> tuple[int, int]:
        """(all there ever were, those after `seq`), of one snapshot. wrote: another list is a ledger put back."""
        with self._lock:
            return self._count(db, seq, ledger_id, wrote)

    def _count(
        self, db: sqlite3.Connection, seq: int, ledger_id: str, wrote: Sequence[Opening]
    ) -> tuple[int, int]:
        known = (ledger_id, wrote) == (self.ledger_id, self.wrote) and self.looks % EVERY
        self.looks += 1
        if known:
            bound = {"seq": seq, "through": self.through}
            more, after, last, end, gone = db.execute(SQL["count_since"], bound).fetchone()
            if gone <= self.through <= end:  # else some went that were never counted
                self.total, self.through = self.total + more, max(self.through, last)
                return self.total, after
        total, after, last = db.execute(SQL["count_deliverable"], {"seq": seq}).fetchone()
        self.ledger_id, self.wrote, self.looks = ledger_id, wrote, 1
        self.through, self.total = last, total
        return total, after
