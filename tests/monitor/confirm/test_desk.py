"""Every alert that is asked about gets one verdict, whatever the confirmer does; nobody waits for one that hangs."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.confirm.answer import Answer, NoAnswer
from dosimeter.monitor.confirm.desk import MOST_AT_ONCE, Desk
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.history.verdicts import Verdict, Verdicts

StoredOf = Callable[..., StoredAlert]
PATIENCE_S = 20.0
YES = Answer(True, "it is one", 0.25)


@dataclass
class Fake:
    """A confirmer that does what it is told, in turn; then says yes. Keeps how often it was asked."""

    name: str = "second-look"
    timeout_s: float = 10.0
    script: list[Any] = field(default_factory=list)
    always: Any = YES
    asked: int = 0
    most: int = 0  # at the same time
    told: list[bytes] = field(default_factory=list)
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, core: bytes) -> Answer:
        with self._lock:
            self.asked += 1
            self.told.append(core)
            self._now += 1
            self.most = max(self.most, self._now)
            said = self.script.pop(0) if self.script else self.always
        try:
            if isinstance(said, threading.Event):
                assert said.wait(PATIENCE_S)
                return Answer(True, "late")
            if isinstance(said, BaseException):
                raise said
            assert isinstance(said, Answer)
            return said
        finally:
            with self._lock:
                self._now -= 1


class Store(CursorStore):
    """The real one, which says when verdicts were stored."""

    def __init__(self, path: Path, told: threading.Condition) -> None:
        super().__init__(path, ledger_id="L")
        self.verdicts = Telling(self._db, told)


class Telling(Verdicts):
    def __init__(self, db: sqlite3.Connection, told: threading.Condition) -> None:
        super().__init__(db)
        self._told = told

    def add(self, verdicts: Any) -> None:
        super().add(verdicts)
        with self._told:
            self._told.notify_all()


class Scene:
    """A desk at work over a file, and what is in the file."""

    def __init__(self, path: Path, stored_of: StoredOf) -> None:
        self.path, self.stored_of = path, stored_of
        self.told = threading.Condition()
        self.stores: Callable[[], CursorStore] = lambda: Store(path, self.told)

    @contextmanager
    def desk(self, *confirmers: Fake) -> Iterator[Desk]:
        desk = Desk(confirmers, now_ns=lambda: 7)
        thread = threading.Thread(target=desk.run, args=(self.stores,))
        thread.start()
        try:
            yield desk
        finally:
            desk.close()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def alert(self, seq: int, confirm: str = "second-look") -> StoredAlert:
        return self.stored_of(seq, confirm=confirm)

    def verdicts(self, *seqs: int) -> list[Verdict]:
        """Once each of them has one."""
        with Store(self.path, threading.Condition()) as store:

            def found() -> list[Verdict]:
                return [v for seq in seqs if (v := store.verdicts.of(seq)) is not None]

            with self.told:
                assert self.told.wait_for(lambda: len(found()) == len(seqs), PATIENCE_S)
            return found()


@pytest.fixture
def scene(tmp_path: Path, stored_of: StoredOf) -> Scene:
    scene = Scene(tmp_path / "deliver.db", stored_of)
    scene.stores().close()  # made by one, as delivery does, before others come
    return scene


def test_an_answer_becomes_the_verdict_with_its_reason_and_cost(scene: Scene) -> None:
    fake = Fake(script=[Answer(False, "course material", 0.5)])
    with scene.desk(fake) as desk:
        desk.ask(scene.alert(3))
        (verdict,) = scene.verdicts(3)
    assert (verdict.answer, verdict.reason, verdict.cost) == ("no", "course material", 0.5)
    assert (verdict.confirmer, verdict.asked, verdict.at_ns) == ("second-look", 1, 7)


def test_asking_again_changes_nothing_before_or_after_the_verdict(scene: Scene) -> None:
    gate, fake = threading.Event(), Fake()
    fake.script = [gate]
    with scene.desk(fake) as desk:
        for _ in range(3):
            desk.ask(scene.alert(1))
        gate.set()
        scene.verdicts(1)
        desk.ask(scene.alert(1))
        desk.ask(scene.alert(2))
        scene.verdicts(1, 2)
    assert fake.asked == 2


def test_an_alert_that_is_erased_while_it_waits_is_not_told_as_it_was(scene: Scene) -> None:
    gate, seqs = threading.Event(), range(1, MOST_AT_ONCE + 2)
    fake = Fake(script=[gate] * MOST_AT_ONCE)
    with scene.desk(fake) as desk:
        for seq in seqs:
            desk.ask(scene.stored_of(seq, confirm="second-look", labels={"user": "ann"}))
        # As a lane does with what it reads again; the ninth has no place yet.
        desk.ask(scene.stored_of(MOST_AT_ONCE + 1, confirm="second-look", labels={}))
        gate.set()
        scene.verdicts(*seqs)
    assert [b"ann" in core for core in fake.told] == [True] * MOST_AT_ONCE + [False]


def test_an_answered_alert_is_not_asked_about_after_a_restart(scene: Scene) -> None:
    for fake in (Fake(), Fake(always=Answer(False))):
        with scene.desk(fake) as desk:
            desk.ask(scene.alert(1))
            assert scene.verdicts(1)[0].answer == "yes"
    assert fake.asked == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (NoAnswer("answered 503"), "answered 503"),
        (ZeroDivisionError("x"), "it failed: ZeroDivisionError('x')"),
        (SystemExit(1), "it failed: SystemExit(1)"),
    ],
)
def test_one_fault_is_forgiven_and_two_are_no_answer(
    scene: Scene, fault: BaseException, words: str
) -> None:
    fake = Fake(script=[fault, Answer(False), fault, fault])
    with scene.desk(fake) as desk:
        desk.ask(scene.alert(1))
        assert [(v.answer, v.asked) for v in scene.verdicts(1)] == [("no", 2)]
        desk.ask(scene.alert(2))
        (verdict,) = scene.verdicts(2)
    assert (verdict.answer, verdict.asked, verdict.reason) == ("unanswered", 2, words)


def test_a_name_that_nobody_set_up_is_unanswered_at_once(scene: Scene) -> None:
    with scene.desk() as desk:
        desk.ask(scene.alert(1, "thrid-look"))
        (verdict,) = scene.verdicts(1)
    assert (verdict.answer, verdict.confirmer, verdict.asked) == ("unanswered", "thrid-look", 0)
    assert "no `thrid-look` under `confirmers:`" in verdict.reason


def test_one_that_hangs_is_left_behind_and_holds_up_no_other(scene: Scene) -> None:
    gate = threading.Event()
    slow, quick = Fake("slow", 0.05, always=gate), Fake("quick")
    with scene.desk(slow, quick) as desk:
        # Twice eight questions hang: the first eight take every place there is.
        for seq in range(1, 17):
            desk.ask(scene.alert(seq, "slow"))
        desk.ask(scene.alert(99, "quick"))
        found = scene.verdicts(*range(1, 17))
        assert scene.verdicts(99)[0].answer == "yes"
        assert {verdict.answer for verdict in found} == {"unanswered"}
        assert {v.reason for v in found} >= {"no answer within 0.05 s"}
        assert slow.asked == slow.most == MOST_AT_ONCE
        gate.set()


def test_at_most_eight_are_asked_at_once_and_all_get_their_answer(scene: Scene) -> None:
    fake = Fake()
    with scene.desk(fake) as desk:
        for seq in range(1, 61):
            desk.ask(scene.alert(seq))
        assert {v.answer for v in scene.verdicts(*range(1, 61))} == {"yes"}
    assert fake.most <= MOST_AT_ONCE
    with Store(scene.path, scene.told) as store:
        (totals,) = store.verdicts.totals()
    assert (totals.asked, totals.yes, totals.cost) == (60, 60, 15.0)


def test_one_that_is_down_is_soon_not_asked_any_more(scene: Scene) -> None:
    """Five verdicts without an answer; eight may be under way by then, each with two tries."""
    fake = Fake(always=NoAnswer("not reached"))
    with scene.desk(fake) as desk:
        for seq in range(1, 101):
            desk.ask(scene.alert(seq))
        found = scene.verdicts(*range(1, 101))
    assert {verdict.answer for verdict in found} == {"unanswered"}
    assert 10 <= fake.asked <= 2 * (5 + MOST_AT_ONCE)
    assert "in a row were not answered" in found[-1].reason


def test_a_file_that_cannot_be_written_loses_no_question_and_no_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt finds it as it was; the confirmer is asked once."""
    fake, good, failures = Fake(), scene.stores, [True, True]
    monkeypatch.setattr("dosimeter.monitor.confirm.desk.AGAIN_S", 0.01)

    class Full(Telling):
        """An injected error: the disk is full."""

        def _fail(self) -> None:
            if failures:
                failures.pop()
                raise sqlite3.OperationalError("database or disk is full")

        def of(self, seq: int) -> Verdict | None:
            self._fail()
            return super().of(seq)

        def add(self, verdicts: Any) -> None:
            self._fail()
            super().add(verdicts)

    def failing() -> CursorStore:
        store = good()
        store.verdicts = Full(store._db, scene.told)
        return store

    scene.stores = failing
    with scene.desk(fake) as desk:
        desk.ask(scene.alert(1))
        failures.append(True)
        desk.ask(scene.alert(2))
        assert [v.answer for v in scene.verdicts(1, 2)] == ["yes", "yes"]
    assert fake.asked == 2


def test_an_error_that_nobody_expected_ends_no_desk(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, good, failures = Fake(), scene.stores, [ValueError("injected"), KeyError("injected")]
    monkeypatch.setattr("dosimeter.monitor.confirm.desk.AGAIN_S", 0.01)

    def failing() -> CursorStore:
        if failures:
            raise failures.pop()
        return good()

    scene.stores = failing
    with scene.desk(fake) as desk:
        desk.ask(scene.alert(1))
        assert [v.answer for v in scene.verdicts(1)] == ["yes"]
    assert failures == []
