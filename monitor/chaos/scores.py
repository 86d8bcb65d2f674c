"""What the ledger says of calls: how many tokens of each answer have a score, as its alert states.

It reads the file as any auditor would, and bears with one that is locked or gone for a while.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from dosimeter.monitor.chaos.callers import RULE
from dosimeter.monitor.history.ledger import LedgerError
from dosimeter.monitor.history.reader import LedgerReader

ALL = 100_000
UNREADABLE = (LedgerError, sqlite3.Error)


class Scores:
    """Of one ledger. Read from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to, self._tokens = 0, dict[str, int]()
        self._lock = threading.Lock()

    def tokens_of(self) -> Callable[[str], int]:
        """Answer tokens with a score, by request id, from the alerts committed so far."""
        with self._lock, contextlib.suppress(*UNREADABLE), self._reader() as reader:
            while found := reader.alerts_since(self._read_to, limit=500):
                self._read_to = found[-1].seq
                for alert in found:
                    if alert.record["rule"] == RULE:
                        name = alert.labels.get("request_id", "")
                        self._tokens[name] = int(alert.record["tokens_scored"])
        return lambda request_id: self._tokens.get(request_id, 0)

    def alerts(self, request_id: str) -> list[dict[str, object]]:
        """Records of one call."""
        with contextlib.suppress(*UNREADABLE), self._reader() as reader:
            found = reader.alerts_since(0, limit=ALL)
            return [a.record for a in found if a.labels.get("request_id") == request_id]
        return []

    def _reader(self) -> contextlib.closing[LedgerReader]:
        return contextlib.closing(LedgerReader(self._path))
