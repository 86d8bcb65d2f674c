"""Evidence is held against what entries committed to: what is gone or altered is named, what was erased is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dosimeter.monitor.audit.checks.evidence_check import check_evidence
from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.people.holds import put_hold
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.audit.store.retention import Retention
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.feed.items import Batch, Evidence
from tests.monitor.audit.audit_scene import HOUR_NS, SOURCE, T0, alert, event_id, evidence, opened

DAY_NS = 24 * HOUR_NS


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


def test_what_went_with_its_file_is_no_finding_though_the_keys_of_its_month_are_there(
    tmp_path: Path,
) -> None:
    """For up to a month after its time, all of it had been called gone for no reason."""
    folder = HistoryFolder(tmp_path)
    with opened(tmp_path) as to:
        filled(to)
        size = to.hot.size
        leaves = all_leaves(to)
        assert Sealer(to.hot, folder, grace_ns=0).seal(size, size) is not None
        retention = Retention(to.hot, to.keys, folder, core_months=24, evidence_days=10)
        going = retention.due(T0 + 15 * DAY_NS)  # of the 1st of March, on the 16th
        assert going is not None
        assert (len(going.evidence), going.keys_before) == (1, 202603)
        to.append([retention.entry_of(going, T0 + 15 * DAY_NS)])
        retention.carry_out(going)
        leaves += all_leaves(to)
        assert said(to, tmp_path, leaves) == []
        without = [(at, b"{}" if b'"retention"' in leaf else leaf) for at, leaf in leaves]
        assert len(said(to, tmp_path, without)) == 4


@pytest.mark.parametrize("on", ["alert", "subject"])
def test_what_was_held_when_its_file_went_is_missed(tmp_path: Path, on: str) -> None:
    """Retention leaves it in that file, of which its entry says that the time was over."""
    folder = HistoryFolder(tmp_path)
    with opened(tmp_path) as to:
        filled(to)
        size, leaves = to.hot.size, all_leaves(to)
        segment = Sealer(to.hot, folder, grace_ns=0).seal(size, size)
        assert segment is not None
        about = event_id(2, T0 + 2 * 10**9)
        ((at, alert_),) = [one for one in leaves if about.encode() in one[1]]
        if on == "subject":
            about = json.loads(alert_)["subject"]
        put_hold(to, on, about, actor=Actor("a", "auditor"), reason="case", now_ns=T0)  # type: ignore[arg-type]
        retention = Retention(to.hot, to.keys, folder, core_months=24, evidence_days=10)
        going = retention.due(T0 + 50 * DAY_NS)
        assert going is not None
        to.append([retention.entry_of(going, T0 + 50 * DAY_NS)])
        assert retention.carry_out(going).kept == 1
        leaves += all_leaves(to)
        assert said(to, tmp_path, leaves) == []
        (folder.evidence / str(segment.evidence)).unlink()
        assert said(to, tmp_path, leaves) == [(at, "its evidence is gone, and no entry says why")]


@pytest.mark.parametrize("column", ["subject", "month"])
def test_a_ciphertext_that_is_called_somebody_elses_is_named(tmp_path: Path, column: str) -> None:
    """Whoever wrote there an id that was erased, or a month whose keys were gone, had not been found."""
    with opened(tmp_path) as to:
        filled(to)
        erased = to.keys.find("user", to.keys.find("tenant", b"", "acme") or b"", "user-1")
        operator = Actor("o", "operator", None)
        eraser = Eraser(HistoryFolder(tmp_path), to, now_ns=lambda: T0)
        eraser.erase("user", "acme", "user-1", actor=operator, reason="ticket 1")
        over = {"core": [], "evidence_files": [], "keys_before": 202602}
        to.append([Entry("retention", own_id(T0), T0, fields=over)])
        assert said(to, tmp_path, all_leaves(to)) == []
        value: bytes | int | None = {"subject": erased, "month": 202601}[column]
        to.hot.db.execute(
            f"UPDATE evidence SET {column} = ?, sealed = x'00' WHERE id = ?",
            (value, bytes.fromhex(event_id(2, T0 + 2 * 10**9))),
        )
        what = "the key of its evidence is gone, and no entry says why"
        assert said(to, tmp_path, all_leaves(to)) == [(index_of(to, 2), what)]


def test_a_conversation_that_went_with_its_user_is_no_finding(tmp_path: Path) -> None:
    """What was said in it before the user was known is under its own key, and no entry names that one."""
    with opened(tmp_path) as to:
        before = alert(0, body=evidence(0), labels={"tenant": "acme", "conversation": "c"})
        after = {"tenant": "acme", "user": "u", "conversation": "c"}
        both = (before, alert(1, body=evidence(1), labels=after))
        Ingest(to, T0).take(Batch(both, {"at": 1}), T0)
        eraser = Eraser(HistoryFolder(tmp_path), to, now_ns=lambda: T0)
        eraser.erase("user", "acme", "u", actor=Actor("o", "operator", None), reason="ticket 1")
        assert to.hot.db.execute("SELECT count(*) FROM evidence").fetchone() == (0,)
        assert said(to, tmp_path, all_leaves(to)) == []


def test_somebody_who_spoke_in_a_conversation_of_one_who_was_erased_is_missed(
    tmp_path: Path,
) -> None:
    """The conversation goes with the one, and what the other said in it is under a key of its own."""
    with opened(tmp_path) as to:
        both = [
            alert(
                n,
                body=evidence(n),
                labels={"tenant": "acme", "user": f"user-{n}", "conversation": "c"},
            )
            for n in range(2)
        ]
        Ingest(to, T0).take(Batch(tuple(both), {"at": 1}), T0)
        eraser = Eraser(HistoryFolder(tmp_path), to, now_ns=lambda: T0)
        operator = Actor("o", "operator", None)
        eraser.erase("user", "acme", "user-0", actor=operator, reason="ticket 1")
        assert to.hot.db.execute("SELECT count(*) FROM evidence").fetchone() == (1,)
        assert said(to, tmp_path, all_leaves(to)) == []
        to.hot.db.execute("DELETE FROM evidence")
        expected = [(index_of(to, 1), "its evidence is gone, and no entry says why")]
        assert said(to, tmp_path, all_leaves(to)) == expected


@pytest.mark.parametrize("what", ["retention", "erasure", "more"])
@pytest.mark.parametrize("when", ["while the log is read", "while files are read"])
def test_what_happens_meanwhile_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    """Beside a history that runs, what had been taken in since the check began did not say why something went."""
    folder = HistoryFolder(tmp_path)
    with opened(tmp_path) as to:
        filled(to)
        size, leaves = to.hot.size, all_leaves(to)
        assert Sealer(to.hot, folder, grace_ns=0).seal(size, size) is not None
        ingest = Ingest(to, T0)
        later = alert(9, body=evidence(9, 9), final=False)
        ingest.take(Batch((later,), {"at": 2}), T0)
        leaves += all_leaves(to)

        def meanwhile() -> None:
            if what == "retention":
                retention = Retention(to.hot, to.keys, folder, core_months=24, evidence_days=10)
                going = retention.due(T0 + 50 * DAY_NS)
                assert going is not None
                to.append([retention.entry_of(going, T0 + 50 * DAY_NS)])
                retention.carry_out(going)
            elif what == "erasure":
                operator = Actor("o", "operator", None)
                eraser = Eraser(folder, to, now_ns=lambda: T0)
                eraser.erase("user", "acme", "user-1", actor=operator, reason="ticket 1")
            else:
                more = Evidence(SOURCE, later.event_id, evidence(9, 40))
                assert ingest.take(Batch((more,), {"at": 3}), T0) == 1

        if when == "while the log is read":
            assert said_while(to, folder, leaves, meanwhile) == []
        else:
            key = KeyStore.key  # the first is asked for before any file is looked at

            def asked(keys: KeyStore, subject: bytes, month: int) -> bytes | None:
                monkeypatch.undo()
                meanwhile()
                return key(keys, subject, month)

            monkeypatch.setattr(KeyStore, "key", asked)
            assert said(to, tmp_path, leaves) == []


def said_while(
    to: Appender, folder: HistoryFolder, leaves: list[tuple[int, bytes]], then: Callable[[], None]
) -> list[tuple[int | None, str]]:
    def read() -> Iterator[tuple[int, bytes]]:
        yield from leaves
        then()

    return [(one.index, one.what) for one in check_evidence(folder, to.hot, to.keys, read())]
