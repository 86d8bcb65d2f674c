"""Writer: one commit for what waits, a stall waited out, and time measured from decision to disk."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor import writer as module
from dosimeter.monitor.history.ledger import Ledger as SqliteLedger
from dosimeter.monitor.history.ledger import LedgerError, LedgerStalled
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import Account, LedgerRecord
from dosimeter.monitor.history.refused import Refused
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


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    return Refused(tmp_path / "refused.jsonl")


def record(number: int) -> LedgerRecord:
    return LedgerRecord(f"{number:032x}", b"{}", None, True)


def test_what_waits_goes_into_one_commit_and_its_wait_is_measured(refused: Refused) -> None:
    ledger = Ledger()
    writer = Writer(ledger, refused, monotonic_ns=lambda: 9_000_000)
    writer.put([(record(1), 1_000_000)])
    writer.put([(record(2), 5_000_000)])
    writer.start()
    assert writer.stop(5)
    assert [len(group) for group in ledger.groups] == [2]
    assert writer.durable.count == 2
    assert writer.durable.longest_ns == 8_000_000


def test_only_the_newest_account_of_an_epoch_is_written(refused: Refused) -> None:
    ledger = Ledger()
    writer = Writer(ledger, refused)
    for served in (1, 2):
        writer.put(accounts=[Account("a", served, served, 0, 1, 1)])
    writer.start()
    assert writer.stop(5)
    assert [account.served for account in ledger.accounts] == [2]


def test_it_looks_by_itself_after_a_record_and_not_after_the_account_of_every_half_second(
    refused: Refused,
) -> None:
    """Else a server with traffic keeps it awake for ever, and no alert is committed at once."""
    looks: list[float] = []
    before: list[int] = []
    committed = threading.Semaphore(0)

    class Looking(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            looks.append(timeout or 0.0)
            return super().wait(timeout)

    class Told(Ledger):
        def append(self, records: Any = (), **rest: Any) -> None:
            super().append(records, **rest)
            before.append(len(looks))
            committed.release()

    writer = Writer(Told(), refused)
    writer._ending = Looking()
    writer.start()
    for _ in range(2):
        writer.put(accounts=[Account("a", 1, 1, 0, 1, 1)])
        assert committed.acquire(timeout=30)
    for number in range(2):
        writer.put([(record(number), 0)])
        assert committed.acquire(timeout=30)
    assert writer.stop(30)
    assert before[:3] == [0, 0, 0]
    assert before[3] > 0
    assert set(looks) == {module.LOOK_S}


def test_a_stall_is_waited_out_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0)
    stalled = LedgerStalled(Path("l.db"), sqlite3.OperationalError("disk is full"))
    ledger = Ledger(stalled, stalled, stalled)
    writer = Writer(ledger, refused)
    writer.put([(record(1), 0)])
    writer.start()
    assert writer.stop(5)
    assert ledger.groups == [[record(1)]]
    assert writer.stalled is None


def test_what_is_old_is_removed_while_nothing_can_be_committed(
    monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    """At its quota a ledger has room again only after a chore: they must not wait for the commit."""
    monkeypatch.setattr(module, "RETRY_S", 0)

    class Full(Ledger):
        def append(self, records: Any = (), **rest: Any) -> None:
            if chores.turns < 3:
                raise LedgerStalled(Path("l.db"), sqlite3.OperationalError("quota"))
            super().append(records, **rest)
            committed.set()

    committed, chores, ledger = threading.Event(), Chores(99), Full()
    writer = Writer(ledger, refused, chores=chores)
    writer.put([(record(1), 0)])
    writer.start()
    assert committed.wait(20)
    assert writer.stop(5)
    assert ledger.groups == [[record(1)]]


def test_stopping_before_the_disk_is_back_is_reported(refused: Refused) -> None:
    gate = threading.Event()

    class Blocked(Ledger):
        def append(self, records: Any = (), **rest: Any) -> None:
            gate.wait(5)

    writer = Writer(Blocked(), refused)
    writer.put([(record(1), 0)])
    writer.start()
    assert not writer.stop(0.01)
    gate.set()
    assert writer.stop(5)


MALFORMED = LedgerRecord(f"{9:032x}", b'{"cut', b"\xff\x00", True)


def test_of_a_group_only_the_malformed_record_is_refused_and_it_is_kept(
    tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    """Evidence is never dropped: a defect in one record must not cost its neighbours, nor itself."""
    good = [record_of(n) for n in range(1, 4)]
    refused = Refused(tmp_path / "refused.jsonl")
    with SqliteLedger(tmp_path / "ledger.db") as ledger:
        writer = Writer(ledger, refused)
        writer.put(
            [(record, 0) for record in (good[0], MALFORMED, *good[1:])],
            blobs={"ab" * 32: b"program"},
            accounts=[Account("aa", 10, 10, 0, 1, 1)],
            evidence={good[2].event_id: b"{}"},
        )
        writer.start()
        assert writer.stop(20)
        with LedgerReader(ledger.path) as reader:
            assert [alert.event_id for alert in reader.alerts_since()] == [r.event_id for r in good]
            assert reader.blob("ab" * 32) == b"program"
            assert reader.accounts()[0].served == 10
            assert reader.evidence(good[2].event_id) == b"{}"
    assert (writer.committed, writer.refused, writer.stalled) == (3, 1, None)
    (line,) = refused.path.read_text().splitlines()
    kept = json.loads(line)
    assert kept["record"]["event_id"] == MALFORMED.event_id
    assert kept["record"]["core"] == '{"cut'
    assert kept["record"]["evidence"] == {"base64": "/wA="}
    assert "malformed JSON" in kept["error"]
    assert Writer(Ledger(), refused).refused == 1  # a restart does not forget it


def test_an_error_of_any_kind_keeps_the_writer_alive_and_what_it_held(refused: Refused) -> None:
    """The writer's thread is the only way to the disk; it once could die of an OverflowError."""
    both, one = OverflowError("int too large"), OverflowError("int too large")
    ledger = Ledger(both, one)
    writer = Writer(ledger, refused)
    writer.put([(record(1), 0), (record(2), 0)])
    writer.start()
    assert writer.stop(5)
    assert (writer.refused, ledger.groups) == (1, [[record(2)]])


