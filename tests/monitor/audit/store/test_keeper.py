"""The log behind the store: when it is signed, what a crash leaves, and that an anchor that fails stops nothing."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import StoreError
from dosimeter.monitor.audit.store.keeper import EVERY_ENTRIES, Keeper, signed_ns
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.tlog.note import Checkpoint, Verifier
from dosimeter.monitor.tlog.reader import LogReader
from dosimeter.monitor.tlog.writer import LogConflict
from tests.monitor.audit.audit_scene import opened

MINUTE_NS = 60 * 10**9
ROOT = Path(__file__).parents[4]


def own(n: int) -> Entry:
    return Entry("config", own_id(n, lambda size: n.to_bytes(size, "big")), n, fields={"n": n})


def last(folder: Path) -> Checkpoint:
    verifier = Verifier.parse((folder / "log" / "key").read_text())
    return Checkpoint.open((folder / "log" / "checkpoint").read_text(), verifier)


class Clock:
    def __init__(self) -> None:
        self.ns = 1_000 * MINUTE_NS

    def __call__(self) -> int:
        return self.ns


class FakeAnchor:
    """A fake: fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.name, self.outside, self.failures = "fake", True, failures
        self.got: list[str] = []
        self.asked = threading.Semaphore(0)

    def put(self, note: str) -> None:
        self.asked.release()
        if self.failures:
            self.failures -= 1
            raise OSError("no route")
        self.got.append(note)

    def notes(self) -> Sequence[str]:
        return self.got


def test_a_checkpoint_comes_after_a_minute_or_a_thousand_entries(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path) as to:
        keeper = Keeper(HistoryFolder(tmp_path), to.hot, now_ns=clock)
        to.append([own(1)])
        assert not keeper.turn()
        clock.ns += MINUTE_NS
        assert keeper.turn()
        assert (last(tmp_path).size, signed_ns(last(tmp_path))) == (1, clock.ns)
        clock.ns += 5 * MINUTE_NS
        assert not keeper.turn()  # nothing new
        to.append([own(n) for n in range(2, 2 + EVERY_ENTRIES)])
        assert keeper.turn()
        assert last(tmp_path).size == 1 + EVERY_ENTRIES
        keeper.close()


