"""Threads of delivery: no sink waits for another, none waits for the ledger, all end in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dosimeter.monitor.delivery import DeliveryConfig, run_delivery
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, retry
from tests.monitor.conservation import conserved

RecordOf = Callable[..., LedgerRecord]
PATIENCE_S = 10.0


class Recording:
    """Delivers, and says when it has seen `wanted` alerts."""

    def __init__(self, name: str, wanted: int, gate: threading.Event | None = None) -> None:
        self.name, self.wanted, self.gate = name, wanted, gate
        self.entered, self.done = threading.Event(), threading.Event()
        self.seen: list[int] = []

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(PATIENCE_S)
        self.seen += [alert.seq for alert in batch]
        if len(self.seen) >= self.wanted:
            self.done.set()
        return [DELIVERED] * len(batch)

    def close(self) -> None:
        pass


@pytest.fixture
def config(tmp_path: Path) -> DeliveryConfig:
    return DeliveryConfig(tmp_path / "ledger.db", tmp_path / "deliver.db", poll_s=0.01)


@contextmanager
def delivering(config: DeliveryConfig, *sinks: object) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=run_delivery, args=(config, stop), kwargs={"sinks": sinks})
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_sink_that_hangs_holds_up_no_other(config: DeliveryConfig, record_of: RecordOf) -> None:
    gate = threading.Event()
    slow, quick = Recording("slow", 3, gate), Recording("quick", 3)
    with Ledger(config.ledger) as ledger:
        ledger.append([record_of(n) for n in (1, 2, 3)])
        with delivering(config, slow, quick):
            assert slow.entered.wait(PATIENCE_S)
            assert quick.done.wait(PATIENCE_S)
            assert slow.seen == []
            gate.set()
            assert slow.done.wait(PATIENCE_S)
    sinks = conserved(config.store.parent)
    assert {name: sink["delivered"] for name, sink in sinks.items()} == {"slow": 3, "quick": 3}


def test_it_starts_before_the_ledger_and_sees_what_is_committed_later(
    config: DeliveryConfig, record_of: RecordOf
) -> None:
    sink = Recording("s", 2)
    with delivering(config, sink), Ledger(config.ledger) as ledger:
        ledger.append([record_of(1)])
        assert sink.entered.wait(PATIENCE_S)
        ledger.append([record_of(2, deliverable=False), record_of(3)])
        assert sink.done.wait(PATIENCE_S)
    assert sink.seen == [1, 3]  # the shadow alert went nowhere


def test_a_sink_that_fails_and_cannot_even_be_closed_is_sent_everything_later(
    config: DeliveryConfig, record_of: RecordOf
) -> None:
    """Its thread had ended, and the sink was sent nothing more until the next start."""

    class Broken(Recording):
        def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
            if not self.entered.is_set():
                self.entered.set()
                raise ValueError("its library is confused")
            return super().send(batch)

        def close(self) -> None:
            if not self.seen:
                raise ValueError("and does not know it")

    sink = Broken("s", 2)
    with Ledger(config.ledger) as ledger:
        ledger.append([record_of(1), record_of(2)])
        with delivering(config, sink):
            assert sink.done.wait(PATIENCE_S)
    assert sink.seen == [1, 2]


def test_what_is_queued_at_the_stop_is_drained(config: DeliveryConfig, record_of: RecordOf) -> None:
    """A thousand are there when stop comes in the middle of the first batch."""
    gate = threading.Event()
    sink = Recording("s", 1000, gate)
    with Ledger(config.ledger) as ledger:
        ledger.append([record_of(n) for n in range(1, 1001)])
        with delivering(config, sink) as stop:
            assert sink.entered.wait(PATIENCE_S)
            stop.set()
            gate.set()
        assert len(sink.seen) == 1000


def test_a_sink_that_is_away_does_not_delay_the_stop(
    config: DeliveryConfig, record_of: RecordOf
) -> None:
    tried = threading.Event()

    class Away(Recording):
        def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
            tried.set()
            return [retry("away")] * len(batch)

    with Ledger(config.ledger) as ledger:
        ledger.append([record_of(1)])
        with delivering(config, Away("away", 1)) as stop:
            assert tried.wait(PATIENCE_S)
            began = time.monotonic()
            stop.set()
        assert time.monotonic() - began < 2.0
    (status,) = conserved(config.store.parent).values()
    assert (status["queued"], status["last_error"]) == (1, "away")
    assert status["oldest_queued_s"] > 0


def test_two_dispatchers_over_one_store_is_a_clear_error(
    config: DeliveryConfig, record_of: RecordOf
) -> None:
    sink = Recording("s", 1)
    with Ledger(config.ledger) as ledger:
        ledger.append([record_of(1)])
        with delivering(config, sink):
            assert sink.done.wait(PATIENCE_S)
            with pytest.raises(AlreadyWriting, match="already being written"):
                run_delivery(config, threading.Event(), sinks=[])
