"""The records of a sidecar's ledger and the requests of its archive, as `reproduce.py` asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dosimeter.monitor.audit.evidence.archived import ArchivedRequests
from dosimeter.monitor.audit.evidence.evidence_body import Body, decode_body, encode_body
from dosimeter.monitor.audit.evidence.reproduce import Reproducer
from dosimeter.monitor.audit.store.entries import from_record
from dosimeter.monitor.audit.store.programs import reads_of
from dosimeter.monitor.history.evidence import decode_evidence
from dosimeter.monitor.history.reader import LedgerReader

MOST_HITS = 1_000_000
"""Of one rule in one window: as many as a rule may notify."""


class LedgerStore:
    """A ledger that is open for reading."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader, self._ledger = reader, reader.ledger_id

    def record(self, event_id: str) -> Mapping[str, Any] | None:
        found = self._reader.by_prefix(event_id, limit=1)
        return found[0].record | {"source": self._ledger} if found else None

    def hits_of(self, rule: str, from_ns: int, to_ns: int) -> Iterable[Mapping[str, Any]]:
        found = self._reader.search(rule=rule, since_ns=from_ns, limit=MOST_HITS)
        records = (one.record for one in reversed(found))
        return [r for r in records if r["time_ns"] < to_ns and r["kind"] != "digest"]

    def body(self, core: Mapping[str, Any]) -> Body | None:
        """Encoded and read back as history does, so that what is compared is what would be kept."""
        evidence = self._reader.evidence(core["event_id"])
        found = self._reader.by_prefix(core["event_id"], limit=1)
        if evidence is None or not found:
            return None
        terms = from_record(found[0].core, self._ledger, found[0].seq).entry.terms or b"{}"
        return decode_body(encode_body(core, decode_evidence(evidence), reads_of(terms)))

    def blob(self, sha256: str) -> bytes | None:
        return self._reader.blob(sha256)


def from_ledger(reader: LedgerReader, archive: Path | None) -> Reproducer:
    """archive: the folder of the score archive, None where there is none. Raises NotAPart."""
    requests = ArchivedRequests(archive) if archive is not None and archive.is_dir() else None
    return Reproducer(LedgerStore(reader), requests)
