"""Erasure: what goes, what stays and is said to stay, and that it can be interrupted anywhere."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dosimeter.monitor.audit.erasure import erase as module
from dosimeter.monitor.audit.erasure.erase import Erased, Eraser
from dosimeter.monitor.audit.erasure.erase_scope import CannotErase, Whom
from dosimeter.monitor.audit.evidence.evidence_files import read_evidence
from dosimeter.monitor.audit.people.access import Access, AccessRefused, Actor, resolved
from dosimeter.monitor.audit.people.holds import put_hold, release_hold
from dosimeter.monitor.audit.store.hot import StoreStalled
from dosimeter.monitor.audit.store.keys import KeysError, KeyStore
from tests.monitor.audit.people_scene import (
    APPROVER,
    AUDITOR,
    OPERATOR,
    REVIEWER,
    SECOND_NS,
    Small,
    small,
)


@pytest.fixture
def one(tmp_path: Path) -> Small:
    return small(tmp_path)


def eraser(one: Small, *ledgers: Path) -> Eraser:
    return Eraser(one.folder, one.appender, ledgers=ledgers, now_ns=one.clock)


def erase(one: Small, whom: Whom, tenant: str | None, value: str) -> Erased:
    return eraser(one).erase(whom, tenant, value, actor=OPERATOR, reason="request 12")


def id_of(one: Small, kind: str, tenant: str, value: str) -> bytes | None:
    of = one.keys.find("tenant", b"", tenant)
    return None if of is None else one.keys.find(kind, of, value)


def on_disk(one: Small) -> bytes:
    files = (path for path in one.folder.root.rglob("*") if path.is_file())
    return b"".join(path.read_bytes() for path in files)


def test_a_user_goes_with_keys_names_and_text_and_nobody_else_does(one: Small) -> None:
    mine = [
        one.alert(n, tenant="acme", user="bob@home", conversation=f"talk-{n}") for n in range(3)
    ]
    other = one.alert(9, tenant="acme", user="eve@home", conversation="talk-9")
    bob = id_of(one, "user", "acme", "bob@home")
    assert bob is not None
    key = one.keys.key(bob, 202603)
    assert key is not None
    done = erase(one, "user", "acme", "bob@home")
    assert (done.about, done.entries, done.keys, done.names) == (bob.hex(), 3, 1, 4)
    assert [one.text(id_) for id_ in mine] == [None] * 3
    assert one.text(other) is not None
    left = on_disk(one)
    for gone in (b"bob@home", b"talk-0", b"talk-1", b"talk-2", key):
        assert gone not in left
    assert b"eve@home" in left
    assert id_of(one, "user", "acme", "bob@home") is None
    assert one.hot.size == 6  # four alerts, two tombstones: nothing left the log


def test_the_log_says_who_erased_whom_why_and_what_was_found(one: Small) -> None:
    one.alert(1, tenant="acme", user="bob")
    bob = id_of(one, "user", "acme", "bob")
    assert bob is not None
    done = eraser(one).erase(
        "user", "acme", "bob", actor=OPERATOR, reason="request 12", approver=APPROVER
    )
    begun, ended = (json.loads(leaf) for leaf in one.leaves("erase"))
    omar, anna = (one.keys.find("actor", b"", name) for name in ("omar", "anna"))
    assert omar is not None
    assert anna is not None
    assert (begun["id"], ended["id"], ended["about"]) == (done.id, done.done, done.id)
    assert (begun["phase"], ended["phase"]) == ("begun", "done")
    assert begun["subject"] == ended["subject"] == bob.hex()
    assert (begun["actor"], begun["approver"]) == (
        f"operator:{omar.hex()}",
        f"approver:{anna.hex()}",
    )
    assert (begun["reason"], begun["months"], begun["entries"]) == ("request 12", [202603], 1)
    assert (ended["keys"], ended["names"], ended["ciphertexts"]) == (1, 1, 1)
    assert b"bob" not in b"".join(one.leaves("erase"))


def test_text_under_a_conversation_from_before_its_user_was_known_goes_too(one: Small) -> None:
    early = one.alert(1, tenant="acme", conversation="talk")
    late = one.alert(2, tenant="acme", conversation="talk", user="bob")
    done = erase(one, "user", "acme", "bob")
    assert (done.keys, done.entries) == (2, 2)
    assert one.text(early) is None
    assert one.text(late) is None
    assert id_of(one, "conversation", "acme", "talk") is None


def test_a_conversation_nobody_is_behind_can_be_erased_and_a_users_only_with_the_user(
    one: Small,
) -> None:
    alone = one.alert(1, tenant="acme", conversation="alone")
    users = one.alert(2, tenant="acme", conversation="users", user="bob")
    bob = id_of(one, "user", "acme", "bob")
    assert bob is not None
    assert erase(one, "conversation", "acme", "alone").keys == 1
    assert one.text(alone) is None
    with pytest.raises(CannotErase, match=f"erase the user: {bob.hex()}"):
        erase(one, "conversation", "acme", "users")
    assert one.text(users) is not None


def test_a_request_of_nobody_is_erased_by_its_id(one: Small) -> None:
    id_ = one.alert(1, tenant="acme", request="req-77")
    assert erase(one, "request", "acme", "req-77").entries == 1
    assert one.text(id_) is None


def test_a_tenant_goes_with_all_its_people_and_what_belongs_to_nobody(one: Small) -> None:
    mine = [
        one.alert(1, tenant="acme", user="bob"),
        one.alert(2, tenant="acme", conversation="talk"),
        one.alert(3, tenant="acme"),  # encrypted for the tenant itself
    ]
    other = one.alert(4, tenant="zenith", user="bob")
    done = erase(one, "tenant", None, "acme")
    assert (done.entries, done.keys, done.names) == (3, 3, 3)
    assert [one.text(id_) for id_ in mine] == [None] * 3
    assert one.text(other) is not None
    assert one.keys.find("tenant", b"", "acme") is None
    assert b"acme" not in on_disk(one)


def test_a_users_of_no_tenant_is_found_without_one(one: Small) -> None:
    id_ = one.alert(1, user="bob")
    with pytest.raises(CannotErase, match="no user of that name in that tenant"):
        erase(one, "user", "acme", "bob")
    erase(one, "user", None, "bob")
    assert one.text(id_) is None


def test_who_was_erased_is_not_found_a_second_time(one: Small) -> None:
    one.alert(1, tenant="acme", user="bob")
    erase(one, "user", "acme", "bob")
    with pytest.raises(CannotErase, match="never seen, or erased before"):
        erase(one, "user", "acme", "bob")
    assert len(one.leaves("erase")) == 2


def test_notes_of_reviewers_go_with_whom_they_are_about(one: Small) -> None:
    from dosimeter.monitor.audit.people.labels import About, label

    id_ = one.alert(1, tenant="acme", user="bob")
    acme, bob = one.keys.find("tenant", b"", "acme"), id_of(one, "user", "acme", "bob")
    assert acme is not None
    assert bob is not None
    about = About(alert=id_, tenant=acme.hex(), subject=bob.hex())
    note = label(
        one.appender, about, "true", actor=REVIEWER, reason_code="fraud", note="Bob again", now_ns=1
    )
    assert one.text(note) is not None
    assert erase(one, "user", "acme", "bob").entries == 2
    assert one.text(note) is None


@pytest.mark.parametrize("on", ["user", "entry", "tenant"])
def test_a_legal_hold_on_the_subject_an_entry_or_the_tenant_forbids_it(one: Small, on: str) -> None:
    id_ = one.alert(1, tenant="acme", user="bob")
    acme, bob = one.keys.find("tenant", b"", "acme"), id_of(one, "user", "acme", "bob")
    assert acme is not None
    assert bob is not None
    about = {"user": bob.hex(), "entry": id_, "tenant": acme.hex()}[on]
    kind: Any = "alert" if on == "entry" else "subject"
    ways: dict[str, Any] = {"actor": AUDITOR, "reason": "case 5", "now_ns": one.clock()}
    hold = put_hold(one.appender, kind, about, **ways)
    with pytest.raises(CannotErase, match=f"entry {hold} on {about}"):
        erase(one, "user", "acme", "bob")
    with pytest.raises(CannotErase, match="legal hold"):
        erase(one, "tenant", None, "acme")
    assert not one.leaves("erase")
    assert one.text(id_) is not None
    release_hold(one.appender, kind, about, **ways)
    assert erase(one, "user", "acme", "bob").ciphertexts == 1


def test_a_hold_put_while_it_is_prepared_still_forbids_it(
    one: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.alert(1, tenant="acme", user="ada")
    user = id_of(one, "user", "acme", "ada")
    assert user is not None
    look = module.exports_of

    def hold_first(*asked: Any) -> Any:
        by = Actor("lea", "approver")
        put_hold(one.appender, "subject", user.hex(), actor=by, reason="T-1", now_ns=1)
        return look(*asked)

    monkeypatch.setattr(module, "exports_of", hold_first)
    with pytest.raises(CannotErase, match="legal hold"):
        erase(one, "user", "acme", "ada")
    assert id_of(one, "user", "acme", "ada") == user


def test_it_takes_the_role_and_an_approver_who_is_somebody_else(one: Small) -> None:
    one.alert(1, tenant="acme", user="bob")
    with pytest.raises(AccessRefused, match="may not erase"):
        eraser(one).erase("user", "acme", "bob", actor=REVIEWER, reason="r")
    with pytest.raises(AccessRefused, match="may not approve"):
        eraser(one).erase("user", "acme", "bob", actor=OPERATOR, reason="r", approver=REVIEWER)
    same = Actor(OPERATOR.name, "approver")
    with pytest.raises(CannotErase, match="cannot approve it too"):
        eraser(one).erase("user", "acme", "bob", actor=OPERATOR, reason="r", approver=same)
    with pytest.raises(AccessRefused, match="names whom"):
        eraser(one).erase("user", "acme", "bob", actor=OPERATOR, reason="Bob wants it")
    assert not one.leaves("erase")


def test_exports_that_may_hold_it_are_named_and_others_are_not(one: Small) -> None:
    access = Access(one.appender, one.keys, now_ns=one.clock)
    early = access.ask(AUDITOR, "export", {"to_ns": 5})
    one.alert(1, tenant="acme", user="bob")
    one.alert(1_000, tenant="zenith", user="eve")
    one.now += 3_600 * SECOND_NS
    all_ = access.ask(AUDITOR, "export", {})
    text = access.ask(
        AUDITOR, "export", resolved({"tenant": "acme"}, one.keys) | {"text": True}, "x 1"
    )
    access.ask(AUDITOR, "export", resolved({"tenant": "zenith"}, one.keys))
    done = erase(one, "user", "acme", "bob")
    assert done.exports == (all_, text)
    assert early not in done.exports
    begun = json.loads(one.leaves("erase")[0])
    assert begun["exports"] == [{"id": all_, "text": False}, {"id": text, "text": True}]
    assert any("2 exports" in line for line in done.remains)


def test_ledgers_of_this_machine_are_asked_for_the_records_and_not_for_labels(
    one: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, list[str]]] = []

    def ask(data_dir: Path, event_ids: Sequence[str], now_ns: int) -> str:
        asked.append((data_dir, list(event_ids)))
        return data_dir.name

    monkeypatch.setattr(module, "_ask", ask)
    id_ = one.alert(1, tenant="acme", user="bob")
    done = eraser(one, tmp_path / "a", tmp_path / "b").erase(
        "user", "acme", "bob", actor=OPERATOR, reason="r"
    )
    assert asked == [(tmp_path / "a", [id_]), (tmp_path / "b", [id_])]
    assert (done.asked, done.requests) == (1, ("a", "b"))


def test_a_ledger_that_no_line_holds_is_emptied_at_once(one: Small, tmp_path: Path) -> None:
    from dosimeter.monitor.history.ledger import Ledger
    from dosimeter.monitor.history.reader import LedgerReader
    from dosimeter.monitor.history.records import LedgerRecord

    id_ = one.alert(1, tenant="acme", user="bob@home")
    record = {
        "v": 2,
        "kind": "alert",
        "event_id": id_,
        "time_ns": 1,
        "labels": {"user": "bob@home"},
    }
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([LedgerRecord(id_, json.dumps(record).encode(), None, False)])
    done = eraser(one, tmp_path, tmp_path / "none").erase(
        "user", "acme", "bob@home", actor=OPERATOR, reason="r"
    )
    assert [bool(request) for request in done.requests] == [True, False]
    with LedgerReader(tmp_path / "ledger.db") as reader:
        (left,) = reader.by_prefix(id_)
    assert b"bob@home" not in left.core
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert not any(b"bob@home" in path.read_bytes() for path in files)


def test_sealed_text_goes_too_and_what_is_of_others_is_left_byte_for_byte(one: Small) -> None:
    mine = one.alert(1, tenant="acme", user="bob")
    other = one.alert(2, tenant="acme", user="eve")
    kept = one.text(other)
    one.seal(2)
    only_other = one.alert(3, tenant="acme", user="eve")
    one.seal(3)
    untouched = (one.folder.evidence / one.hot.segments()[1].evidence).read_bytes()  # type: ignore[operator]
    done = erase(one, "user", "acme", "bob")
    assert (done.entries, done.ciphertexts, done.files) == (1, 1, 1)
    segments = one.hot.segments()
    assert read_evidence(one.folder, segments, bytes.fromhex(mine)) is None
    found = read_evidence(one.folder, segments, bytes.fromhex(other))
    assert found is not None
    assert found[2] == kept
    assert read_evidence(one.folder, segments, bytes.fromhex(only_other)) is not None
    assert (one.folder.evidence / segments[1].evidence).read_bytes() == untouched  # type: ignore[operator]


@pytest.mark.parametrize("how", ["cut", "folder", "another"])
def test_a_sealed_file_that_cannot_be_read_is_named_and_the_rest_goes(one: Small, how: str) -> None:
    """Keys and names were gone, then it broke off: history could not start any more, which was to go on with it."""
    one.alert(1, tenant="acme", user="bob")
    one.seal(1)
    mine = one.alert(2, tenant="acme", user="bob")
    one.seal(2)
    broken = one.folder.evidence / str(one.hot.segments()[0].evidence)
    data = broken.read_bytes()
    broken.unlink()
    if how == "cut":
        broken.write_bytes(data[:-9])
    elif how == "another":
        pq.write_table(pa.table({"subject": [1]}), broken)
    else:
        broken.mkdir()
    done = erase(one, "user", "acme", "bob")
    assert (done.keys, done.ciphertexts, done.files) == (1, 1, 1)
    assert done.remains[-1].startswith(f"{broken}: cannot be read: ")
    assert eraser(one).unfinished() == []
    if how == "cut":
        assert broken.read_bytes() == data[:-9]
        broken.unlink()
        assert read_evidence(one.folder, one.hot.segments(), bytes.fromhex(mine)) is None


STEPS = ("destroy_all", "drop_evidence", "empty_log", "drop_subjects", "_ask", "append")


@pytest.mark.parametrize("step", STEPS)
def test_interrupted_at_any_step_it_is_listed_and_finished_by_the_next_who_starts(
    one: Small, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module, "_ask", lambda data_dir, ids, now_ns: asked.extend(ids))
    sealed = one.alert(1, tenant="acme", user="bob", conversation="talk")
    one.seal(1)
    hot = one.alert(2, tenant="acme", user="bob", conversation="talk")

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as at:
        if step == "append":  # of the second entry
            at.setattr(module, "_ask", lambda *_: at.setattr(one.appender, "append", die))
        elif step == "destroy_all":
            at.setattr(one.keys, step, die)
        elif hasattr(one.hot, step):
            at.setattr(one.hot, step, die)
        else:
            at.setattr(module, step, die)
        with pytest.raises(Killed):
            eraser(one, tmp_path).erase("user", "acme", "bob", actor=OPERATOR, reason="r")
    (left,) = eraser(one).unfinished()
    done = eraser(one, tmp_path).finish(left)
    assert done.id == left.id
    assert done.entries == 3  # both alerts, and that it began
    assert eraser(one).unfinished() == []
    assert one.text(hot) is None
    assert read_evidence(one.folder, one.hot.segments(), bytes.fromhex(sealed)) is None
    assert step == "append" or set(asked) == {sealed, hot}
    for gone in (b"bob", b"talk"):
        assert gone not in on_disk(one)


def test_asked_again_when_nobody_reads_the_keys_any_more_it_is_ended(one: Small) -> None:
    """The hint was to ask again, and the answer that there is no such user: the rest stayed until the next start."""
    id_ = one.alert(0, tenant="acme", user="bob@home")
    one.keys._db.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(one.keys.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM name").fetchone()
        with pytest.raises(KeysError, match="ask for the erasure again"):
            erase(one, "user", "acme", "bob@home")
    assert one.text(id_) is not None
    (intent,) = eraser(one).unfinished()
    with pytest.raises(CannotErase, match="what had begun before has been ended: entry"):
        erase(one, "user", "acme", "bob@home")
    assert one.text(id_) is None
    assert b"bob@home" not in on_disk(one)
    assert eraser(one).unfinished() == []
    with pytest.raises(CannotErase, match=r"^no user of that name"):
        erase(one, "user", "acme", "bob@home")
    assert json.loads(one.leaves("erase")[-1])["about"] == intent.id


def test_a_conversation_that_got_a_user_while_it_was_to_be_erased_is_erased_all_the_same(
    one: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused when it had begun: history could not start any more, which was to go on with it."""
    early = one.alert(1, tenant="acme", conversation="talk")
    stop = Mock(side_effect=StoreStalled(one.keys.path, sqlite3.OperationalError("locked")))
    monkeypatch.setattr(KeyStore, "destroy_all", stop)
    with pytest.raises(StoreStalled):
        erase(one, "conversation", "acme", "talk")
    monkeypatch.undo()
    late = one.alert(2, tenant="acme", conversation="talk", user="bob")
    (intent,) = eraser(one).unfinished()
    assert eraser(one).finish(intent).keys == 1
    assert one.text(early) is None
    assert one.text(late) is not None
    assert eraser(one).unfinished() == []


def test_what_was_begun_is_remembered_when_its_entry_has_been_sealed(one: Small) -> None:
    one.alert(1, tenant="acme", user="bob")
    erase(one, "user", "acme", "bob")
    one.alert(2, tenant="acme", user="eve")
    one.hot.db.execute("BEGIN")
    one.hot.db.execute("COMMIT")
    one.seal(one.hot.size)
    assert eraser(one).unfinished() == []
    assert len(one.leaves("erase")) == 0  # all in the file


def test_where_the_first_entry_cannot_be_written_nothing_is_destroyed(one: Small) -> None:
    id_ = one.alert(1, tenant="acme", user="bob")
    one.hot.db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreStalled):
        erase(one, "user", "acme", "bob")
    one.hot.db.execute("PRAGMA query_only = OFF")
    assert id_of(one, "user", "acme", "bob") is not None
    assert one.text(id_) is not None
