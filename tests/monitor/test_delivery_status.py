"""Where delivery stands, of files alone."""

from __future__ import annotations

from pathlib import Path

from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.ledger import Ledger


def test_status_before_any_delivery_is_empty(tmp_path: Path) -> None:
    ledger, store = tmp_path / "ledger.db", tmp_path / "deliver.db"
    Ledger(ledger).close()
    assert delivery_status(ledger, store, now_ns=0) == {"sinks": {}, "confirm": {}}
    assert not store.exists()
