"""Between commits: one small part a turn, and never an exception in the thread that commits."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dosimeter.monitor import chores as module
from dosimeter.monitor.chores import DAY_NS, HOUR_S, LOOK_S, PAUSE_S, TROUBLE_S, Chores, Kept
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
        stage.second += LOOK_S  # the thread that checkpoints may be in the way for a moment
        assert stage.chores.turn() in (PAUSE_S, LOOK_S)
    assert stage.chores.turn() == LOOK_S
    assert stage.chores.kept.erased == 2
    stage.ledger.close()


def test_a_failure_is_said_once_and_tried_again_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(tmp_path, days=2)
    stage.chores._elsewhere = [lambda event_ids, seqs: 1 / 0 > 1]
    request = ask_erasure(tmp_path, [f"{1:032x}"], 0)
    said = []
    for _ in range(4):
        said.append(stage.chores.turn())
        stage.second += TROUBLE_S
    assert said == [PAUSE_S, LOOK_S, PAUSE_S, LOOK_S]
    assert stage.chores.kept.upkeep_error == "division by zero"
    assert len([r for r in caplog.records if r.name == module.__name__]) == 1
    stage.chores._elsewhere = []
    while erasure_state(tmp_path, request) == "waiting":
        stage.second += HOUR_S
        stage.chores.turn()
    stage.chores.turn()
    assert stage.chores.kept.upkeep_error is None
    stage.ledger.close()


def test_an_erasure_that_cannot_be_done_keeps_nothing_old_from_going(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.day = 99
    stage.chores._elsewhere = [lambda event_ids, seqs: 1 / 0 > 1]
    ask_erasure(tmp_path, [f"{60:032x}"], 0)
    for _ in range(3):
        stage.chores.turn()
    assert stage.left()[0] == 2
    assert stage.chores.kept.upkeep_error == "division by zero"
    stage.ledger.close()


def test_nor_does_one_that_somebody_is_in_the_way_of_nor_is_it_asked_at_every_turn(
    tmp_path: Path,
) -> None:
    """Each time costs the commits a moment, and a reader may stay for hours."""
    stage = Stage(tmp_path)
    stage.day = 99
    asked: list[float] = []
    stage.chores._elsewhere = [lambda event_ids, seqs: bool(asked.append(stage.second))]
    ask_erasure(tmp_path, [f"{60:032x}"], 0)
    for _ in range(100):
        stage.chores.turn()
        stage.second += PAUSE_S
    assert stage.left()[0] == 2
    assert len(asked) == 5  # in ten seconds
    stage.ledger.close()


def test_an_erasure_that_goes_on_failing_is_tried_less_and_less(tmp_path: Path) -> None:
    """What fails may take long, as writing a large file anew does for want of space."""
    stage = Stage(tmp_path, days=2)
    tried: list[float] = []
    stage.chores._elsewhere = [lambda event_ids, seqs: bool(tried.append(stage.second)) or 1 / 0]  # type: ignore[list-item]
    ask_erasure(tmp_path, [f"{1:032x}"], 0)
    for _ in range(6000):
        stage.chores.turn()
        stage.second += 5
    between = [after - before for before, after in itertools.pairwise(tried)]
    assert [round(one / 30) for one in between][:12] == [
        1,
        2,
        4,
        8,
        16,
        32,
        64,
        120,
        120,
        120,
        120,
        120,
    ]
    stage.ledger.close()


def test_alerts_of_a_clock_that_was_ahead_do_not_hold_up_those_behind(tmp_path: Path) -> None:
    stage = Stage(tmp_path, days=0)
    for n, day in enumerate([5, 400, 401, 6, 402, *range(7, 41)], 1):
        stage.day = day
        stage.ledger.append([LedgerRecord(f"{n:032x}", b"{}", None, True)])
    stage.day = 37.5
    lefts = []
    for _ in range(5):
        stage.chores.turn()
        lefts.append(stage.left()[0])
        stage.second += 3601
    assert lefts == [2, 5, 7, 7, 7]  # one day's an hour: day 5, then 6, then 7
    assert stage.chores.kept.oldest_s == (37.5 - 8) * 86400
    stage.ledger.close()


def test_a_clock_that_is_behind_takes_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.day = 0
    stage.chores.turn()
    assert (stage.left()[0], stage.chores.kept.oldest_s) == (1, 0.0)
    stage.ledger.close()
