"""Writer: one commit for what waits, a stall waited out, and time measured from decision to disk."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor import writer as module
from dosimeter.monitor.history.ledger import LedgerError, LedgerStalled
from dosimeter.monitor.history.records import Account, LedgerRecord
from dosimeter.monitor.writer import Writer


class Ledger:
    """Fails as often as it is told, then keeps."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.groups: list[list[LedgerRecord]] = []
        self.accounts: list[Account] = []

    def append(self, records: Any = (), **rest: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.groups.append(list(records))
        self.accounts += rest["accounts"]


def record(number: int) -> LedgerRecord:
    return LedgerRecord(f"{number:032x}", b"{}", None, True)


def test_what_waits_goes_into_one_commit_and_its_wait_is_measured() -> None:
    ledger = Ledger()
    writer = Writer(ledger, monotonic_ns=lambda: 9_000_000)
    writer.put([(record(1), 1_000_000)])
    writer.put([(record(2), 5_000_000)])
    writer.start()
    assert writer.stop(5)
    assert [len(group) for group in ledger.groups] == [2]
    assert writer.durable.count == 2
    assert writer.durable.longest_ns == 8_000_000


def test_only_the_newest_account_of_an_epoch_is_written() -> None:
    ledger = Ledger()
    writer = Writer(ledger)
    for served in (1, 2):
        writer.put(accounts=[Account("a", served, served, 0, 1, 1)])
    writer.start()
    assert writer.stop(5)
    assert [account.served for account in ledger.accounts] == [2]


def test_a_stall_is_waited_out_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0)
    stalled = LedgerStalled(Path("l.db"), sqlite3.OperationalError("disk is full"))
    ledger = Ledger(stalled, stalled, stalled)
    writer = Writer(ledger)
    writer.put([(record(1), 0)])
    writer.start()
    assert writer.stop(5)
    assert ledger.groups == [[record(1)]]
    assert writer.stalled is None


def test_stopping_before_the_disk_is_back_is_reported() -> None:
    gate = threading.Event()

    class Blocked(Ledger):
        def append(self, records: Any = (), **rest: Any) -> None:
            gate.wait(5)

    writer = Writer(Blocked())
    writer.put([(record(1), 0)])
    writer.start()
    assert not writer.stop(0.01)
    gate.set()
    assert writer.stop(5)


def test_a_group_that_can_never_be_committed_is_counted_and_does_not_block_the_next() -> None:
    met = threading.Event()

    class Refusing(Ledger):
        def append(self, records: Any = (), **rest: Any) -> None:
            met.set()
            super().append(records, **rest)

    ledger = Refusing(LedgerError("not JSON"))
    writer = Writer(ledger).start()
    writer.put([(record(1), 0)])
    assert met.wait(5)
    writer.put([(record(2), 0)])
    assert writer.stop(5)
    assert (writer.refused, ledger.groups) == (1, [[record(2)]])
