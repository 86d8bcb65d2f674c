"""Where an entry becomes accepted: once, in order, all of a batch or none of it, by several processes."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.hot import Batch, HotStore, StoreError, StoreStalled
from tests.monitor.audit.audit_scene import opened


def own(n: int) -> Entry:
    return Entry("config", own_id(n, lambda size: n.to_bytes(size, "big")), n, fields={"n": n})


def test_entries_are_numbered_in_order_without_a_hole(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        assert to.append([own(1), own(2)]).size == 2
        done = to.append([own(2), own(3)])
        assert (done.first, done.accepted, done.duplicates, done.size) == (2, 1, 1, 3)
        found = to.hot.leaves(0, 99)
        assert [i for i, _ in found] == [0, 1, 2]
        assert [json.loads(leaf)["n"] for _, leaf in found] == [1, 2, 3]


def test_a_batch_is_in_whole_or_not_at_all(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([own(1)], cursors={"feed": {"seq": 1}})

        def fail() -> None:
            raise RuntimeError("cut off")

        with pytest.raises(RuntimeError, match="cut off"):
            to.hot.append(Batch((), (b"blob",), {"feed": {"seq": 2}}), first=fail)
        broken = Batch((), (b"blob", None), {"feed": {"seq": 2}})  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            to.hot.append(broken)
        assert to.hot.size == 1
        assert to.hot.cursor("feed") == {"seq": 1}
        assert to.hot.db.execute("SELECT count(*) FROM blob").fetchone()[0] == 0


def test_an_entry_is_never_rewritten(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([own(1)])
        with pytest.raises(sqlite3.IntegrityError, match="never rewritten"):
            to.hot.db.execute("UPDATE entry SET leaf = x'00'")


def test_two_writers_share_one_order(tmp_path: Path) -> None:
    """As history and an `audit` command do: no index twice, none left out."""

    def write(first: int) -> None:
        with opened(tmp_path) as to:
            for n in range(first, first + 40):
                to.append([own(n)])

    with opened(tmp_path):
        pass
    threads = [threading.Thread(target=write, args=(1000 * i,)) for i in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with HotStore(tmp_path / "hot.db", read_only=True) as hot:
        found = hot.leaves(0, 999)
        assert [i for i, _ in found] == list(range(80))
        assert hot.size == 80
        assert {json.loads(leaf)["n"] for _, leaf in found} == {
            *range(1000, 1040),
            *range(2000, 2040),
        }


def test_a_blob_is_returned_only_if_it_is_what_its_hash_says(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([], blobs=[b"rule text"])
        (sha256,) = to.hot.db.execute("SELECT lower(hex(sha256)) FROM blob").fetchone()
        assert to.hot.blob(sha256) == b"rule text"
        assert to.hot.blob("00" * 32) is None
        to.hot.db.execute("UPDATE blob SET body = x'00'")
        assert to.hot.blob(sha256) is None


def test_a_disk_that_refuses_accepts_nothing_and_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([own(1)])
        pages = to.hot.db.execute("PRAGMA page_count").fetchone()[0]
        to.hot.db.execute(f"PRAGMA max_page_count = {pages}")
        many = [Entry("config", own_id(n), n, fields={"words": "x" * 900}) for n in range(2, 200)]
        with pytest.raises(StoreStalled, match="full"):
            to.append(many)
        assert to.hot.size == 1
        to.hot.db.execute("PRAGMA max_page_count = 1000000")
        assert to.append(many).size == 199


def test_a_store_locked_by_a_stranger_is_a_stall_and_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dosimeter.monitor.audit.store.hot.BUSY_S", 0.01)
    with opened(tmp_path) as to:
        stranger = sqlite3.connect(tmp_path / "hot.db", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreStalled, match="locked"):
            to.append([own(1)])
        stranger.execute("ROLLBACK")
        assert to.append([own(1)]).size == 1


@pytest.mark.parametrize("text", [b"not a database, at all" * 100, b""])
def test_what_is_no_store_is_not_read_as_one(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "hot.db").write_bytes(text)
    with pytest.raises((StoreError, StoreStalled), match=r"hot\.db"):
        HotStore(tmp_path / "hot.db", read_only=True)


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.hot.db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer"):
        HotStore(tmp_path / "hot.db")


def test_where_there_is_none_a_reader_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no history here"):
        HotStore(tmp_path / "hot.db", read_only=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cause", "hint"),
    [("database is locked", "another process holds it"), ("disk full", "free disk space")],
)
def test_what_to_do_depends_on_what_is_in_the_way(cause: str, hint: str) -> None:
    assert hint in str(StoreStalled(Path("/h/hot.db"), sqlite3.OperationalError(cause)))
