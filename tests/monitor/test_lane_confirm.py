"""A lane and second looks: nothing is sent before its verdict, nothing out of order, each alert is counted once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.history.verdicts import Verdict, Word
from dosimeter.monitor.lane import Backoff, Lane
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, dead, retry

COUNT = 20
ASKING = {n for n in range(1, COUNT + 1) if n % 3 == 0}
POLL_S = 0.05


class Scripted:
    """Answers from a script, then delivers everything. Keeps what it was sent."""

    name = "scripted"

    def __init__(self, script: Sequence[str] = ()) -> None:
        self.script = iter(script)
        self.seen: list[int] = []
        self.settled: list[int] = []

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        words = [next(self.script, "delivered") for _ in batch]
        self.seen += [alert.seq for alert in batch]
        self.settled += [a.seq for a, w in zip(batch, words, strict=True) if w != "retry"]
        said = {"delivered": DELIVERED, "dead": dead("no"), "retry": retry("later")}
        return [said[word] for word in words]

    def close(self) -> None:
        pass


class Reviewer:
    """In the place of a desk, without its threads: gives its verdict when it is asked for the `after`-th time."""

    def __init__(self, store: CursorStore, answers: dict[int, Word], after: dict[int, int]) -> None:
        self.store, self.answers, self.after = store, answers, dict(after)
        self.asked: list[int] = []

    def ask(self, alert: StoredAlert) -> None:
        self.asked.append(alert.seq)
        left = self.after.get(alert.seq, 0)
        if left:
            self.after[alert.seq] = left - 1
            return
        answer = self.answers.get(alert.seq, "yes")
        self.store.verdicts.add([Verdict(alert.seq, "second-look", answer, "", 0.0, 1, 1, 1)])


@pytest.fixture(scope="module")
def ledger(
    tmp_path_factory: pytest.TempPathFactory, record_of: Callable[..., LedgerRecord]
) -> Iterator[LedgerReader]:
    path = tmp_path_factory.mktemp("lane") / "ledger.db"
    asking = {"confirm": "second-look"}
    with Ledger(path) as writer:
        writer.append(
            [record_of(n, **(asking if n in ASKING else {})) for n in range(1, COUNT + 1)]
        )
        with LedgerReader(path) as reader:
            yield reader


@pytest.fixture(scope="module")
def store_of(
    tmp_path_factory: pytest.TempPathFactory, ledger: LedgerReader
) -> Callable[[], CursorStore]:
    folder, serial = tmp_path_factory.mktemp("stores"), itertools.count()
    return lambda: CursorStore(folder / f"{next(serial)}.db", ledger_id=ledger.ledger_id)


def lane_of(
    sink: Scripted, ledger: LedgerReader, store: CursorStore, reviewer: Reviewer, batch: int = 50
) -> Lane:
    patience = Backoff(0.1, 5.0, uniform=lambda low, high: high)
    return Lane(
        sink,
        ledger,
        store,
        backoff=patience,
        ask=reviewer.ask,
        poll_s=POLL_S,
        batch=batch,
        now_ns=lambda: 1,
    )


@settings(max_examples=25, deadline=None)
@given(
    script=st.lists(st.sampled_from(["delivered", "retry", "dead"]), max_size=40),
    answers=st.dictionaries(st.sampled_from(sorted(ASKING)), st.sampled_from(get_args(Word))),
    after=st.dictionaries(st.sampled_from(sorted(ASKING)), st.integers(0, 4)),
    crashes=st.sets(st.integers(0, 40)),
    batch=st.integers(1, 21),
)
def test_accepted_is_delivered_dead_withheld_and_queued_whatever_anybody_says(
    ledger: LedgerReader,
    store_of: Callable[[], CursorStore],
    script: list[str],
    answers: dict[int, Word],
    after: dict[int, int],
    crashes: set[int],
    batch: int,
) -> None:
    """A crash forgets all but the file."""
    sink, store = Scripted(script), store_of()
    reviewer = Reviewer(store, answers, after)
    lane = lane_of(sink, ledger, store, reviewer, batch)
    for turn in range(600):
        if turn in crashes:
            lane = lane_of(sink, ledger, store, reviewer, batch)
        before = len(sink.seen)
        lane.step()
        decided = store.verdicts.between(1, COUNT)
        for seq in sink.seen[before:]:
            due = ASKING & set(range(1, seq + 1))
            assert due <= decided.keys()  # its own verdict, and those of all before it
            assert decided.get(seq) != "no"
        count = store.conservation(sink.name, ledger)
        assert count.holds, count
        if not count.queued:
            break
    assert not count.queued
    refused = {seq for seq, answer in answers.items() if answer == "no"}
    assert count.withheld == len(refused)
    assert set(sink.settled) == set(range(1, COUNT + 1)) - refused
    assert list(dict.fromkeys(sink.seen)) == sorted(set(sink.seen))  # first sent in order
    store.close()


def test_everything_before_the_first_undecided_goes_out_and_all_are_asked_about_at_once(
    ledger: LedgerReader, store_of: Callable[[], CursorStore]
) -> None:
    sink, store = Scripted(), store_of()
    reviewer = Reviewer(store, {}, dict.fromkeys(ASKING, 1))
    lane = lane_of(sink, ledger, store, reviewer)
    assert lane.step() == 0.0
    assert sink.seen == [1, 2]
    assert reviewer.asked == sorted(ASKING)
    store.close()


def test_a_lane_that_waits_for_a_verdict_does_not_spin(
    ledger: LedgerReader, store_of: Callable[[], CursorStore]
) -> None:
    """Also where others behind it are withheld already: they are counted when it is their turn."""
    sink, store = Scripted(), store_of()
    reviewer = Reviewer(store, dict.fromkeys(ASKING - {3}, "no"), {3: 100})
    lane = lane_of(sink, ledger, store, reviewer)
    lane.step()
    assert [lane.step() for _ in range(5)] == [POLL_S] * 5
    count = store.conservation(sink.name, ledger)
    assert (sink.seen, count.withheld, count.queued) == ([1, 2], 0, COUNT - 2)
    store.close()


def test_what_is_withheld_is_no_acknowledgement_of_the_sink(
    ledger: LedgerReader, store_of: Callable[[], CursorStore]
) -> None:
    sink, store = Scripted(["delivered", "delivered"]), store_of()
    lane = lane_of(sink, ledger, store, Reviewer(store, {3: "no"}, {}), batch=1)
    lane.step()
    lane.step()
    store.fail(sink.name, "away", now_ns=5)
    assert lane.step() == POLL_S  # asks
    assert lane.step() == 0.0
    position = store.position(sink.name)
    assert (position.cursor, position.withheld) == (3, 1)
    assert (position.last_error, position.last_ack_ns) == ("away", 1)
    store.close()


def test_another_sink_goes_by_the_same_verdict(
    ledger: LedgerReader, store_of: Callable[[], CursorStore]
) -> None:
    store = store_of()
    reviewer = Reviewer(store, {3: "no"}, {})
    first, second = Scripted(), Scripted()
    second.name = "another"
    for sink in (first, second):
        lane = lane_of(sink, ledger, store, reviewer)
        while lane.step() != POLL_S:
            pass
    assert first.seen == second.seen == [n for n in range(1, COUNT + 1) if n != 3]
    assert reviewer.asked == sorted(ASKING)
    store.close()
