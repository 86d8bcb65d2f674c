"""Between commits: one small part a turn, and never an exception in the thread that commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor import chores as module
from dosimeter.monitor.chores import DAY_NS, LOOK_S, PAUSE_S, TROUBLE_S, Chores, Kept
from dosimeter.monitor.history.consumers import Consumer
from dosimeter.monitor.history.erasure import ask_erasure, erasure_state
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord


class Stage:
    """A ledger with an alert a day from day 1 to day 60, a chores and its clocks."""

    def __init__(self, folder: Path, *, days: int = 60, keep_days: int = 30) -> None:
        self.folder, self.day, self.second = folder, 0.0, 0.0
        self.consumer = Consumer("", 1 << 62)
        self.keep_days = keep_days
        self.ledger = Ledger(folder / "ledger.db", now_ns=self.now_ns)
        for number in range(1, days + 1):
            self.day = number
            self.ledger.append([LedgerRecord(f"{number:032x}", b"{}", None, True)])
        self.chores = Chores(
            self.ledger.upkeep,
            folder,
            keep_ns=lambda: self.keep_days * DAY_NS,
            slowest=lambda: self.consumer,
            time_ns=self.now_ns,
            monotonic=lambda: self.second,
        )

    def now_ns(self) -> int:
        return int(self.day * DAY_NS)

    def left(self) -> list[int]:
        with LedgerReader(self.folder / "ledger.db") as reader:
            return [alert.seq for alert in reader.alerts_since()]


def test_what_is_older_than_keep_goes_and_what_became_of_it_is_said(tmp_path: Path) -> None:
    stage = Stage(tmp_path, days=40)
    stage.day = 31.5
    assert stage.chores.turn() == PAUSE_S
    assert stage.left()[0] == 2
    assert stage.chores.turn() == LOOK_S
    assert stage.chores.kept == Kept(oldest_s=29.5 * 86400, pruned=1)
    stage.ledger.close()


def test_a_clock_that_jumps_takes_a_days_alerts_an_hour(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.day = 5000
    lefts = []
    for _ in range(4):
        stage.chores.turn()
        stage.chores.turn()
        lefts.append(stage.left()[0])
        stage.second += 3601
    assert lefts == [2, 3, 4, 5]
    stage.ledger.close()


def test_what_the_slowest_has_not_passed_stays_and_it_is_named(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.consumer = Consumer("kafka", 1)
    stage.day = 60
    for _ in range(5):
        stage.chores.turn()
        stage.second += 3601
    assert stage.left()[0] == 2
    assert stage.chores.kept.held_by == "kafka"
    stage.consumer = Consumer("kafka", 60)
    stage.chores.turn()
    assert stage.chores.kept.held_by is None
    assert stage.left()[0] == 3
    stage.ledger.close()


def test_a_part_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dosimeter.monitor.history.upkeep.PART", 3)
    stage = Stage(tmp_path, days=1)
    stage.ledger.append([LedgerRecord(f"{n:032x}", b"{}", None, True) for n in range(2, 9)])
    stage.day = 99
    parts = [(stage.chores.turn(), len(stage.left())) for _ in range(4)]
    assert parts == [(PAUSE_S, 5), (PAUSE_S, 2), (PAUSE_S, 0), (LOOK_S, 0)]
    stage.ledger.close()


def test_requests_for_erasures_come_first_and_one_after_another(tmp_path: Path) -> None:
    stage = Stage(tmp_path, days=3)
    requests = [ask_erasure(tmp_path, [f"{n:032x}"], 0) for n in (1, 2)]
    for _ in range(100_000):
        if all(erasure_state(tmp_path, request) == "done" for request in requests):
            break
        assert stage.chores.turn() == PAUSE_S
    assert stage.chores.turn() == LOOK_S
    assert stage.chores.kept.erased == 2
    stage.ledger.close()


def test_a_failure_is_said_once_and_tried_again_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(tmp_path, days=2)
    stage.chores._elsewhere = [lambda event_ids, seqs: 1 / 0 > 1]
    request = ask_erasure(tmp_path, [f"{1:032x}"], 0)
    said = [stage.chores.turn() for _ in range(4)]
    assert said == [PAUSE_S, TROUBLE_S, PAUSE_S, TROUBLE_S]
    assert stage.chores.kept.upkeep_error == "division by zero"
    assert len([r for r in caplog.records if r.name == module.__name__]) == 1
    stage.chores._elsewhere = []
    while erasure_state(tmp_path, request) == "waiting":
        stage.chores.turn()
    stage.chores.turn()
    assert stage.chores.kept.upkeep_error is None
    stage.ledger.close()
