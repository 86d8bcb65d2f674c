"""From the ledger to the sinks, in a process of its own: one lane a sink, each in its own thread.

A slow or absent sink holds up no other, and never the line, which does not know that this process
exists. It owns the threads and their end; what to send next is the lane's, what an answer means
the sink's, and who looks a second time the desk's.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.confirm.confirmer import Confirmer, build_confirmer
from dosimeter.monitor.confirm.desk import Desk
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.lock import WriterLock
from dosimeter.monitor.history.reader import LedgerMissing, LedgerReader
from dosimeter.monitor.history.verdicts import ConfirmerTotals
from dosimeter.monitor.lane import Backoff, Lane
from dosimeter.monitor.sinks.config import SinkConfig, build_sink
from dosimeter.monitor.sinks.sink import Sink

if TYPE_CHECKING:  # the line reads counts of delivery, and needs no OpenTelemetry for that
    from dosimeter.monitor.telemetry import Telemetry

log = logging.getLogger(__name__)

FORGET_S = 600.0


@dataclass(frozen=True)
class DeliveryConfig:
    ledger: Path
    store: Path  # the dispatcher's own file, `deliver.db`
    sinks: tuple[SinkConfig, ...] = ()
    confirmers: tuple[ConfirmerConfig, ...] = ()
    poll_s: float = 0.05  # how often to ask whether the ledger has grown
    batch: int = (
        128  # alerts in flight at most, per sink: as many may come twice when something dies
    )
    backoff_s: float = 0.1  # before the first repeat; doubles
    backoff_cap_s: float = 5.0  # so that a sink that is back is noticed within this
    drain_s: float = 5.0  # on stop: how long to go on while sinks keep answering


def run_delivery(
    config: DeliveryConfig,
    stop: threading.Event,
    *,
    sinks: Sequence[Sink] | None = None,
    confirmers: Sequence[Confirmer] | None = None,
    telemetry: Telemetry | None = None,
    uniform: Callable[[float, float], float] = random.uniform,
) -> None:
    """Deliver until `stop` is set, then drain for at most `drain_s`. Blocks.

    A ledger that is not there yet is waited for. Raises AlreadyWriting when another dispatcher
    has the store, StoreError or LedgerError when a file cannot be used at all.
    """
    config.store.parent.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(config.store)
    try:
        ledger_id = _wait_for_ledger(config, stop)
        if ledger_id is None:
            return
        built = [build_sink(c) for c in config.sinks] if sinks is None else list(sinks)
        with CursorStore(config.store, ledger_id=ledger_id) as store:
            store.register(sink.name for sink in built)
        desk = Desk(map(build_confirmer, config.confirmers) if confirmers is None else confirmers)
        asking = threading.Thread(
            target=desk.run,
            args=(lambda: CursorStore(config.store, ledger_id=ledger_id),),
            name="confirm",
            daemon=True,
        )
        threads = [
            threading.Thread(
                target=_run_lane,
                args=(config, sink, stop, desk, uniform),
                name=f"deliver-{sink.name}",
                daemon=True,  # a sink stuck in its library must not keep the process
            )
            for sink in built
        ]
        for thread in (asking, *threads):
            thread.start()
        began = time.monotonic()
        forget_at = began + FORGET_S
        while not stop.wait(1.0):
            record_delivery(config, telemetry, running_s=time.monotonic() - began)
            if time.monotonic() >= forget_at:
                forget_at += FORGET_S
                _forget(config, ledger_id)
        deadline = time.monotonic() + config.drain_s + 1.0
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        desk.close()
        asking.join(1.0)
        record_delivery(config, telemetry, running_s=time.monotonic() - began)
    finally:
        lock.close()


def _forget(config: DeliveryConfig, ledger_id: str) -> None:
    """What the ledger does not have any more needs no verdict."""
    try:
        with (
            LedgerReader(config.ledger) as reader,
            CursorStore(config.store, ledger_id=ledger_id) as store,
        ):
            store.forget(reader.pruned())
    except (sqlite3.Error, OSError, RuntimeError) as error:
        log.warning("verdicts of pruned alerts are kept: %s", error)


def _wait_for_ledger(config: DeliveryConfig, stop: threading.Event) -> str | None:
    while not stop.is_set():
        try:
            with LedgerReader(config.ledger) as ledger:
                return ledger.ledger_id
        except LedgerMissing:
            stop.wait(max(config.poll_s, 0.2))
    return None


def _run_lane(
    config: DeliveryConfig,
    sink: Sink,
    stop: threading.Event,
    desk: Desk,
    uniform: Callable[[float, float], float],
) -> None:
    backoff = Backoff(config.backoff_s, config.backoff_cap_s, uniform)
    trouble = Backoff(config.backoff_s, config.backoff_cap_s, uniform)
    stopped_at: float | None = None
    while True:
        try:
            with (
                LedgerReader(config.ledger) as ledger,
                CursorStore(config.store, ledger_id=ledger.ledger_id) as store,
            ):
                lane = Lane(
                    sink,
                    ledger,
                    store,
                    backoff=backoff,
                    ask=desk.ask,
                    poll_s=config.poll_s,
                    batch=config.batch,
                )
                while True:
                    pause_s = lane.step()
                    trouble.reset()
                    if stop.is_set():
                        stopped_at = stopped_at or time.monotonic()
                        # Idle or failing: what is left is in the ledger, and safe there.
                        if pause_s or time.monotonic() - stopped_at > config.drain_s:
                            sink.close()
                            return
                    elif pause_s:
                        stop.wait(pause_s)
        except (sqlite3.Error, OSError, RuntimeError) as error:
            # Reading or writing our own files failed: begin again from the stored cursor.
            log.warning("lane `%s`: %s", sink.name, error)
            if stop.wait(trouble.next_s()):
                return


def delivery_status(ledger: Path, store: Path, *, now_ns: int) -> dict[str, Any]:
    """What `/status` and `dosimeter deliver --status` show; read from the two files by anyone.

    `sinks` and `confirm` are empty as long as nothing was ever delivered. Raises LedgerMissing, StoreError.
    """
    with LedgerReader(ledger) as reader:
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
    position, asked = cursors.position(name), cursors.asked_again(name)
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
        "oldest_queued_s": 0.0 if oldest_ns is None else max(0, now_ns - oldest_ns) / 1e9,
        "canary_s": None if canary_ns is None else max(0, now_ns - canary_ns) / 1e9,
        "retries": position.retries,
        "last_ack_ns": position.last_ack_ns,
        "last_error": position.last_error,
        "last_error_ns": position.last_error_ns,
    }


def _canary_ns(name: str, reader: LedgerReader, cursors: CursorStore, cursor: int) -> int | None:
    """When the last canary that the sink acknowledged was committed, else the first there is; None: none."""
    for seq, committed_ns in reader.canaries(cursor):
        if not cursors.is_dead(name, seq):
            return committed_ns
    return reader.first_canary_ns()


def record_delivery(
    config: DeliveryConfig, telemetry: Telemetry | None, *, running_s: float = 0.0
) -> None:
    """Put the counts of every sink and confirmer into metrics. running_s: this process, so far."""
    if telemetry is None:
        return
    try:
        status = delivery_status(config.ledger, config.store, now_ns=time.time_ns())
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
