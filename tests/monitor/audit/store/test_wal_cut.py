"""Power lost while history writes: what was whole in its write-ahead log is there, what was signed and lost is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.audit.checks.verifying import verify_history
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, StoreError
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.tlog.note import Verifier
from dosimeter.monitor.tlog.reader import LogReader
from tests.monitor.audit.audit_scene import opened
from tests.monitor.audit.store.test_keeper import own
from tests.monitor.history.wal import beside, cut

COMMITS, SIGNED = 4, 2


def test_what_the_log_has_signed_and_the_store_has_lost_is_said_and_nothing_else(
    tmp_path: Path,
) -> None:
    """Each of four commits has two entries; the log was signed after the second."""
    there, left = tmp_path / "there", tmp_path / "left"
    with opened(there) as to:
        to.hot.empty_log()
        for n in range(COMMITS):
            to.append([own(2 * n + 1), own(2 * n + 2)])
            if n + 1 == SIGNED:
                with_log = Keeper(HistoryFolder(there), to.hot, now_ns=lambda: 7)
                with_log.turn(now=True)
                with_log.close()
        leaves = [leaf for _, leaf in to.hot.leaves(0, 99)]
        beside(there, left)
        verifier = Verifier.parse((left / "log" / "key").read_text())
        seen = set()
        for commits in cut(there / "hot.db", left / "hot.db"):
            with HotStore(left / "hot.db") as hot:
                assert [leaf for _, leaf in hot.leaves(0, 99)] == leaves[: 2 * commits]
                assert hot.size == 2 * commits
                assert hot.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                found = verify_history(HistoryFolder(left), hot, verifier, now_ns=9)
                assert found.ok is (commits >= SIGNED)
                assert found.store is not None
                lost = {one.index for one in found.store.differences if one.index is not None}
                assert lost == set(range(2 * commits, 2 * SIGNED))
            seen.add(commits)
        assert seen == set(range(COMMITS + 1))


@pytest.mark.parametrize("lost", range(COMMITS + 1))
def test_signing_goes_on_behind_what_is_left_or_refuses_a_store_that_lost_what_was_signed(
    tmp_path: Path, lost: int
) -> None:
    there, left = tmp_path / "there", tmp_path / "left"
    with opened(there) as to:
        to.hot.empty_log()
        for n in range(COMMITS):
            to.append([own(n + 1)])
            if n + 1 == SIGNED:
                keeper = Keeper(HistoryFolder(there), to.hot, now_ns=lambda: 7)
                keeper.turn(now=True)
                keeper.close()
        beside(there, left)
        assert any(commits == COMMITS - lost for commits in cut(there / "hot.db", left / "hot.db"))
        with HotStore(left / "hot.db") as hot:
            if COMMITS - lost < SIGNED:
                with pytest.raises(StoreError, match=f"`{SIGNED}`|{SIGNED} "):
                    Keeper(HistoryFolder(left), hot, now_ns=lambda: 8)
                return
            keeper = Keeper(HistoryFolder(left), hot, now_ns=lambda: 8)
            keeper.turn(now=True)
            keeper.close()
            assert list(LogReader(left / "log").leaves(0)) == hot.leaves(0, 99)


def test_names_and_keys_of_whole_commits_are_there_and_no_others(tmp_path: Path) -> None:
    there, left = tmp_path / "keys.db", tmp_path / "left.db"
    names = [("tenant", b"", f"tenant-{n}") for n in range(COMMITS)]
    with KeyStore(there) as keys:
        keys._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ids = [keys.ids([name], {})[name] for name in names]
        seen = set()
        for commits in cut(there, left):
            with KeyStore(left) as found:
                each = [found.find(*name) for name in names]
                assert each == [*ids[:commits], *[None] * (COMMITS - commits)]
            seen.add(commits)
    assert seen == set(range(COMMITS + 1))
