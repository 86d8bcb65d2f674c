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
from typing import TYPE_CHECKING

from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.confirm.confirmer import Confirmer, build_confirmer
from dosimeter.monitor.confirm.desk import Desk
from dosimeter.monitor.delivery_status import record_delivery
from dosimeter.monitor.history.counted import Counted
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.lock import WriterLock
from dosimeter.monitor.history.reader import LedgerMissing, LedgerReader
from dosimeter.monitor.lane import Backoff, Lane
from dosimeter.monitor.scores.lane import run_scores
from dosimeter.monitor.scores.outbox import Outbox
from dosimeter.monitor.scores.status import record_scores
from dosimeter.monitor.sinks.config import KafkaConfig, SinkConfig, build_sink
from dosimeter.monitor.sinks.sink import Sink

if TYPE_CHECKING:  # without the extra there are no metrics, and delivery all the same
    from dosimeter.monitor.telemetry import Telemetry

log = logging.getLogger(__name__)

FORGET_S = 600.0
ANSWER_S = 0.5
"""After the drain, for what is with a sink to be answered. Then it is left: sent again after the next start."""


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
    scores: KafkaConfig | None = None  # of kept scores, in a lane of their own
    outbox: Outbox | None = None  # of those; told of also where none are sent any more


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
        scores = None
        if config.scores is not None and config.outbox is not None:
            sent = (config.scores, config.outbox, stop)
            scores = threading.Thread(target=run_scores, args=sent, name="scores", daemon=True)
            scores.start()
        began, counted = time.monotonic(), Counted()
        forget_at = began + FORGET_S
        while not stop.wait(1.0):
            _record(config, telemetry, began, counted)
            if time.monotonic() >= forget_at:
                forget_at += FORGET_S
                _forget(config, ledger_id)
        deadline = time.monotonic() + config.drain_s + ANSWER_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        desk.close()
        asking.join(max(0.0, deadline - time.monotonic()))
        if scores is not None:  # what it has not sent stays in its outbox
            scores.join(ANSWER_S)
        _record(config, telemetry, began, counted)
    finally:
        lock.close()


def _record(
    config: DeliveryConfig, telemetry: Telemetry | None, began: float, counted: Counted
) -> None:
    if telemetry is not None:
        running_s = time.monotonic() - began
        record_delivery(
            telemetry, config.ledger, config.store, running_s=running_s, counted=counted
        )
        if config.outbox is not None:
            record_scores(telemetry, config.outbox)


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
        except Exception as error:  # without this thread its sink would be sent nothing more
            # Begin again from the stored cursor.
            expected = isinstance(error, sqlite3.Error | OSError | RuntimeError)
            log.warning("lane `%s`: %s", sink.name, error, exc_info=not expected)
            if stop.wait(trouble.next_s()):
                return
