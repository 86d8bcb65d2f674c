"""From entries to what lies on disk: ids for names, evidence for its subject, in an order that a crash cannot harm."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.box import opened as open_box
from dosimeter.monitor.audit.store.entries import Entry, from_record
from dosimeter.monitor.audit.store.hot import StoreStalled
from dosimeter.monitor.audit.store.keys import KeyOf, KeyStore
from tests.monitor.audit.audit_scene import SOURCE, T0, alert, opened

MARCH = 202603


def entry(n: int, **changes: object) -> Entry:
    item = alert(n, **changes)  # type: ignore[arg-type]
    found = from_record(item.core, SOURCE, item.seq).entry
    found.evidence = b"evidence %d" % n
    return found


def leaf(to: Appender, index: int) -> dict[str, str]:
    found: dict[str, str] = json.loads(to.hot.leaves(index, index + 1)[0][1])
    return found


def test_names_stand_as_the_ids_that_the_key_store_gave(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([entry(0), entry(7), entry(1)])
        tenant = to.keys.find("tenant", b"", "acme")
        assert tenant is not None
        user = to.keys.find("user", tenant, "user-0")
        chat = to.keys.find("conversation", tenant, "chat-7")
        assert user is not None
        assert chat is not None
        first, second, other = (leaf(to, i) for i in range(3))
        assert first["tenant"] == second["tenant"] == other["tenant"] == tenant.hex()
        assert first["subject"] == second["subject"] == user.hex() != other["subject"]
        assert second["conversation"] == chat.hex() != first["conversation"]


def test_evidence_opens_with_the_subjects_key_and_is_what_the_leaf_committed_to(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as to:
        one = entry(3)
        to.append([one])
        found = to.hot.evidence(bytes.fromhex(one.id))
        assert found is not None
        subject, month, sealed = found
        assert (subject.hex(), month) == (leaf(to, 0)["subject"], MARCH)
        key = to.keys.key(subject, month)
        assert key is not None
        body = open_box(sealed, key, bytes.fromhex(one.id), leaf(to, 0)["evidence"])
        assert body == b"evidence 3"


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ({"tenant": "acme", "conversation": "c"}, "conversation"),
        ({"tenant": "acme", "request_id": "r"}, "request"),
        ({"conversation": "c", "user": "u"}, "user"),
    ],
)
def test_who_the_evidence_belongs_to(tmp_path: Path, labels: dict[str, str], kind: str) -> None:
    with opened(tmp_path) as to:
        to.append([entry(0, labels=labels)])
        tenant = to.keys.find("tenant", b"", "acme") or b""
        value = labels["request_id" if kind == "request" else kind]
        id_ = to.keys.find(kind, tenant, value)
        assert id_ is not None
        assert leaf(to, 0)["subject"] == id_.hex()


def test_erasing_a_user_erases_the_names_of_their_conversations(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([entry(0), entry(1)])
        tenant = to.keys.find("tenant", b"", "acme") or b""
        to.keys.destroy(bytes.fromhex(leaf(to, 0)["subject"]))
        assert to.keys.find("conversation", tenant, "chat-0") is None
        assert to.keys.find("conversation", tenant, "chat-1") is not None


def test_terms_are_stored_once_and_found_by_the_hash_in_the_leaf(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        to.append([entry(n) for n in range(5)])
        assert to.hot.db.execute("SELECT count(*) FROM blob").fetchone()[0] == 1
        body = to.hot.blob(leaf(to, 4)["terms"])
        assert body is not None
        assert hashlib.sha256(body).hexdigest() == leaf(to, 0)["terms"]
        assert json.loads(body)["rule"] == "scam-written"


def test_evidence_of_nobody_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        with pytest.raises(ValueError, match="belongs to nobody"):
            to.append([Entry("config", "ab" * 16, T0, evidence=b"x")])
        assert to.hot.size == 0


def test_ids_and_keys_are_there_before_the_entry_that_needs_them(tmp_path: Path) -> None:
    """A stall between the two loses nothing: the next attempt finds the same ids."""
    with opened(tmp_path) as to:
        append = to.hot.append

        def stalled(*_: object, **__: object) -> object:
            raise StoreStalled(to.hot.path, sqlite3.OperationalError("disk full"))

        to.hot.append = stalled  # type: ignore[assignment, method-assign]
        with pytest.raises(StoreStalled):
            to.append([entry(2)])
        tenant = to.keys.find("tenant", b"", "acme") or b""
        user = to.keys.find("user", tenant, "user-2")
        to.hot.append = append  # type: ignore[method-assign]
        to.append([entry(2)])
        assert user is not None
        assert leaf(to, 0)["subject"] == user.hex()


def test_one_who_is_erased_between_name_and_key_gets_no_key_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is known from the month before, so that nothing keeps others from erasing it."""
    with opened(tmp_path) as to, KeyStore(tmp_path / "keys.db") as other:
        names = {"tenant": "acme", "user": "ada", "conversation": "chat"}
        before, one = (
            Entry("alert", f"{n:032x}", time_ns, source="s", names=names, evidence=b"body")
            for n, time_ns in enumerate((T0 - 10**9, T0))
        )
        to.append([before])
        erased: list[bytes] = []
        keys = to.keys.keys

        def erase_first(wanted: Iterable[KeyOf]) -> dict[KeyOf, bytes]:
            each = set(wanted)
            if not erased:
                erased.extend(subject for subject, _ in each)
                other.destroy_all(erased)
            return keys(each)

        monkeypatch.setattr(to.keys, "keys", erase_first)
        to.append([one])
        tenant = to.keys.find("tenant", b"", "acme") or b""
        assert to.keys.months(erased[0]) == []
        assert to.keys.find("user", tenant, "ada") not in (None, erased[0])
        assert other.leading_to(erased[0]) == []


def test_names_whose_keys_cannot_be_made_are_not_remembered(tmp_path: Path) -> None:
    """Else an entry would name somebody by an id that stands in no table."""
    with opened(tmp_path) as to:
        keys = to.keys.keys

        def stalled(_: Iterable[KeyOf]) -> dict[KeyOf, bytes]:
            raise StoreStalled(to.keys.path, sqlite3.OperationalError("disk full"))

        to.keys.keys = stalled  # type: ignore[assignment, method-assign]
        with pytest.raises(StoreStalled):
            to.append([entry(2)])
        assert to.keys.find("tenant", b"", "acme") is None
        to.keys.keys = keys  # type: ignore[method-assign]
        to.append([entry(2)])
        tenant = to.keys.find("tenant", b"", "acme")
        assert tenant is not None
        user = to.keys.find("user", tenant, "user-2")
        assert user is not None
        assert (leaf(to, 0)["tenant"], leaf(to, 0)["subject"]) == (tenant.hex(), user.hex())
        assert to.keys.key(user, MARCH) is not None
