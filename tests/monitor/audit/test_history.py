"""One history opened: ids cut short, alerts whole, evidence behind its entry, and the log written out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosimeter.monitor.audit.evidence.evidence_body import Body
from dosimeter.monitor.audit.history import History, NoSuchEntry
from dosimeter.monitor.audit.people.access import AccessRefused, Actor
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.box import CannotOpen
from dosimeter.monitor.audit.store.entries import Entry
from dosimeter.monitor.audit.store.hot import StoreError
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.feed.items import Alive, Batch, Hello
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.writer import LogWriter
from dosimeter.rules.canonical import canonical, digest
from tests.monitor.audit.audit_scene import HOUR_NS, SOURCE, T0, alert, core, opened
from tests.monitor.audit.whole_scene import PROGRAM, RULE, Whole, covered, whole

AUDITOR = Actor("aldo", "auditor")


@pytest.fixture
def scene(tmp_path: Path) -> Whole:
    return whole(tmp_path / "data")


@pytest.fixture
def history(scene: Whole) -> Iterator[History]:
    with History.open(scene.folder.root) as found:
        yield found


def test_evidence_that_somebody_took_away_is_not_called_erased(
    scene: Whole, history: History
) -> None:
    """A file that was deleted, or a key, looked like what was asked to be forgotten."""
    found = history.alert(scene.ids()[3])
    subject = bytes.fromhex(found.entry["subject"])
    key = "DELETE FROM subject_key WHERE subject = ?"
    with sqlite3.connect(scene.folder.keys) as db:
        stored = db.execute("SELECT * FROM subject_key WHERE subject = ?", (subject,)).fetchone()
        db.execute(key, (subject,))
    with pytest.raises(CannotOpen, match=r"the key of evidence of .* is gone, and nobody was"):
        history.plaintext(found)
    with sqlite3.connect(scene.folder.keys) as db:
        db.execute("INSERT INTO subject_key VALUES (?, ?, ?)", stored)
    assert isinstance(history.plaintext(found), bytes)
    history.settle()
    size = history.log.size
    segment = Sealer(history.hot, scene.folder, grace_ns=0).seal(size, size)
    assert segment is not None
    (scene.folder.evidence / str(segment.evidence)).unlink()
    with pytest.raises(CannotOpen, match=f"{segment.evidence} is gone, and no entry says why"):
        history.plaintext(found)
    history.keys.destroy(subject)
    assert history.plaintext(found) == "gone: erased, or its time is over"


def test_a_cut_file_of_evidence_is_named_and_keeps_nothing_else_shut(
    scene: Whole, history: History
) -> None:
    """It ended an export, and the page of every alert that had been sealed before, in a traceback."""
    history.settle()
    first, last = (history.alert(scene.ids()[n]) for n in (0, 3))
    for past in (last.idx, history.log.size):
        assert Sealer(history.hot, scene.folder, grace_ns=0).seal(past, past) is not None
    path = scene.folder.evidence / str(history.hot.segments()[1].evidence)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CannotOpen, match=f"{path.name}: cannot be read"):
        history.plaintext(last)
    assert isinstance(history.plaintext(first), bytes)


def test_where_there_is_no_history_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no history here\n  hint: start `dosimeter history`"):
        History.open(tmp_path / "history")
    assert not (tmp_path / "history").exists()


def test_an_id_may_be_cut_to_eight_characters_where_no_other_begins_so(
    scene: Whole, history: History
) -> None:
    id_ = scene.ids()[3]
    for beginning in (id_, id_[:8], id_[:20].upper()):
        assert history.alert(beginning).entry["id"] == id_


def test_an_id_that_is_none_or_several_is_refused_with_which(
    scene: Whole, history: History
) -> None:
    for wrong in ("019ca6", "xyz", "\x1b[31mabcdefg", "", "a" * 33):
        with pytest.raises(NoSuchEntry, match="is no id\n  hint: give at least 8"):
            history.alert(wrong)
    with pytest.raises(NoSuchEntry, match="no entry `ffffffff`"):
        history.alert("ffffffff")


def test_entries_of_one_millisecond_are_listed_where_the_beginning_is_theirs(
    tmp_path: Path,
) -> None:
    scene = whole(tmp_path / "data", count=0)
    with History.open(scene.folder.root) as history:
        ids = [f"{T0 // 10**6:012x}{n:020x}" for n in range(3)]
        history.appender.append([Entry("config", id_, T0) for id_ in ids])
        with pytest.raises(NoSuchEntry) as error:
            history.alert(ids[0][:12])
        assert str(error.value).splitlines()[1:] == [f"  {id_}" for id_ in ids]


def test_an_alert_is_the_record_of_its_ledger_without_what_is_personal(
    scene: Whole, history: History
) -> None:
    found = history.alert(scene.ids()[0])
    expected = core(0, time_ns=T0, rule_sha256=digest(RULE), program_sha256=digest(PROGRAM))
    for name in ("v", "labels", "summary", "coverage", "also"):
        expected.pop(name)
    assert {n: v for n, v in found.record.items() if n in expected} == expected
    assert set(found.blobs) == {digest(RULE), digest(PROGRAM), found.entry["terms"]}
    assert digest(canonical(dict(found.terms))) == found.entry["terms"]
    assert json.loads(history.leaf(found.idx)) == found.entry


def test_evidence_is_shown_after_an_entry_that_says_who_why_and_of_what(
    scene: Whole, history: History
) -> None:
    found = history.alert(scene.ids()[1])
    body = history.evidence(found, AUDITOR, "ticket 4411")
    assert isinstance(body, Body)
    assert body.labels == {"tenant": "tenant-1", "user": "user-1", "conversation": "chat-1"}
    (entry,) = history.rows("entries_about", about=found.entry["id"])
    assert (entry["kind"], entry["reason"]) == ("view", "ticket 4411")


def test_evidence_is_refused_without_a_reason_or_where_the_entry_cannot_be_written(
    scene: Whole, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = history.alert(scene.ids()[1])
    with pytest.raises(AccessRefused, match="no reason is given"):
        history.evidence(found, AUDITOR, None)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Appender, "append", full)
    opened: list[object] = []
    monkeypatch.setattr(History, "plaintext", lambda *_: opened.append(1))
    with pytest.raises(AccessRefused, match="No space left"):
        history.evidence(found, AUDITOR, "ticket")
    assert opened == []


def test_of_evidence_whose_key_is_destroyed_it_says_so(scene: Whole, history: History) -> None:
    found = history.alert(scene.ids()[1])
    history.keys.destroy(bytes.fromhex(found.entry["subject"]))
    assert history.plaintext(found) == "gone: the key of its subject was destroyed"


def test_a_name_is_shown_until_it_is_erased(scene: Whole, history: History) -> None:
    tenant = history.alert(scene.ids()[1]).entry["tenant"]
    assert history.name_of(tenant) == "tenant-1"
    history.keys.destroy(bytes.fromhex(tenant))
    assert history.name_of(tenant) is None
    assert history.name_of(None) is None


def test_the_log_is_written_out_where_nobody_else_does_it(scene: Whole, history: History) -> None:
    before = history.log.size
    history.access.ask(AUDITOR, "query", {})
    assert history.settle()
    assert history.log.size == before + 1


def test_beside_a_running_history_the_log_is_left_to_it(scene: Whole, history: History) -> None:
    with LogWriter(scene.folder.log, Signer.load(scene.folder.signing_key)):
        history.access.ask(AUDITOR, "query", {})
        assert not history.settle()


def test_how_far_a_time_was_watched_is_read_from_the_log(history: History) -> None:
    found = history.watched(T0, T0 + 3 * HOUR_NS)
    assert (found.served, found.scored) == (2500, 2400)
    assert [(g.first, g.last) for g in found.gaps] == [(5, 5)]
    assert list(found.names.values()) == ["pod-7"]
    assert not history.watched(T0 - 99 * HOUR_NS, T0 - 98 * HOUR_NS).any_data


def test_of_a_dead_sidecar_nothing_is_known_from_its_last_sign_of_life_on(history: History) -> None:
    """It was killed at T0 + 3 h, asked about at once after and at T0 + 5 h, and its death noticed then."""
    now_ns = T0 + 5 * HOUR_NS
    soon = history.watched(T0, T0 + 3 * HOUR_NS + 60 * 10**9, now_ns=now_ns)
    assert soon.unwatched == ()
    for noticed in (False, True):
        if noticed:
            Ingest(history.appender, T0 + 3 * HOUR_NS).take(Batch(), now_ns)
            assert history.rows("gaps")[-1]["kind"] == "death"
        found = history.watched(T0, T0 + 9 * HOUR_NS, now_ns=now_ns)
        assert found.unwatched == ((T0 + 3 * HOUR_NS, now_ns),)
        assert [found.names[one.source] for one in found.silences] == ["pod-7"]
        assert found.later == (now_ns, T0 + 9 * HOUR_NS)
    started = now_ns + 60 * 10**9
    lives = [Hello(SOURCE, "pod-7", started, 1, 0, 12), Alive(SOURCE, 12, started + 5)]
    Ingest(history.appender, now_ns).take(Batch(tuple(lives), {"at": 2}), started + 10 * 10**9)
    again = history.watched(T0, started + 9, now_ns=now_ns + HOUR_NS)
    assert again.unwatched == ((T0 + 3 * HOUR_NS, started),)


def test_what_a_history_that_was_behind_names_late_is_a_doubt_about_the_time_it_is_of(
    tmp_path: Path,
) -> None:
    """Five days behind, it learns of a death, of four hours without a sidecar, and that records are missing: none of
    this was within a day of that time, so "none, and that time was watched" had been said of it."""
    late = T0 + 120 * HOUR_NS
    first = Hello(SOURCE, "pod-7", T0 - HOUR_NS, 1, 0, 0), Alive(SOURCE, 0, T0)
    again = Hello(SOURCE, "pod-7", T0 + 5 * HOUR_NS, 1, 0, 0)
    then = covered(0, 1000, 1000), Alive(SOURCE, 0, T0 + HOUR_NS), again, covered(5, 1000, 1000)
    with opened(tmp_path, T0) as appender:
        Ingest(appender, T0).take(Batch(first, {"at": 1}), T0)
    with opened(tmp_path, late) as appender:
        ingest = Ingest(appender, late)
        ingest.take(Batch((*then, Alive(SOURCE, 3, late)), {"at": 2}), late)
        ingest.take(Batch(), late + 100 * 10**9)
    with History.open(tmp_path) as history:
        found = history.watched(T0, T0 + 6 * HOUR_NS, now_ns=late + HOUR_NS)
        assert found.unwatched == ((T0 + HOUR_NS, T0 + 5 * HOUR_NS),)
        assert [(one.first, one.last) for one in found.gaps] == [(1, 3)]
        assert found.share == 1
        assert not found.whole
    after = late + 60 * HOUR_NS
    with opened(tmp_path, after) as appender:
        came = Batch((alert(1), alert(2)), {"at": 3})  # positions 2 and 3
        Ingest(appender, after).take(came, after)
    with History.open(tmp_path) as history:
        found = history.watched(T0, T0 + 6 * HOUR_NS, now_ns=after)
        assert [(one.first, one.last) for one in found.gaps] == [(1, 1)]


def test_what_was_done_with_entries_is_found_sealed_or_not(scene: Whole, history: History) -> None:
    ids = scene.ids()
    for n in (0, 1):
        history.evidence(history.alert(ids[n]), AUDITOR, "ticket")
    history.settle()
    first = history.hot.size - 2
    assert history.about([ids[0], ids[5]]) == [first]
    sealer = Sealer(history.hot, scene.folder, grace_ns=0)
    assert sealer.seal(history.log.size, history.log.size) is not None
    history.evidence(history.alert(ids[0]), AUDITOR, "again")
    assert history.about([ids[0], ids[1]]) == [first, first + 1, first + 2]
    assert history.about([]) == []


def test_a_sealed_alert_is_as_whole_as_it_was(scene: Whole, history: History) -> None:
    before = [history.alert(id_) for id_ in scene.ids()]
    texts = [history.plaintext(one) for one in before]
    sealer = Sealer(history.hot, scene.folder, grace_ns=0)
    assert sealer.seal(history.log.size, history.log.size) is not None
    after = [history.alert(str(one.entry["id"])[:12]) for one in before]
    assert after == before
    assert [history.plaintext(one) for one in after] == texts


def test_what_was_sealed_since_is_read_from_the_bundle_that_has_grown(
    scene: Whole, history: History
) -> None:
    """Of a few entries a day one bundle takes days: a page of an alert in its later part had been an error."""
    first = history.alert(scene.ids()[0])
    size = history.log.size
    Sealer(history.hot, scene.folder, grace_ns=0).seal(size, size)
    assert history.alert(str(first.entry["id"])) == first
    at = history.hot.size
    history.appender.append([Entry("alert", "0a" * 16, T0, SOURCE, seq=99, fields={"rule": "r"})])
    leaf = history.leaf(at)
    keeper = Keeper(scene.folder, history.hot)  # as the process that writes does, beside this one
    keeper.turn(now=True)
    Sealer(history.hot, scene.folder, grace_ns=0).seal(at + 1, at + 1)
    keeper.close()
    assert history.hot.leaves(at, at + 1) == []
    assert history.leaf(at) == leaf
    assert history.alert("0a" * 16).entry == json.loads(leaf)
