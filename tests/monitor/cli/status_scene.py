"""A small line that really ran, the status it gives, and a `/status` that serves it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.health import Health
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.status import line_status
from tests.monitor.test_pipeline import Line, Server

NOW_NS = 1_700_000_000 * 10**9


def ran(line: Line, folder: Path, **labels: str) -> Server:
    """Ten tokens of one request, which one rule hits."""
    server = Server(folder)
    server.open(1, prompt=3, **labels)
    server.run(1, 0, [0, 0, 0, 0, 0])
    server.run(1, 5, [5, 5, 5, 5, 0])
    server.close(1, served=10)
    line.read()
    line.commit()
    return server


def stored(folder: Path, record: LedgerRecord, *, labels: dict[str, str], words: str) -> None:
    """Two alerts in ledger.db; `kafka` refused the first and cannot be reached for the second."""
    core = json.loads(record.core) | {"labels": labels}
    again = json.dumps(core | {"event_id": "f" * 32}).encode()
    one = replace(record, core=json.dumps(core).encode(), evidence=words.encode())
    with Ledger(folder / "ledger.db", now_ns=lambda: NOW_NS - 600 * 10**9) as ledger:
        ledger.append([one, replace(one, event_id="f" * 32, core=again)])
    with (
        LedgerReader(folder / "ledger.db") as reader,
        CursorStore(folder / "deliver.db", ledger_id=reader.ledger_id) as store,
    ):
        first = reader.alerts_since()[0]
        store.register(["kafka"])
        store.settle(
            "kafka", cursor=first.seq, delivered=0, dead=[(first, words)], now_ns=NOW_NS - 9
        )
        store.fail("kafka", f"BrokerError: {words}", now_ns=NOW_NS)


def status_of(line: Line, folder: Path, **more: Any) -> dict[str, Any]:
    body = line_status(line.pipeline, started_ns=0, **more)
    ledger, store = folder / "ledger.db", folder / "deliver.db"
    empty: dict[str, Any] = {"sinks": {}, "confirm": {}}
    sent = delivery_status(ledger, store, now_ns=NOW_NS) if ledger.exists() else empty
    return body | {"delivery": sent}


@contextmanager
def serving(
    status: Callable[[], dict[str, Any]], alive: Callable[[], bool] = lambda: True
) -> Iterator[str]:
    health = Health("127.0.0.1", 0, alive, status)
    try:
        yield f"http://127.0.0.1:{health.port}"
    finally:
        health.close()
