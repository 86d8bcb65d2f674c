"""The lane of scores: what is dropped is counted to the token, and nothing is sent that its account does not have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dosimeter.monitor.delivery import DeliveryConfig, run_delivery
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.lane import Backoff
from dosimeter.monitor.scores import lane as lanes
from dosimeter.monitor.scores.lane import BATCH, IDLE_S, SAVE_S, ScoreLane, run_scores
from dosimeter.monitor.scores.outbox import Account, Outbox, Packed, Sent
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, dead, retry
from tests.monitor.conservation import conserved

PATIENCE_S = 10.0


class Scripted:
    """Answers in turn, then delivers everything. got: values that it acknowledged."""

    def __init__(self, *answers: Outcome) -> None:
        self.answers, self.closed = list(answers), 0
        self.got: list[bytes] = []

    def send(self, batch: Sequence[Packed]) -> list[Outcome]:
        outcomes = [self.answers.pop(0) if self.answers else DELIVERED for _ in batch]
        self.got += [
            one.value for one, said in zip(batch, outcomes, strict=True) if said is DELIVERED
        ]
        return outcomes

    def close(self) -> None:
        self.closed += 1


class Scene:
    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder / "archive" / "outbox", self._room)
        self.up_s = self.worked_s = 0.0
        self.full = False
        self.put = 0

    def _room(self) -> None:
        if self.full:
            raise OSError(28, "scores give way")

    def fill(self, sequence: int, count: int, tokens: int = 2) -> None:
        values = (Packed(b"k", f"{sequence}.{n}".encode(), tokens) for n in range(count))
        self.outbox.put(sequence, count * tokens, values)
        self.put += count * tokens

    def lane(self, sink: lanes.ScoreSink, behind_bytes: int = 1 << 20) -> ScoreLane:
        backoff = Backoff(1.0, 8.0, lambda low, high: high)
        return ScoreLane(
            sink,
            self.outbox,
            backoff=backoff,
            behind_bytes=behind_bytes,
            now_ns=lambda: 42,
            up_s=lambda: self.up_s,
            worked_s=lambda: self.worked_s,
        )

    @property
    def account(self) -> Account:
        found = self.outbox.account()
        assert found is not None
        assert found.archived == self.put
        assert found.archived == found.sent + found.waiting + sum(found.dropped.values())
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def drain(lane: ScoreLane) -> None:
    while lane.step() != IDLE_S:
        pass


@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH])
def test_all_is_sent_once_in_its_order_and_its_files_go(scene: Scene, count: int) -> None:
    scene.fill(3, count)
    scene.fill(5, 2)
    sink = Scripted()
    drain(scene.lane(sink))
    assert sink.got == [f"3.{n}".encode() for n in range(count)] + [b"5.0", b"5.1"]
    assert (scene.account.sent, scene.account.records) == (scene.put, count + 2)
    assert scene.outbox.waiting() == []


def test_an_outage_waits_and_goes_on_where_it_was(scene: Scene) -> None:
    scene.fill(1, 6)
    sink = Scripted(DELIVERED, DELIVERED, retry("away"), DELIVERED, retry("away"), retry("away"))
    lane = scene.lane(sink)
    assert lane.step() == 1.0
    assert (scene.account.sent, scene.account.last_error) == (4, "away")
    # What came behind the first that was not answered comes twice: the order of a request is kept.
    drain(lane)
    assert sink.got == [b"1.0", b"1.1", b"1.3", b"1.2", b"1.3", b"1.4", b"1.5"]
    assert (scene.account.sent, scene.account.waiting) == (12, 0)
    assert scene.account.last_error is None


def test_repeats_wait_longer_and_longer(scene: Scene) -> None:
    scene.fill(1, 1)
    lane = scene.lane(Scripted(*[retry("away")] * 5))
    assert [lane.step() for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_a_client_that_raises_is_closed_and_asked_again(scene: Scene) -> None:
    scene.fill(1, 3)

    class Raising(Scripted):
        def send(self, batch: Sequence[Packed]) -> list[Outcome]:
            if not self.closed:
                raise KeyError("the client's own")
            return super().send(batch)

    sink = Raising()
    lane = scene.lane(sink)
    assert lane.step() == 1.0
    assert "KeyError" in str(scene.account.last_error)
    drain(lane)
    assert (sink.got, sink.closed) == ([b"1.0", b"1.1", b"1.2"], 1)


def test_what_the_broker_refuses_is_dropped_and_the_rest_goes_on(scene: Scene) -> None:
    scene.fill(1, 3)
    sink = Scripted(DELIVERED, dead("too large"))
    drain(scene.lane(sink))
    assert sink.got == [b"1.0", b"1.2"]
    assert (scene.account.sent, scene.account.dropped["refused"]) == (4, 2)
    assert scene.account.last_error == "too large"


def test_far_behind_it_skips_the_oldest_and_counts_what_it_had_not_sent(scene: Scene) -> None:
    one_file = sum(12 + len("k") + len(f"3.{n}") for n in range(BATCH))
    scene.fill(1, BATCH + 10)
    sink = Scripted()
    lane = scene.lane(sink, behind_bytes=one_file)
    lane.step()
    for sequence in (2, 3):
        scene.fill(sequence, BATCH)
    sink.got.clear()
    drain(lane)
    assert sink.got == [f"3.{n}".encode() for n in range(BATCH)]
    assert scene.account.dropped["behind"] == 2 * (10 + BATCH)
    assert scene.account.sent == 2 * (BATCH + BATCH)


def test_one_file_larger_than_the_bound_is_sent_all_the_same(scene: Scene) -> None:
    scene.fill(1, 5)
    drain(scene.lane(Scripted(), behind_bytes=1))
    assert scene.account.sent == scene.put


def test_where_alerts_need_the_disk_all_that_waits_goes(scene: Scene) -> None:
    scene.fill(1, 5)
    scene.fill(2, 5)
    sink = Scripted()
    scene.full = True
    drain(scene.lane(sink))
    assert (sink.got, scene.outbox.waiting()) == ([], [])
    assert scene.account.dropped["room"] == scene.put


def test_killed_at_any_step_it_loses_nothing_and_counts_each_token_once(scene: Scene) -> None:
    """A new lane a step is a kill after each: at most what was sent since the last save comes twice."""
    scene.fill(1, 3 * BATCH)
    scene.fill(2, 5)
    sink = Scripted()
    for _ in range(9):
        lane = scene.lane(sink)
        lane.step()
        scene.up_s += SAVE_S
        lane.step()
        assert scene.account.archived == scene.put
    assert scene.account.sent == scene.put
    assert set(sink.got) == {
        f"{s}.{n}".encode() for s, count in ((1, 3 * BATCH), (2, 5)) for n in range(count)
    }
    assert len(sink.got) <= 2 * (3 * BATCH + 5)


def test_within_a_file_it_saves_once_in_a_while_and_not_each_time(scene: Scene) -> None:
    scene.fill(1, 3 * BATCH)
    lane = scene.lane(Scripted())
    lane.step()
    assert scene.outbox.sent().records == 0
    scene.up_s += SAVE_S
    lane.step()
    assert scene.outbox.sent().records == 2 * BATCH


def test_before_there_is_an_outbox_it_ends_without_a_word(scene: Scene) -> None:
    lane = scene.lane(Scripted())
    assert lane.step() == IDLE_S
    lane.close()
    assert not scene.outbox.path.exists()


def test_it_rests_as_long_as_it_and_its_client_have_worked(scene: Scene) -> None:
    scene.fill(1, BATCH)

    class Slow(Scripted):
        def send(self, batch: Sequence[Packed]) -> list[Outcome]:
            scene.worked_s += 0.25
            return super().send(batch)

    assert scene.lane(Slow()).step() == 0.5


def test_a_file_that_is_not_whole_is_dropped_and_counted(scene: Scene) -> None:
    scene.fill(1, 3)
    scene.fill(2, 3)
    first = scene.outbox.waiting()[0].path
    first.write_bytes(first.read_bytes()[:-1])
    sink = Scripted()
    drain(scene.lane(sink))
    assert sink.got == [b"2.0", b"2.1", b"2.2"]
    assert scene.account.dropped["unreadable"] == 6


def test_what_the_archive_has_not_accounted_for_is_not_sent(scene: Scene) -> None:
    scene.fill(1, 1)
    before = (scene.outbox.path / "handed").read_bytes()
    scene.fill(2, 1)
    (scene.outbox.path / "handed").write_bytes(before)
    sink = Scripted()
    drain(scene.lane(sink))
    assert sink.got == [b"1.0"]
    scene.put = 0
    scene.fill(2, 1)
    scene.put = 4
    drain(scene.lane(sink))
    assert (sink.got, scene.account.sent) == ([b"1.0", b"2.0"], 4)


def test_scores_that_hang_hold_up_no_alert_and_not_the_end(
    scene: Scene,
    tmp_path: Path,
    record_of: Callable[..., LedgerRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alerts are delivered, and counted, while a send of scores has not come back; then both are there."""
    entered, gate, done = threading.Event(), threading.Event(), threading.Event()

    class Hanging(Scripted):
        def send(self, batch: Sequence[Packed]) -> list[Outcome]:
            entered.set()
            assert gate.wait(PATIENCE_S)
            return super().send(batch)

    class Alerts:
        name, seen = "alerts", 0

        def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
            self.seen += len(batch)
            if self.seen >= 200:
                done.set()
            return [DELIVERED] * len(batch)

        def close(self) -> None: ...

    hanging = Hanging()
    monkeypatch.setattr(lanes, "kafka_sink", lambda config: hanging)
    scene.fill(1, 5)
    config = DeliveryConfig(
        tmp_path / "ledger.db",
        tmp_path / "deliver.db",
        poll_s=0.01,
        scores=KafkaConfig(scores="s"),
        outbox=scene.outbox,
    )
    stop = threading.Event()
    thread = threading.Thread(
        target=run_delivery, args=(config, stop), kwargs={"sinks": [Alerts()]}
    )
    with Ledger(config.ledger) as ledger:
        ledger.append([record_of(1)])
        thread.start()
        assert entered.wait(PATIENCE_S)
        ledger.append([record_of(n) for n in range(2, 201)])
        assert done.wait(PATIENCE_S)
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert conserved(tmp_path)["alerts"]["delivered"] == 200
        assert (scene.account.sent, scene.account.waiting) == (0, 10)
    gate.set()
    for one in threading.enumerate():
        if one.name == "scores":
            one.join(PATIENCE_S)
    assert (scene.account.sent, scene.account.waiting) == (10, 0)


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), KeyError("a fault of ours")], ids=repr
)
def test_it_begins_anew_when_its_own_files_fail_or_it_does(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    scene.fill(1, 2)
    stop, failures = threading.Event(), [failure]
    save = Outbox.save

    def failing(self: Outbox, sent: Sent) -> None:
        if failures:
            raise failures.pop()
        save(self, sent)
        stop.set()

    monkeypatch.setattr(Outbox, "save", failing)
    sink = Scripted()
    run_scores(KafkaConfig(scores="s"), scene.outbox, stop, sink)
    assert sink.got == [b"1.0", b"1.1"] * 2  # at least once
    assert scene.account.sent == 4