def test_a_refused_record_waits_until_its_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = threading.Event()
    monkeypatch.setattr(module.time, "sleep", lambda _: met.set())
    refused = Refused(tmp_path / "later" / "refused.jsonl")
    writer = Writer(Ledger(LedgerError("not JSON"), LedgerError("not JSON")), refused)
    writer.put([(record(1), 0)])
    writer.start()
    assert met.wait(5)
    assert "No such file" in str(writer.stalled)
    (tmp_path / "later").mkdir()
    assert writer.stop(5)
    assert (refused.count, writer.stalled) == (1, None)


class Chores:
    """Each turn asks for the next at once, until there are enough."""

    def __init__(self, enough: int) -> None:
        self.turns, self.enough, self.done = 0, enough, threading.Event()
        self.hurried = False

    def turn(self) -> float:
        self.turns += 1
        if self.turns < self.enough:
            return 0.0
        self.done.set()
        return 1e6

    def hurry(self) -> None:
        self.hurried = True


def test_chores_are_done_without_any_commit(refused: Refused) -> None:
    chores = Chores(5)
    writer = Writer(Ledger(), refused, chores=chores).start()
    assert chores.done.wait(20)
    assert writer.stop(20)
    assert chores.turns == 5


def test_between_two_parts_of_a_chore_all_that_waits_is_committed(refused: Refused) -> None:
    """A commit waits for one part at most."""
    ledger = Ledger()
    seen: list[int] = []

    class Watched(Chores):
        def turn(self) -> float:
            seen.append(sum(map(len, ledger.groups)))
            writer.put([(record(self.turns), 0)])
            return super().turn()

    writer = Writer(ledger, refused, chores=Watched(4))
    writer.start()
    assert writer._chores.done.wait(20)  # type: ignore[union-attr]
    assert writer.stop(20)
    assert seen == [0, 1, 2, 3]
    assert len(ledger.groups) == 4


def test_at_the_end_a_long_chore_is_hurried_and_what_waits_is_committed(refused: Refused) -> None:
    class Long(Chores):
        def __init__(self) -> None:
            super().__init__(1)
            self.begun, self.told = threading.Event(), threading.Event()

        def turn(self) -> float:
            self.begun.set()
            assert self.told.wait(20)
            return super().turn()

        def hurry(self) -> None:
            self.told.set()

    ledger, chores = Ledger(), Long()
    writer = Writer(ledger, refused, chores=chores).start()
    assert chores.begun.wait(20)
    writer.put([(record(1), 0)])
    assert writer.stop(20)
    assert [len(group) for group in ledger.groups] == [1]


def test_no_chore_begins_after_the_end_is_asked_for(refused: Refused) -> None:
    chores = Chores(5)
    writer = Writer(Ledger(), refused, chores=chores)
    writer.put([(record(1), 0)])
    writer._stopping = True
    writer.start()
    assert writer.stop(20)
    assert chores.turns == 0


def test_handing_over_waits_for_nothing_while_a_commit_hangs(refused: Refused) -> None:
    """The line has to go on while a disk does not answer; what it handed over meanwhile is the next commit."""
    gate, began = threading.Event(), threading.Event()

    class Hanging(Ledger):
        def append(self, records: Any = (), **rest: Any) -> None:
            began.set()
            assert gate.wait(30)
            super().append(records, **rest)

    ledger = Hanging()
    writer = Writer(ledger, refused).start()
    writer.put([(record(0), 0)])
    assert began.wait(30)
    for number in range(1, module.LIMIT + 1):
        assert writer.room
        writer.put([(record(number), 0)], evidence={f"{number}": b"x"})
    assert not writer.room
    gate.set()
    assert writer.stop(30)
    assert writer.room
    assert writer.waiting == 0
    assert [len(group) for group in ledger.groups] == [1, module.LIMIT]


def test_asked_again_and_when_it_never_began_an_end_with_nothing_left_is_one(
    refused: Refused,
) -> None:
    """A wake that it did not need any more had counted as an entry that was not committed."""
    ledger = Ledger()
    writer = Writer(ledger, refused).start()
    writer.put([(record(1), 0)])
    assert writer.stop(20)
    assert writer.stop(0)
    assert Writer(ledger, refused).stop(0)
    writer.put([(record(2), 0)])
    assert not writer.stop(0)
    assert [[one.event_id for one in group] for group in ledger.groups] == [[f"{1:032x}"]]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_an_error_took_with_the_writer_is_not_called_committed(tmp_path: Path) -> None:
    class Broken(Refused):
        def keep(self, item: Any) -> None:
            raise RuntimeError("a defect of ours")

    writer = Writer(Ledger(*[ValueError("no")] * 2), Broken(tmp_path / "refused.jsonl")).start()
    writer.put([(record(1), 0)])
    assert writer._thread is not None
    writer._thread.join(20)
    assert not writer.waiting
    assert not writer.stop(0)
