"""Dead letters that are sent again: counted as one thing or the other at every moment, and after everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.lane import Backoff, Lane
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, dead, retry

POLL_S = 0.05


class Choosy:
    """Answers by position, `delivered` where nothing else is said; keeps what it was sent."""

    name = "choosy"

    def __init__(self, **_: object) -> None:
        self.says: dict[int, Outcome] = {}
        self.sent: list[int] = []

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        self.sent += [alert.seq for alert in batch]
        return [self.says.get(alert.seq, DELIVERED) for alert in batch]

    def close(self) -> None: ...


class Scene:
    """Six alerts, of which the sink has refused 2 and 5."""

    def __init__(self, folder: Path, record_of: Callable[..., LedgerRecord]) -> None:
        self.writer = Ledger(folder / "ledger.db")
        self.record_of = record_of
        self.writer.append([record_of(n) for n in range(1, 7)])
        self.ledger = LedgerReader(folder / "ledger.db")
        self.store = CursorStore(folder / "deliver.db", ledger_id=self.ledger.ledger_id)
        self.sink = Choosy()
        self.lane = Lane(
            self.sink,
            self.ledger,
            self.store,
            backoff=Backoff(0.1, 5.0, lambda low, high: high),
            ask=lambda alert: None,
            poll_s=POLL_S,
            now_ns=lambda: 7,
        )
        self.sink.says = {2: dead("too large"), 5: dead("malformed")}
        self.run()
        self.sink.says, self.sink.sent = {}, []

    def run(self) -> None:
        while self.lane.step() == 0.0:
            self.counts()
        self.counts()

    def counts(self) -> tuple[int, int]:
        count = self.store.conservation("choosy", self.ledger)
        assert count.unaccounted == 0, count
        return count.delivered, count.dead

    def ask(self, *numbers: int) -> list[tuple[str, str]]:
        ids = [f"{number:032x}" for number in numbers] or None
        return self.store.letters.ask_replay(None, ids, now_ns=6)


@pytest.fixture
def scene(tmp_path: Path, record_of: Callable[..., LedgerRecord]) -> Iterator[Scene]:
    found = Scene(tmp_path, record_of)
    assert found.counts() == (4, 2)
    yield found
    found.store.close()
    found.ledger.close()
    found.writer.close()


def test_nothing_is_sent_again_that_nobody_asked_for(scene: Scene) -> None:
    scene.run()
    assert scene.sink.sent == []


def test_one_that_is_acknowledged_counts_as_delivered_and_no_longer_as_dead(scene: Scene) -> None:
    assert scene.ask(5) == [("choosy", f"{5:032x}")]
    assert scene.counts() == (4, 2)  # until the sink has answered
    scene.run()
    assert scene.sink.sent == [5]
    assert scene.counts() == (5, 1)
    assert [letter.seq for letter in scene.store.letters.of("choosy")] == [2]


def test_one_that_is_refused_again_stays_dead_with_the_new_reason_and_is_not_sent_a_third_time(
    scene: Scene,
) -> None:
    scene.ask()
    scene.sink.says = {2: dead("still too large")}
    scene.run()
    scene.run()
    assert scene.sink.sent == [2, 5]
    assert scene.counts() == (5, 1)
    (letter,) = scene.store.letters.of("choosy")
    assert (letter.error, letter.at_ns, letter.again_ns) == ("still too large", 7, None)


def test_one_that_finds_nobody_is_tried_again_and_does_not_die_of_it(scene: Scene) -> None:
    scene.ask(2)
    scene.sink.says = {2: retry("away")}
    assert [scene.lane.step(), scene.lane.step()] == [0.1, 0.2]
    assert scene.counts() == (4, 2)
    assert scene.store.position("choosy").last_error == "away"
    scene.sink.says = {}
    scene.run()
    assert scene.counts() == (5, 1)


def test_what_is_new_goes_first(scene: Scene) -> None:
    scene.ask(2)
    scene.writer.append([scene.record_of(7)])
    scene.run()
    assert scene.sink.sent == [7, 2]


def test_a_crash_between_the_answer_and_the_file_sends_it_once_more_and_counts_it_once(
    scene: Scene,
) -> None:
    scene.ask(2)
    (letter,) = scene.store.letters.replays("choosy", limit=9)
    for _ in range(2):  # as two dispatchers would, one after the other's death
        scene.store.letters.settle_replays("choosy", delivered=[letter.seq], dead=[], now_ns=8)
    assert scene.counts() == (5, 1)


def test_what_is_sent_of_an_erased_one_has_nothing_personal_and_no_reason_quotes_it(
    scene: Scene,
) -> None:
    scene.ask(2)
    assert scene.store.erase([f"{2:032x}"], [2])
    (letter,) = scene.store.letters.replays("choosy", limit=9)
    assert b'"conversation"' not in letter.core
    scene.sink.says = {2: dead("bad value c2")}
    scene.run()
    (two, _) = scene.store.letters.of("choosy")
    assert two.error == "erased"


def test_a_replay_that_is_only_tried_out_marks_nothing(scene: Scene) -> None:
    assert len(scene.store.letters.ask_replay("choosy", None, now_ns=6, dry=True)) == 2
    scene.run()
    assert scene.sink.sent == []
