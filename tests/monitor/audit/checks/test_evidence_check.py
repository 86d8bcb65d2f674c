"""Evidence is held against what entries committed to: what is gone or altered is named, what was erased is not."""

from __future__ import annotations

from pathlib import Path

from dosimeter.monitor.audit.checks.evidence_check import check_evidence
from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.feed.items import Batch, Evidence
from tests.monitor.audit.audit_scene import SOURCE, T0, alert, event_id, evidence, opened


def filled(to: Appender, count: int = 4) -> None:
    items = [alert(n, body=evidence(n)) for n in range(count)]
    Ingest(to, T0).take(Batch(tuple(items), {"at": 1}), T0)


def index_of(to: Appender, n: int) -> int:
    wanted = bytes.fromhex(event_id(n, T0 + n * 10**9))
    ((index,),) = to.hot.db.execute("SELECT idx FROM entry WHERE id = ?", (wanted,)).fetchall()
    return int(index)


def said(to: Appender, root: Path, leaves: list[tuple[int, bytes]]) -> list[tuple[int | None, str]]:
    found = check_evidence(HistoryFolder(root), to.hot, to.keys, leaves)
    return [(one.index, one.what) for one in found]


def all_leaves(to: Appender) -> list[tuple[int, bytes]]:
    return to.hot.leaves(0, to.hot.size)


def test_what_nobody_touched_is_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        filled(to)
        assert said(to, tmp_path, all_leaves(to)) == []


def test_a_ciphertext_that_is_gone_is_named_by_its_entry(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        filled(to)
        to.hot.db.execute(
            "DELETE FROM evidence WHERE id = ?", (bytes.fromhex(event_id(2, T0 + 2 * 10**9)),)
        )
        expected = [(index_of(to, 2), "its evidence is gone, and no entry says why")]
        assert said(to, tmp_path, all_leaves(to)) == expected


def test_a_key_that_is_gone_is_named(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        filled(to)
        subject, _, _ = to.hot.evidence(bytes.fromhex(event_id(1, T0 + 10**9))) or (b"", 0, b"")
        to.keys.destroy(subject)
        found = said(to, tmp_path, all_leaves(to))
        assert found == [
            (index_of(to, 1), "the key of its evidence is gone, and no entry says why")
        ]


def test_what_was_erased_is_no_finding(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        filled(to)
        operator = Actor("o", "operator", None)
        eraser = Eraser(HistoryFolder(tmp_path), to, now_ns=lambda: T0)
        eraser.erase("user", "acme", "user-1", actor=operator, reason="ticket 1")
        assert said(to, tmp_path, all_leaves(to)) == []


def test_evidence_that_was_completed_is_held_against_its_last_entry(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        ingest = Ingest(to, T0)
        ingest.take(Batch((alert(0, body=evidence(0, 9), final=False),), {}), T0)
        ingest.take(Batch((Evidence(SOURCE, event_id(0), evidence(0, 40)),), {}), T0)
        assert said(to, tmp_path, all_leaves(to)) == []


def test_sealed_evidence_is_read_and_a_lost_file_named(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        filled(to)
        leaves = all_leaves(to)
        segment = Sealer(to.hot, HistoryFolder(tmp_path), grace_ns=0).seal(len(leaves), len(leaves))
        assert segment is not None
        assert segment.evidence is not None
        assert said(to, tmp_path, leaves) == []
        path = HistoryFolder(tmp_path).evidence / segment.evidence
        path.write_bytes(path.read_bytes()[:100])
        assert any(
            f"evidence/{segment.evidence} cannot be read" in what
            for _, what in said(to, tmp_path, leaves)
        )
        path.unlink()
        what = f"evidence/{segment.evidence} is gone, and no entry says why"
        assert (segment.first, what) in said(to, tmp_path, leaves)
