"""The records of a history and the requests of a score archive, as `reproduce.py` asks for them.

It asks nobody: whoever reproduces has asked for access before, and is shown no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dosimeter.monitor.audit.evidence.archived import ArchivedRequests
from dosimeter.monitor.audit.evidence.evidence_body import Body, decode_body
from dosimeter.monitor.audit.evidence.reproduce import Reproducer
from dosimeter.monitor.audit.history import Found, History

MOST_HITS = 1_000_000
"""Of one rule in one window: as many as a rule may notify."""


class HistoryStore:
    """Of a history that is open."""

    def __init__(self, history: History) -> None:
        self._history = history

    def record(self, event_id: str) -> Mapping[str, Any] | None:
        rows = self._history.rows("alert_by_id", prefix=event_id)
        return self._labelled(self._history.whole(rows[0])) if rows else None

    def hits_of(self, rule: str, from_ns: int, to_ns: int) -> Iterable[Mapping[str, Any]]:
        rows = []
        for kind in ("alert", "count"):
            asked = {"kind": kind, "rule": rule, "from_ns": from_ns, "to_ns": to_ns}
            rows += self._history.rows("alerts", **asked, limit=MOST_HITS)
        each = sorted(rows, key=lambda row: int(row["idx"]))
        return [self._labelled(self._history.whole(row)) for row in each]

    def body(self, core: Mapping[str, Any]) -> Body | None:
        rows = self._history.rows("alert_by_id", prefix=core["event_id"])
        return self._body(self._history.whole(rows[0])) if rows else None

    def blob(self, sha256: str) -> bytes | None:
        return self._history.hot.blob(sha256)

    def _labelled(self, found: Found) -> dict[str, Any]:
        body = self._body(found)
        if body is None and "evidence" in found.entry:
            return dict(found.record)
        return {**found.record, "labels": dict(body.labels) if body else {}}

    def _body(self, found: Found) -> Body | None:
        plain = self._history.plaintext(found)
        return None if isinstance(plain, str) else decode_body(plain)


def from_history(history: History, archive: Path | None) -> Reproducer:
    """archive: the folder of the score archive, None where there is none. Raises NotAPart."""
    requests = ArchivedRequests(archive) if archive is not None and archive.is_dir() else None
    return Reproducer(HistoryStore(history), requests)
