"""Made-up entries with few different values, so that every filter finds some, and a store that is sealed so far."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosimeter.monitor.audit.store.columns import NAMES
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import Batch, HotStore, Sealed, Segment
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.rules.alert import record_id
from dosimeter.rules.canonical import canonical

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
BEGIN = 1_767_225_600 * SECOND  # 2026-01-01, UTC
LATER = BEGIN + 400 * DAY


def id_of(n: int) -> bytes:
    return n.to_bytes(16, "big")


@dataclass(frozen=True)
class Made:
    """One entry: the columns that are not NULL."""

    values: dict[str, Any]
    evidence: bytes | None = None
    month: int = 202601

    @property
    def id(self) -> bytes:
        return bytes(self.values["id"])

    def stored(self) -> Sealed:
        row = tuple(self.values.get(name) for name in NAMES)
        of = self.values.get("about") if self.values["kind"] == "evidence" else self.id
        owner = self.values.get("subject") or self.values.get("tenant") or id_of(1)
        shut = (
            None if self.evidence is None else (bytes(of or b""), owner, self.month, self.evidence)
        )
        return Sealed(canonical(self.leaf), row, shut)

    @property
    def leaf(self) -> dict[str, Any]:
        named = {"span_start": "start", "span_end": "end"}
        found = {
            named.get(n, n): v.hex() if isinstance(v, bytes) else v
            for n, v in self.values.items()
            if v is not None and n != "more"
        }
        return found | json.loads(self.values.get("more") or "{}")


def made(n: int, kind: str = "alert", time_ns: int | None = None, **values: Any) -> Made:
    at = BEGIN + n * SECOND if time_ns is None else time_ns
    evidence, month = values.pop("evidence_body", None), values.pop("month", 202601)
    common = {
        "id": bytes.fromhex(record_id(at, f"{kind} {n}".encode())),
        "kind": kind,
        "time_ns": at,
        "ingested_ns": BEGIN + n * SECOND,
        "source": "box",
        "seq": n,
    }
    return Made(common | values, evidence, month)


def some(rng: random.Random, count: int, *, skew: bool = True) -> list[Made]:
    """Alerts, labels on them, and everything else that a query asks for."""
    found: list[Made] = []
    for n in range(count):
        at = BEGIN + n * 3600 * SECOND
        if skew and rng.random() < 0.1:
            at += rng.choice((-1, 1)) * rng.randrange(300 * DAY)
        alerts = [one for one in found if one.values["kind"] == "alert"]
        kind = rng.choice(
            ("alert",) * 6 + ("label",) * 3 + ("view", "hold", "gap", "coverage", "digest")
        )
        if kind == "label" and not alerts:
            kind = "alert"
        found.append(made(n, kind, at, **_more(rng, kind, alerts)))
    return found  # fmt: skip


def _more(rng: random.Random, kind: str, alerts: Sequence[Made]) -> dict[str, Any]:
    if kind == "label":
        verdict = rng.choice(("true", "false", "unsure"))
        actor = f"reviewer:{rng.randrange(3)}"
        return {"about": rng.choice(alerts[-4:]).id, "verdict": verdict, "actor": actor}
    if kind in ("view", "hold"):
        about = rng.choice(alerts).id if alerts else None
        return {"about": about, "actor": "auditor:1", "reason": rng.choice(("", "asked", None))}
    if kind in ("gap", "coverage"):
        return {"source": rng.choice(("a", "b")), "more": '{"scored":4,"served":5,"unaccounted":1}'}
    n = rng.choice((0, 1, 3, 7))
    return {
        "tenant": rng.choice((id_of(1), id_of(2), None)),
        "subject": id_of(10 + rng.randrange(4)),
        "conversation": id_of(20 + rng.randrange(6)),
        "rule": rng.choice(("a.one", "b.two", "ä.drei", None)),
        "feature": rng.choice(("scam", "deception")),
        "severity": rng.choice(("high", "low", None)),
        "status": rng.choice(("live", "shadow")),
        "decision": rng.choice(("notified", "shadow")),
        "would_act": rng.randrange(2),
        "value_sum": rng.choice((rng.randrange(-3000, 3000), None)),
        "value_n": n,
        "terms": rng.choice((b"\x00" * 32, b"\xff" * 32, None)),
        "evidence": bytes([rng.randrange(256)]) * 32,
        "evidence_body": rng.choice((None, rng.randbytes(30))),
    }


class Store:
    """A store in a folder, and what puts entries into it and seals them."""

    def __init__(self, root: Path) -> None:
        self.folder = HistoryFolder(root).make()
        self.hot = HotStore(self.folder.hot)

    def put(self, entries: Sequence[Made]) -> None:
        self.hot.append(Batch([one.stored() for one in entries]))

    def sealer(self, max_rows: int = 1000, now_ns: int = LATER) -> Sealer:
        return Sealer(self.hot, self.folder, max_rows=max_rows, now_ns=lambda: now_ns)

    def seal_to(self, past: int, max_rows: int = 1000, now_ns: int = LATER) -> list[Segment]:
        sealer, found = self.sealer(max_rows, now_ns), []
        while (segment := sealer.seal(past, past)) is not None:
            found.append(segment)
        return found


@contextmanager
def store_in(root: Path) -> Iterator[Store]:
    store = Store(root)
    try:
        yield store
    finally:
        store.hot.close()
