"""One small history, and people who ask it: for the tests of what people do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dosimeter.monitor.audit.erasure.erase_selftest import seal
from dosimeter.monitor.audit.evidence.evidence_body import encode_body
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import Entry
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.keys import KeyStore

MARCH_NS = 1_772_366_400_000_000_000  # 2026-03-01 12:00 UTC
SECOND_NS = 10**9

VIEWER = Actor("vera", "viewer", frozenset({"acme"}))
REVIEWER = Actor("rita", "reviewer", frozenset({"acme"}))
SECOND_REVIEWER = Actor("raul", "reviewer", frozenset({"acme"}))
APPROVER = Actor("anna", "approver")
AUDITOR = Actor("aldo", "auditor")
OPERATOR = Actor("omar", "operator")


@dataclass
class Small:
    """A history in a folder, and a clock that goes on a second a look."""

    folder: HistoryFolder
    appender: Appender = field(init=False)
    now: int = MARCH_NS

    def __post_init__(self) -> None:
        self.folder.make()
        hot, keys = HotStore(self.folder.hot), KeyStore(self.folder.keys)
        self.appender = Appender(hot, keys, now_ns=self.clock)

    def clock(self) -> int:
        self.now += SECOND_NS
        return self.now

    @property
    def hot(self) -> HotStore:
        return self.appender.hot

    @property
    def keys(self) -> KeyStore:
        return self.appender.keys

    def alert(self, number: int, *, text: str = "", **names: str) -> str:
        """An alert that a sidecar told of; its id. names: labels."""
        time_ns = MARCH_NS + number * SECOND_NS
        id_ = f"{time_ns // 1_000_000:012x}{number:020x}"
        fields = {
            "epoch": f"{7:016x}",
            "key": f"{number:016x}",
            "rule": "lies",
            "decision": "notified",
        }
        body = encode_body({"labels": names, "summary": text}, None, ())
        self.appender.append(
            [Entry("alert", id_, time_ns, "ab" * 16, number, fields, names, evidence=body)]
        )
        return id_

    def leaves(self, kind: str) -> list[bytes]:
        rows = self.hot.db.execute("SELECT leaf FROM entry WHERE kind = ? ORDER BY idx", (kind,))
        return [leaf for (leaf,) in rows]

    def text(self, id_: str) -> bytes | None:
        """What is left of an alert's evidence, as ciphertext."""
        found = self.hot.evidence(bytes.fromhex(id_))
        return None if found is None else found[2]

    def seal(self, past: int) -> None:
        """Everything before that index out of the hot store, into files."""
        seal(self.hot, self.folder, past)


def small(path: Path) -> Small:
    return Small(HistoryFolder(path / "history"))
