"""The erasable map: random ids, keys, and that destroying them leaves nothing in any byte."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dosimeter.monitor.audit.store.keys import KeysError, KeyStore, NameGone, month_of

USER = ("user", b"t" * 16, "ada.lovelace@example.org")
CHAT = ("conversation", b"t" * 16, "chat-number-77")


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyStore]:
    with KeyStore(tmp_path / "keys.db") as found:
        yield found


def bytes_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_name_keeps_its_id_and_ids_are_random(keys: KeyStore, tmp_path: Path) -> None:
    ids = keys.ids([USER, CHAT], {})
    assert keys.ids([CHAT, USER], {}) == ids
    assert len(set(ids.values())) == 2
    with KeyStore(tmp_path / "keys.db") as again:
        assert again.ids([USER], {})[USER] == ids[USER]
        assert again.find(*USER) == ids[USER]
        assert again.name(ids[USER]) == ("user", USER[2])
    with KeyStore(tmp_path / "other.db") as other:
        assert other.ids([USER], {})[USER] != ids[USER]


def test_the_same_name_at_another_tenant_is_somebody_else(keys: KeyStore) -> None:
    elsewhere = ("user", b"u" * 16, USER[2])
    ids = keys.ids([USER, elsewhere], {})
    assert ids[USER] != ids[elsewhere]


def test_a_key_a_subject_and_month(keys: KeyStore) -> None:
    found = keys.keys([(b"a" * 16, 202603), (b"a" * 16, 202604), (b"b" * 16, 202603)])
    assert len(set(found.values())) == 3
    assert keys.key(b"a" * 16, 202603) == found[(b"a" * 16, 202603)]
    assert keys.key(b"a" * 16, 202605) is None


def test_destroyed_means_in_no_byte_of_any_file(keys: KeyStore, tmp_path: Path) -> None:
    subject = keys.ids([USER], {})[USER]
    keys.ids([CHAT], {CHAT: subject})
    key = keys.keys([(subject, 202603)])[(subject, 202603)]
    other = keys.keys([(b"b" * 16, 202603)])[(b"b" * 16, 202603)]
    there = bytes_on_disk(tmp_path)
    assert USER[2].encode() in there
    assert key in there
    done = keys.destroy(subject)
    assert (done.keys, done.names) == (1, 2)
    left = bytes_on_disk(tmp_path)
    assert USER[2].encode() not in left
    assert CHAT[2].encode() not in left
    assert key not in left
    assert subject not in left
    assert other in left
    assert keys.find(*USER) is None


def test_who_comes_back_after_erasure_is_somebody_new_in_every_process(
    keys: KeyStore, tmp_path: Path
) -> None:
    with KeyStore(tmp_path / "keys.db") as history:
        before = history.ids([USER], {})[USER]
        old = history.keys([(before, 202603)])
        keys.destroy(before)
        after = history.ids([USER], {})[USER]
        assert after != before
        assert old.keys() == {(before, 202603)}
        with pytest.raises(NameGone):
            history.keys([(before, 202603)])  # under way while it was erased
        with pytest.raises(NameGone):
            history.ids([CHAT], {CHAT: before})
        assert history.find(*CHAT) is None
        assert (history.key(before, 202603), history.gone(before)) == (None, True)


def test_one_who_was_erased_is_found_among_many(keys: KeyStore) -> None:
    others = [bytes([n]) * 16 for n in range(200)]
    gone = keys.ids([USER], {})[USER]
    keys.destroy(gone)
    for where in (0, 100, 200):
        with pytest.raises(NameGone, match=gone.hex()):
            keys.keys([(one, 202603) for one in (*others[:where], gone, *others[where:])])
    assert len(keys.keys([(one, 202603) for one in others])) == 200


def test_months_go_but_those_of_held_subjects_stay(keys: KeyStore) -> None:
    a, b = b"a" * 16, b"b" * 16
    keys.keys([(a, 202601), (a, 202603), (b, 202601)])
    assert keys.destroy_months(202603, held=[b]) == 1
    assert keys.key(a, 202601) is None
    assert keys.key(a, 202603) is not None
    assert keys.key(b, 202601) is not None


def test_others_may_not_read_the_file(keys: KeyStore, tmp_path: Path) -> None:
    assert (tmp_path / "keys.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("seconds", "month"), [(0, 197001), (1_772_323_199, 202602), (1_772_323_200, 202603)]
)
def test_months_begin_at_midnight_utc(seconds: int, month: int) -> None:
    assert month_of(seconds * 10**9) == month


def test_what_sqlite_left_in_free_space_goes_too(keys: KeyStore, tmp_path: Path) -> None:
    """So many rows that pages were split, and rows moved from one to another, before and while some are destroyed."""
    gone, stay = (
        keys.ids([("user", b"t" * 16, f"{word}-{n:04}") for n in range(2000)], {})
        for word in ("planted", "bystander")
    )
    destroyed = keys.keys([(id_, 202603) for id_ in gone.values()])
    kept = keys.keys([(id_, 202603) for id_ in stay.values()])
    done = keys.destroy_all(gone.values())
    assert (done.keys, done.names) == (2000, 2000)
    left = bytes_on_disk(tmp_path)
    assert b"planted" not in left
    assert not any(key in left for key in destroyed.values())
    assert all(keys.key(*of) == key for of, key in kept.items())


def test_while_somebody_reads_the_old_file_it_says_that_it_is_not_clean_yet(
    keys: KeyStore, tmp_path: Path
) -> None:
    subject = keys.ids([USER], {})[USER]
    with closing(sqlite3.connect(tmp_path / "keys.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM name").fetchone()
        keys._db.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(KeysError, match="ask for the erasure again"):
            keys.destroy(subject)
    keys.destroy(subject)
    assert USER[2].encode() not in bytes_on_disk(tmp_path)


def test_whom_names_lead_to(keys: KeyStore) -> None:
    subject = keys.ids([USER], {})[USER]
    chat = keys.ids([CHAT], {CHAT: subject})[CHAT]
    keys.keys([(subject, 202604), (subject, 202603)])
    assert keys.leading_to(subject) == [chat]
    assert sorted(keys.within(b"t" * 16)) == sorted([subject, chat])
    assert keys.months(subject) == [202603, 202604]
