"""Made-up alerts with the fields of a real record, for everything behind the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dosimeter.monitor.history.records import LedgerRecord, StoredAlert


def make_record(number: int, *, deliverable: bool = True, **changes: Any) -> LedgerRecord:
    """Record `number`: its event id is the number in hex, so that order and identity can be read."""
    event_id = f"{number:032x}"
    core = {
        "v": 2,
        "event_id": event_id,
        "kind": "alert",
        "decision": "notified" if deliverable else "shadow",
        "reason": "" if deliverable else "the rule is in shadow",
        "would_act": True,
        "time_ns": 1_000_000_000 + number,
        "epoch": "00000000000000aa",
        "key": f"{number:016x}",
        "model": {"name": "lab", "digest": "ab" * 32},
        "clause": 0,
        "feature": "deception",
        "shape": "average",
        "also": [],
        "rule": "deception.denies",
        "status": "live" if deliverable else "shadow",
        "severity": "high",
        "owner": "safety",
        "summary": f"alert {number}",
        "scope": "answer",
        "start": 40,
        "end": 44,
        "position": 43,
        "value_sum": 3072,  # 4 tokens of 3 sd in 1/256 sd
        "value_n": 4,
        "threshold_code": 512,
        "level": "1 in 1000 answers",
        "tokens_scored": 60,
        "tokens_unscored": 0,
        "labels": {"tenant": f"tenant-{number % 3}", "conversation": f"c{number % 5}"},
        **changes,
    }
    text = json.dumps(core, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return LedgerRecord(event_id, text.encode(), None, deliverable)


def make_stored(seq: int, **changes: Any) -> StoredAlert:
    record = make_record(seq, **changes)
    return StoredAlert(seq, record.event_id, record.core, record.deliverable, 5_000_000_000)


@pytest.fixture(scope="session")
def record_of() -> Callable[..., LedgerRecord]:
    return make_record


@pytest.fixture(scope="session")
def stored_of() -> Callable[..., StoredAlert]:
    return make_stored


def make_digest(seq: int, **changes: Any) -> StoredAlert:
    """A digest as it is stored: 50 told, 70 not."""
    event_id = f"{seq:032x}"
    core = {
        "v": 1,
        "event_id": event_id,
        "kind": "digest",
        "time_ns": 3600 * 10**9,
        "rule": "deception.denies",
        "rule_sha256": "ab" * 32,
        "severity": "high",
        "owner": "safety",
        "runbook": "",
        "from_ns": 0,
        "to_ns": 3600 * 10**9,
        "notified": 50,
        "limited": 70,
        "groups": 12,
        "groups_floor": False,
        "summary": "deception.denies: 50 notified, 70 more",
        **changes,
    }
    text = json.dumps(core, sort_keys=True, separators=(",", ":"))
    return StoredAlert(seq, event_id, text.encode(), True, 5_000_000_000)


@pytest.fixture(scope="session")
def digest_of() -> Callable[..., StoredAlert]:
    return make_digest
