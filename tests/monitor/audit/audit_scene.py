"""A small history to try things on: records as a sidecar writes them, and the store that takes them in."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.feed.items import Alert
from dosimeter.monitor.history.evidence import Evidence, encode_evidence

SOURCE = "5e" * 16
HOUR_NS = 3600 * 10**9
T0 = 1_772_323_200 * 10**9  # 2026-03-01 00:00 UTC


def event_id(n: int, time_ns: int = T0) -> str:
    return f"{time_ns // 10**6:012x}{n:020x}"


def core(n: int, **changes: Any) -> dict[str, Any]:
    """The record of alert `n`, as it lies in a ledger."""
    time_ns = changes.pop("time_ns", T0 + n * 10**9)
    found = {
        "v": 2,
        "kind": "alert",
        "event_id": event_id(n, time_ns),
        "time_ns": time_ns,
        "epoch": "00000000000000aa",
        "key": f"{n:016x}",
        "clause": 0,
        "start": 4,
        "end": 8,
        "position": 7,
        "value_sum": 900 + n,
        "value_n": 4,
        "tokens_scored": 8,
        "tokens_unscored": 0,
        "decision": "notified",
        "reason": "",
        "would_act": True,
        "rule": "scam-written",
        "rule_sha256": "11" * 32,
        "program_sha256": "22" * 32,
        "pack_sha256": "33" * 32,
        "calibration_sha256": "44" * 32,
        "feature": "scam",
        "level": "z 2",
        "scope": "answer",
        "shape": "average",
        "threshold_code": 512,
        "status": "live",
        "severity": "high",
        "owner": "team",
        "runbook": "",
        "rule_labels": {},
        "model": {"name": "m", "digest": "55" * 32},
        "also": [],
        "trusted": ["conversation", "tenant", "user"],
        "summary": f"summary {n}",
        "coverage": "8 of 8",
        "labels": {"tenant": "acme", "user": f"user-{n % 7}", "conversation": f"chat-{n}"},
    }
    return found | changes


def evidence(n: int, rows: int = 12) -> bytes:
    """As a ledger has it: two features, whose codes follow from `n`."""
    codes = np.random.default_rng(n).integers(-900, 900, (rows, 2)).astype(np.int16)
    return encode_evidence(Evidence(0, ("scam", "deception"), codes))


def alert(n: int, *, body: bytes | None = None, final: bool = True, **changes: Any) -> Alert:
    """The item that a feed gives for alert `n`; positions begin at 1."""
    record = core(n, **changes)
    data = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    return Alert(SOURCE, n + 1, record["event_id"], data, body, final)


@contextmanager
def opened(root: Path, now_ns: int = T0 + HOUR_NS) -> Iterator[Appender]:
    """The store in this folder, whose clock ticks by a nanosecond a look."""
    ticks = itertools.count(now_ns)
    folder = HistoryFolder(root).make()
    with HotStore(folder.hot) as hot, KeyStore(folder.keys) as keys:
        yield Appender(hot, keys, now_ns=lambda: next(ticks))