def test_what_came_last_is_signed_when_it_ends(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        keeper = Keeper(HistoryFolder(tmp_path), to.hot, now_ns=Clock())
        to.append([own(1), own(2)])
        keeper.close()
        assert last(tmp_path).size == 2


def test_only_one_process_writes_a_log(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        keeper = Keeper(HistoryFolder(tmp_path), to.hot, now_ns=Clock())
        with pytest.raises(AlreadyWriting):
            Keeper(HistoryFolder(tmp_path), to.hot, now_ns=Clock())
        keeper.close()


def test_killed_before_it_signed_the_next_one_writes_the_same_log(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        first = Keeper(HistoryFolder(tmp_path), to.hot, now_ns=Clock())
        to.append([own(n) for n in range(700)])
        first.turn(now=True)
        to.append([own(n) for n in range(700, 900)])
        first.turn()  # written out, not signed
        first.writer.close()  # as kill -9 leaves it
        second = Keeper(HistoryFolder(tmp_path), to.hot, now_ns=Clock())
        assert second.signed == 700
        second.close()
        assert last(tmp_path).size == 900


@pytest.mark.parametrize("again", [False, True])
def test_after_an_error_of_the_disk_it_says_so_and_signs_again_once_the_disk_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """One failed fsync ended all signing until the next start, and only the log of the process said so."""

    def refuse(opened: int) -> None:
        raise OSError(5, "Input/output error")

    clock = Clock()
    with opened(tmp_path) as to:
        keeper = Keeper(HistoryFolder(tmp_path), to.hot, now_ns=clock)
        to.append([own(n) for n in range(300)])
        keeper.turn(now=True)
        to.append([own(n) for n in range(300, 700)])
        failed_ns = clock.ns
        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", refuse)
            for _ in range(1 + again):
                with pytest.raises(OSError, match="Input/output"):
                    keeper.turn(now=True)
                clock.ns += MINUTE_NS
        said = keeper.status()
        assert "Input/output" in said["error"]
        assert (said["error_ns"], said["signed"]) == (failed_ns, 300)
        assert keeper.turn(now=True)
        assert (keeper.status()["error"], keeper.status()["signed"]) == ("", 700)
        keeper.close()
        stored = to.hot.leaves(0, 700)
    assert list(LogReader(tmp_path / "log").leaves(0)) == stored


def test_a_store_put_back_behind_its_log_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "now") as to:
        to.append([own(1), own(2)])
        Keeper(HistoryFolder(tmp_path / "now"), to.hot, now_ns=Clock()).close()
    for path in (tmp_path / "now").glob("hot.db*"):
        path.unlink()
    with opened(tmp_path / "now") as to:
        to.append([own(1)])
        with pytest.raises(StoreError, match="has 1 entries, its log has 2 signed"):
            Keeper(HistoryFolder(tmp_path / "now"), to.hot, now_ns=Clock())


def test_a_backup_in_the_order_of_the_manual_can_be_gone_on_with(tmp_path: Path) -> None:
    """2026-12-01: `log/` was to be copied last, and whatever history had signed meanwhile made the backup refused."""
    folder, copy = HistoryFolder(tmp_path / "history"), HistoryFolder(tmp_path / "copy").make()
    manual = (ROOT / "docs" / "audit.md").read_text().partition("## Backups")[2]
    script = re.search(r"```sh\n(.*?)```", manual, re.DOTALL)
    assert script is not None
    said = re.sub(r"(?<=[ '])/(backup|keys)\b", str(copy.root), script[1])
    commands = said.replace("DATA-DIR/history", str(folder.root)).splitlines()
    sizes = []
    with opened(folder.root) as to:
        keeper = Keeper(folder, to.hot, now_ns=Clock())
        for command in ("true", *commands):
            if command.startswith("sqlite3 "):
                _, name, statement = shlex.split(command)
                with closing(sqlite3.connect(folder.root / name)) as db:
                    db.execute(statement)
            else:
                subprocess.run(["sh", "-ec", command], cwd=folder.root, check=True)
            sizes.append(to.hot.size)
            to.append([own(n) for n in range(to.hot.size, to.hot.size + 200)])  # tiles become whole
            keeper.turn(now=True)
        keeper.close()
    with opened(copy.root) as to:
        assert to.hot.size == sizes[3]
        Keeper(copy, to.hot, now_ns=Clock()).close()
        assert list(LogReader(copy.log).leaves(0)) == to.hot.leaves(0, sizes[3])


def test_another_entry_at_a_signed_place_is_a_conflict(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([own(1)])
        Keeper(HistoryFolder(tmp_path), to.hot, now_ns=Clock()).close()
        to.append([own(2)])
        keeper = Keeper(HistoryFolder(tmp_path), to.hot, now_ns=Clock())
        keeper.turn()
        to.hot.db.execute("DROP TRIGGER entry_is_immutable")
        to.hot.db.execute("UPDATE entry SET leaf = x'7b7d' WHERE idx = 1")
        with pytest.raises(LogConflict) as error:
            keeper.writer.append(1, [to.hot.leaves(1, 2)[0][1]])
        assert error.value.index == 1
        keeper.writer.close()


def test_an_anchor_that_fails_is_tried_again_and_stops_nothing(tmp_path: Path) -> None:
    clock, anchor = Clock(), FakeAnchor(failures=1)
    with opened(tmp_path) as to:
        keeper = Keeper(HistoryFolder(tmp_path), to.hot, (anchor,), clock)
        to.append([own(1)])
        keeper.turn(now=True)
        assert anchor.asked.acquire(timeout=10)
        keeper.wait()
        assert "no route" in keeper.status()["anchors"]["fake"]["error"]
        keeper.turn()  # too early to ask again
        assert not anchor.asked.acquire(blocking=False)
        clock.ns += MINUTE_NS
        keeper.turn()
        keeper.wait()
        assert keeper.status()["anchors"]["fake"] == {
            "outside": True,
            "entries": 1,
            "at_ns": clock.ns,
            "error": "",
        }
        assert [Checkpoint.parse(note.split("\n\n")[0] + "\n").size for note in anchor.got] == [1]
        keeper.close()


def test_an_anchor_that_is_not_waited_for_any_longer_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It had ended in silence, though that anchor has nothing of what was signed."""
    answers = threading.Event()

    class Slow(FakeAnchor):
        def put(self, note: str) -> None:
            answers.wait(10)

    anchor = Slow()
    with opened(tmp_path) as to:
        keeper = Keeper(HistoryFolder(tmp_path), to.hot, (anchor,), Clock())
        to.append([own(1)])
        keeper.turn(now=True)
        keeper.wait(0)
        assert "anchor `fake`: has not answered" in caplog.text
        answers.set()
        keeper.close()


@pytest.mark.parametrize("text", ["²", "9" * 19, "1" + "0" * 30, "-1", ""])
def test_a_time_that_is_none_is_no_time_of_a_checkpoint(text: str) -> None:
    """Whoever signs could end `verify` with it, in place of a verdict."""
    assert signed_ns(Checkpoint("a", 1, bytes(32), (f"time-ns {text}",))) is None
    assert signed_ns(Checkpoint("a", 1, bytes(32), (f"time-ns {text}", "time-ns 7"))) == 7


def test_signing_keys_differ_and_are_nobody_elses_to_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with opened(tmp_path / name) as to:
            Keeper(HistoryFolder(tmp_path / name), to.hot, now_ns=Clock()).close()
        assert (tmp_path / name / "signing.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "a/log/key").read_text() != (tmp_path / "b/log/key").read_text()


def test_a_clock_that_was_set_back_leaves_nothing_unsigned(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path) as to:
        keeper = Keeper(HistoryFolder(tmp_path), to.hot, now_ns=clock)
        to.append([own(1)])
        keeper.turn(now=True)
        clock.ns -= 500 * MINUTE_NS
        to.append([own(2)])
        assert keeper.turn()
        keeper.close()
        assert last(tmp_path).size == 2


def test_an_older_store_that_was_written_on_does_not_continue_the_log(tmp_path: Path) -> None:
    history, old = tmp_path / "history", tmp_path / "old.db"
    with opened(history) as to:
        to.append([own(1)])
    shutil.copy(history / "hot.db", old)
    with opened(history) as to:
        to.append([own(2), own(3)])
        Keeper(HistoryFolder(history), to.hot).close()
    shutil.copy(old, history / "hot.db")
    with opened(history) as to:
        to.append([own(n) for n in range(4, 9)])
        with pytest.raises(LogConflict, match="`2`"):
            Keeper(HistoryFolder(history), to.hot)


def test_a_public_key_that_was_cut_off_while_it_was_written_is_made_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([own(1)])
        Keeper(HistoryFolder(tmp_path), to.hot).close()
        path = tmp_path / "log" / "key"
        whole = path.read_text()
        path.write_text(whole[:9])
        Keeper(HistoryFolder(tmp_path), to.hot).close()
        assert path.read_text() == whole
