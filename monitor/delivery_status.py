"""Where delivery stands, read from the ledger and the dispatcher's file: as the words of a status, and as metrics.

It owns what each sink and each confirmer is counted by. It sends nothing, writes neither file, and never learns
whether a dispatcher runs.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.clock import age_s
from dosimeter.monitor.history.counted import Counted
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.verdicts import ConfirmerTotals

if TYPE_CHECKING:  # the line reads counts of delivery, and needs no OpenTelemetry for that
    from dosimeter.monitor.telemetry import Telemetry

log = logging.getLogger(__name__)


def delivery_status(
    ledger: Path, store: Path, *, now_ns: int, counted: Counted | None = None
) -> dict[str, Any]:
    """What `/status` and `dosimeter deliver --status` show; read from the two files by anyone.

    `sinks` and `confirm` are empty as long as nothing was ever delivered. counted: of whoever looks again and again.
    Raises LedgerMissing, StoreError.
    """
    with LedgerReader(ledger, counted=counted) as reader:
        if not store.exists():
            return {"sinks": {}, "confirm": {}}
        with CursorStore(store, ledger_id=reader.ledger_id) as cursors:
            return {
                "sinks": {n: _sink_status(n, reader, cursors, now_ns) for n in cursors.sinks()},
                "confirm": {one.name: _confirm_status(one) for one in cursors.verdicts.totals()},
            }


def _confirm_status(of: ConfirmerTotals) -> dict[str, Any]:
    return {
        "asked": of.asked,
        "yes": of.yes,
        "no": of.no,
        "unanswered": of.unanswered,
        "cost": of.cost,
        "seconds": of.ms / 1000,
    }


def _sink_status(
    name: str, reader: LedgerReader, cursors: CursorStore, now_ns: int
) -> dict[str, Any]:
    count = cursors.conservation(name, reader)
    position, asked = cursors.position(name), cursors.letters.asked_again(name)
    restored = cursors.restored()
    oldest_ns = reader.oldest_deliverable_ns(position.cursor)
    canary_ns = _canary_ns(name, reader, cursors, position.cursor)
    return {
        "accepted": count.accepted,
        "delivered": count.delivered,
        "dead": count.dead,
        "replaying": asked,
        "withheld": count.withheld,
        "queued": count.queued,
        "missed": position.missed,
        "ahead": max(0, position.cursor - reader.last_seq()),
        "restored_ns": None if restored is None or name not in restored.sinks else restored.at_ns,
        "conserved": count.holds,
        "unaccounted": count.unaccounted,
        "oldest_queued_s": 0.0 if oldest_ns is None else age_s(oldest_ns, now_ns),
        "canary_s": None if canary_ns is None else age_s(canary_ns, now_ns),
        "retries": position.retries,
        "last_ack_ns": position.last_ack_ns,
        "last_error": position.last_error,
        "last_error_ns": position.last_error_ns,
    }


def _canary_ns(name: str, reader: LedgerReader, cursors: CursorStore, cursor: int) -> int | None:
    """When the last canary that the sink acknowledged was committed, else the first there is; None: none."""
    for seq, committed_ns in reader.canaries(cursor):
        if not cursors.letters.holds(name, seq):
            return committed_ns
    return reader.first_canary_ns()


def record_delivery(
    telemetry: Telemetry, ledger: Path, store: Path, *, running_s: float, counted: Counted
) -> None:
    """Put the counts of every sink and confirmer into metrics. running_s: this process, so far."""
    try:
        status = delivery_status(ledger, store, now_ns=time.time_ns(), counted=counted)
    except (sqlite3.Error, RuntimeError) as error:
        log.warning("delivery counts not recorded: %s", error)
        return
    for name, sink in status["sinks"].items():
        for outcome in ("accepted", "delivered", "dead", "withheld", "queued", "unaccounted"):
            telemetry.record(f"dosimeter.delivery.{outcome}", sink[outcome], {"sink": name})
        telemetry.record("dosimeter.delivery.oldest.age", sink["oldest_queued_s"], {"sink": name})
        canary_s = running_s if sink["canary_s"] is None else sink["canary_s"]
        telemetry.record("dosimeter.delivery.canary.age", canary_s, {"sink": name})
    for name, one in status["confirm"].items():
        for answer in ("yes", "no", "unanswered"):
            carried = {"confirmer": name, "answer": answer}
            telemetry.record("dosimeter.confirm.verdicts", one[answer], carried)
        telemetry.record("dosimeter.confirm.asked", one["asked"], {"confirmer": name})
        telemetry.record("dosimeter.confirm.cost", one["cost"], {"confirmer": name})
        telemetry.record("dosimeter.confirm.time", one["seconds"], {"confirmer": name})
