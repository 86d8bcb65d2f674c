"""What every fault must leave true of delivery, whenever it is asked: the one assertion for all fault tests."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from dosimeter.monitor.delivery_status import delivery_status


def conserved(folder: Path) -> dict[str, dict[str, Any]]:
    """Where each sink stands, after the sum was made here once more."""
    found = delivery_status(folder / "ledger.db", folder / "deliver.db", now_ns=time.time_ns())
    sinks: dict[str, dict[str, Any]] = found["sinks"]
    for name, one in sinks.items():
        answered = one["delivered"] + one["dead"] + one["withheld"] + one["queued"]
        assert one["accepted"] == answered, json.dumps({name: one}, indent=1)
        assert (one["unaccounted"], one["conserved"]) == (0, True), (name, one)
    return sinks
