"""The bytes that the log hashes: with others it is another tree for whoever holds a proof."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.audit.store import box
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.feed.items import Alert, Batch, Coverage, Evidence, Hello, Item
from dosimeter.rules.canonical import canonical
from tests.monitor.audit.audit_scene import HOUR_NS, SOURCE, T0, core, evidence

GOLDEN = Path(__file__).parents[3] / "golden"
LEAVES = GOLDEN / "history" / "leaves.jsonl"
NOW = T0 + HOUR_NS
ALSO = {
    "clause": 1, "feature": "deception", "pack_sha256": "66" * 32, "calibration_sha256": "77" * 32, "level": "z 3",
    "scope": "message", "shape": "for", "threshold_code": 768, "start": 1, "end": 3, "position": 2, "value_sum": 1600,
    "value_n": 2, "tokens_scored": 3, "tokens_unscored": 1,
}  # fmt: skip
OTHERS: tuple[dict[str, Any], ...] = (
    {"kind": "digest", "rule": "r", "from_ns": 1, "to_ns": 2, "limited": 3, "notified": 4, "summary": "4 more"},
    {"kind": "count", "rule": "r", "count": 12, "more_than": 10, "of": "user", "labels": {"tenant": "acme"}},
    {"kind": "absent", "rule": "r", "for_s": 60, "lasted_ns": 61 * 10**9, "tokens_served": 0},
    {"kind": "shift", "rule": "r", "direction": "up", "requests": 200, "sentence": "größer als üblich"},
    {"kind": "canary", "rule": "canary", "severity": "low", "tokens": 5},
    {"kind": "pause", "state": "begun", "pause": "aa", "by_uid": 0, "until_ns": 9, "why": "upgrade"},
)  # fmt: skip


def given() -> list[Item]:
    """Each is one batch: in a larger one nothing says which name gets which id."""
    changed: list[tuple[dict[str, Any], bytes | None]] = [
        ({}, evidence(0)),
        ({}, None),
        ({"labels": {}}, None),
        ({"labels": {}}, evidence(3)),
        ({"labels": {"tenant": "żółw", "user": "\U0001f600", "route": "/v1"}}, evidence(4)),
        ({"trusted": ["route"], "labels": {"route": "größe", "request_id": "r-1"}}, evidence(5)),
        ({"also": [ALSO]}, evidence(6)),
        ({"reason": 'said "no"\\\n\t\x01\x7f', "decision": "shadow", "would_act": False}, evidence(7)),
        ({"value_sum": -(2**62), "position": None}, evidence(8)),
        ({"later": {"b": [1, None], "a": "x"}}, evidence(9)),
        ({"summary": "", "coverage": ""}, evidence(10)),
        ({"time_ns": T0 - 10**9, "threshold_code": 513, "feature": "scam - deception"}, evidence(11, 40)),
    ]  # fmt: skip
    records = [(core(n, **one), body) for n, (one, body) in enumerate(changed)]
    for n, one in enumerate(OTHERS):
        found = {"v": 2, "event_id": f"{n:032x}", "time_ns": T0 + n, **one}
        records.append((found, None))
    shown = json.loads((GOLDEN / "rules" / "alert.json").read_bytes())
    records += [(shown, evidence(12)), (core(99, value_sum=1.5), None)]
    alerts = [
        Alert(SOURCE, n, one["event_id"], _written(one), body, final=True)
        for n, (one, body) in enumerate(records, 1)
    ]
    hello = Hello(SOURCE, "pod-1", T0, first_seq=1, exact_after=0, last_seq=0)
    hour = Coverage(SOURCE, "00" * 8, T0, NOW, 9, {"vllm": 9}, 7, {"dropped": 2}, 0, 3, 3)
    return [hello, *alerts, hour, Evidence(SOURCE, alerts[0].event_id, evidence(0, 20))]


def _written(record: dict[str, Any]) -> bytes:
    try:
        return canonical(record)
    except ValueError:  # what no sidecar writes
        return json.dumps(record).encode()


def test_leaves_are_the_golden_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/monitor/audit/store/test_leaves.py` refreshes it; review the diff.

    Salt and keys are fixed, so that what leaves commit to, the plaintext of evidence, is held as well.
    """
    monkeypatch.setattr(box, "shut", partial(box.shut, random=lambda n: b"\7" * n))
    folder, drawn = HistoryFolder(tmp_path).make(), iter(range(1, 10_000))
    with (
        HotStore(folder.hot) as hot,
        KeyStore(folder.keys, random=lambda n: next(drawn).to_bytes(n, "big")) as keys,
    ):
        ingest = Ingest(Appender(hot, keys, now_ns=lambda: NOW), NOW)
        for one in given():
            ingest.take(Batch((one,), {"at": 1}), NOW)
        shown = b"".join(leaf + b"\n" for _, leaf in hot.leaves(0, 10_000))
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        LEAVES.write_bytes(shown)
    assert shown.split(b"\n") == LEAVES.read_bytes().split(b"\n")
