"""A ledger that was put back from a backup beside the newer file of the dispatcher: what is new is sent, all of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.cli.main import main
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.cursors import Conservation, CursorStore, StoreError
from dosimeter.monitor.history.ledger import Ledger, LedgerError
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.history.verdicts import Verdict
from dosimeter.monitor.lane import Lane
from tests.monitor.test_lane import Scripted, lane_of

Records = Callable[..., LedgerRecord]


class Scene:
    """Alerts 1 to 20 are delivered but 3 and 14, which were refused; the backup has 1 to 10. Every fifth is shadow."""

    def __init__(self, folder: Path, record_of: Records) -> None:
        self.folder, self.record_of = folder, record_of
        self.path, self.store = folder / "ledger.db", folder / "deliver.db"
        self.sink = Scripted()
        self.sink.refused = {3, 14}
        self.accept(1, 11)
        shutil.copy(self.path, folder / "backup.db")
        self.accept(11, 21)
        self.deliver()
        self.sink.delivered.clear()

    def accept(self, first: int, end: int) -> None:
        """By a writer of its own, as after a start."""
        with Ledger(self.path) as writer:
            writer.append([self.record_of(n, deliverable=n % 5 != 0) for n in range(first, end)])

    def deliver(self) -> Conservation:
        with LedgerReader(self.path) as ledger, self.opened() as store:
            lane = lane_of(self.sink, ledger, store)
            run(lane)
            return store.conservation(self.sink.name, ledger)

    def opened(self) -> CursorStore:
        with LedgerReader(self.path) as ledger:
            return CursorStore(self.store, ledger_id=ledger.ledger_id)

    def put_back(self) -> None:
        for suffix in ("-wal", "-shm"):
            self.path.with_name(f"ledger.db{suffix}").unlink(missing_ok=True)
        shutil.copy(self.folder / "backup.db", self.folder / "copy.db")
        (self.folder / "copy.db").replace(self.path)


def run(lane: Lane) -> None:
    while lane.step() == 0.0:
        pass


@pytest.fixture
def scene(tmp_path: Path, record_of: Records) -> Scene:
    return Scene(tmp_path, record_of)


def test_what_is_accepted_after_a_backup_was_put_back_is_sent_and_nothing_twice(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """None of it was, ever: the cursor stood at 20, and new alerts got the positions 11 to 20 again."""
    scene.put_back()
    scene.accept(101, 108)  # at 11 to 17
    scene.sink.refused.clear()
    # 8 of the first 10 may be sent, and 101 to 104, 106, 107.
    assert scene.deliver() == Conservation(14, 13, 1, 0)
    assert scene.sink.delivered == [11, 12, 13, 14, 16, 17]
    assert (
        "put back from a backup: `scripted` at 19, and it is the same only up to 10" in caplog.text
    )
    scene.accept(108, 110)
    assert scene.deliver() == Conservation(16, 15, 1, 0)


def test_dead_letters_of_what_the_backup_lacks_are_kept_and_can_be_replayed(scene: Scene) -> None:
    scene.put_back()
    scene.accept(101, 108)
    scene.sink.refused = {11}  # the same position once more would have ended the lane
    scene.deliver()
    with scene.opened() as store:
        letters = store.letters.of("scripted")
        assert [one.event_id for one in letters] == [f"{n:032x}" for n in (14, 3, 101)]
        assert len(store.letters.ask_replay(None, None, now_ns=1)) == 3
    scene.sink.refused.clear()
    assert scene.deliver() == Conservation(14, 14, 0, 0)


def test_a_verdict_is_not_taken_for_one_of_another_alert_at_its_place(scene: Scene) -> None:
    with scene.opened() as store:
        store.verdicts.add([Verdict(n, "judge", "no", "harmless", 0.0, 1, 1, 1) for n in (9, 11)])
    scene.put_back()
    scene.accept(101, 108)
    scene.deliver()
    with scene.opened() as store:
        assert store.verdicts.between(1, 20) == {9: "no"}


def test_a_lane_in_the_middle_of_a_batch_does_not_carry_its_cursor_over_what_is_new(
    scene: Scene,
) -> None:
    """Another lane has found it out meanwhile, so that nobody would look again."""
    slow = Scripted(["retry"] * 100)
    slow.name = "slow"
    with LedgerReader(scene.path) as old, scene.opened() as store:
        lane = lane_of(slow, old, store, batch=20)
        assert lane.step() > 0.0  # has 1 to 19 in hand
        scene.put_back()
        scene.accept(101, 108)
        scene.deliver()
        slow.script = iter(())
        with pytest.raises(StoreError, match="put back meanwhile, to 10"):
            run(lane)
        assert store.position("slow").cursor == 8
    with LedgerReader(scene.path) as ledger, scene.opened() as store:
        again = lane_of(slow, ledger, store)
        run(again)
        assert store.conservation("slow", ledger) == Conservation(14, 14, 0, 0)


def test_a_new_start_of_the_line_sends_nothing_again(scene: Scene) -> None:
    with LedgerReader(scene.path) as ledger, scene.opened() as store:
        lane = lane_of(scene.sink, ledger, store)
        scene.accept(21, 25)
        assert lane.step() == 0.0
        scene.accept(26, 28)  # while four of the writer before are in hand
        run(lane)
    assert scene.sink.delivered == [21, 22, 23, 24, 25, 26]


def test_a_file_that_took_the_place_of_the_ledger_is_noticed(scene: Scene) -> None:
    with LedgerReader(scene.path) as ledger, scene.opened() as store:
        lane: Lane = lane_of(scene.sink, ledger, store)
        lane.step()
        scene.put_back()
        with pytest.raises(LedgerError, match="moved away or replaced"):
            lane.step()


def test_until_something_is_accepted_status_names_who_is_ahead_and_ends_with_4(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["deliver", "--status", "--data-dir", str(scene.folder)]
    assert main(asked) == 0
    scene.put_back()
    assert main(asked) == 4
    said = capsys.readouterr().err
    assert "`scripted` was sent 9 more than it holds" in said
    assert "hint: it was put back from a backup" in said
    scene.accept(101, 108)
    scene.deliver()
    assert main(asked) == 0
    one = delivery_status(scene.path, scene.store, now_ns=1)["sinks"]["scripted"]
    assert (one["ahead"], one["restored_ns"], one["conserved"]) == (0, 1, True)


def test_starts_without_an_alert_leave_no_mark_in_the_ledger(
    tmp_path: Path, record_of: Records
) -> None:
    path = tmp_path / "ledger.db"
    marks = []
    for alerts in ([record_of(1), record_of(2)], [], [], [record_of(2)], [record_of(3)]):
        with Ledger(path) as writer:
            writer.append(alerts)
        with LedgerReader(path) as ledger:
            marks.append([one.after for one in ledger.openings()])
    assert marks == [[0], [0], [0], [0, 2], [0, 2]]


def test_put_back_once_more_it_keeps_the_dead_letters_of_both(scene: Scene) -> None:
    for first in (101, 201):
        scene.put_back()
        scene.accept(first, first + 7)
        scene.sink.refused = {12, 13}
        scene.deliver()
    with scene.opened() as store:
        letters = store.letters.of("scripted")
    assert sorted(int(one.event_id, 16) for one in letters) == [3, 14, 102, 103, 202, 203]
