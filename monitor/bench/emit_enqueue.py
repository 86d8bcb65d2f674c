"""How long the line is held by handing an alert over to be made durable, while the writer commits beside it."""

from __future__ import annotations

import queue
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dosimeter.monitor.bench.emit_scene import records
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.service import SWITCH_S
from dosimeter.monitor.writer import Writer

CALLS, PER_S = 4000, 1000


def figures(calls: int = CALLS) -> Iterator[Figure]:
    made = list(records(0, calls))
    plain: queue.SimpleQueue[object] = queue.SimpleQueue()
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)  # as in the line
    try:
        with tempfile.TemporaryDirectory(prefix="dosimeter-emit-") as name:
            path = Path(name) / "ledger.db"
            with Ledger(path) as ledger:
                writer = Writer(ledger, Refused.beside(path)).start()
                ours = _timed(made, lambda one: writer.put([(one, time.monotonic_ns())]))
                committed = writer.stop(60)
        bare = _timed(made, plain.put)
    finally:
        sys.setswitchinterval(before)
    yield Figure(f"enqueue at {PER_S}/s, p99", float(np.quantile(ours, 0.99)), "µs", "<= 50")
    yield Figure("enqueue, p50", float(np.median(ours)), "µs")
    yield Figure("enqueue: a queue that nobody reads, p99", float(np.quantile(bare, 0.99)), "µs")
    lost = calls - writer.committed if committed else calls
    yield Figure("enqueue: not committed", lost, "alerts", "== 0")


def _timed(made: list[LedgerRecord], put: Callable[[LedgerRecord], object]) -> list[float]:
    """Of each call, in µs."""
    found, began = [], time.perf_counter()
    for done, one in enumerate(made):
        time.sleep(max(0.0, began + done / PER_S - time.perf_counter()))
        start = time.perf_counter_ns()
        put(one)
        found.append((time.perf_counter_ns() - start) / 1000)
    return found
