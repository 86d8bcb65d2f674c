"""The entries of somebody are the same wherever they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.audit.erasure.known import Known, KnownEntries
from dosimeter.monitor.audit.people.access import Access
from tests.monitor.audit.people_scene import OPERATOR, Small, small
from tests.monitor.audit.store_scene import made, store_in


@pytest.fixture
def one(tmp_path: Path) -> Small:
    made = small(tmp_path)
    for n in range(8):
        made.alert(n, tenant=f"tenant-{n % 2}", user=f"user-{n % 3}", conversation=f"talk-{n}")
    return made


def known(one: Small) -> KnownEntries:
    return KnownEntries(one.hot, one.folder)


@pytest.mark.parametrize("sealed", [0, 1, 5, 8])
def test_by_any_id_they_are_those_of_that_id_in_order(one: Small, sealed: int) -> None:
    all_: list[Known] = []
    for n in range(8):
        tenant = one.keys.find("tenant", b"", f"tenant-{n % 2}")
        assert tenant is not None
        user = one.keys.find("user", tenant, f"user-{n % 3}")
        talk = one.keys.find("conversation", tenant, f"talk-{n}")
        row = one.hot.db.execute("SELECT id, time_ns FROM entry WHERE idx = ?", (n,)).fetchone()
        all_.append(Known(row[0], "alert", row[1], tenant, user, talk))
    if sealed:
        one.seal(sealed)
    for wanted in all_:
        assert known(one).by("id", [wanted.id]) == [wanted]
        for column in ("tenant", "subject", "conversation"):
            id_ = getattr(wanted, column)
            mine = [each for each in all_ if getattr(each, column) == id_]
            assert known(one).by(column, [id_, id_, b"\0" * 16]) == mine
    assert known(one).by("id", []) == []
    several = known(one).by("id", [each.id for each in all_])
    assert several == all_


def test_more_ids_than_one_statement_takes(one: Small) -> None:
    many = [n.to_bytes(16) for n in range(1200)]
    one.seal(4)
    ids = [row[0] for row in one.hot.db.execute("SELECT id FROM entry")]
    assert len(known(one).by("id", many + ids)) == 4


def test_the_leaves_of_a_kind_read_alike_from_both_halves(one: Small) -> None:

    Access(one.appender, one.keys, now_ns=one.clock).ask(OPERATOR, "query", {"rule": "lies"}, "why")
    (before,) = known(one).of_kind("query")
    assert (before["what"], before["reason"]) == ({"rule": "lies"}, "why")
    one.seal(9)
    assert known(one).of_kind("query") == [before]
    assert known(one).of_kind("export") == []


def test_a_sealed_file_that_cannot_be_read_is_named_and_keeps_nobody_from_the_rare_kinds(
    tmp_path: Path,
) -> None:
    with store_in(tmp_path) as store:
        alert = made(0)
        store.put([alert, made(1, "erase", more='{"phase":"begun"}')])
        (segment,) = store.seal_to(2)
        path = store.folder.core / segment.core
        path.write_bytes(path.read_bytes()[:-9])
        found = KnownEntries(store.hot, store.folder)
        assert [leaf["phase"] for leaf in found.of_kind("erase")] == ["begun"]
        with pytest.raises(OSError, match=segment.core):
            found.by("id", [alert.id])
