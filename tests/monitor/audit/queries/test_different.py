"""Users and conversations counted once: exactly, whatever is sealed, comes or goes between two questions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dosimeter.monitor.audit.queries import different, moment
from dosimeter.monitor.audit.queries.beside import Snapshot
from dosimeter.monitor.audit.queries.different import (
    NONE,
    Different,
    Ids,
    Known,
    ids_of,
    more,
    together,
)
from dosimeter.monitor.audit.queries.named_queries import Asked, query_named
from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.audit.store.sealing import SQL
from tests.monitor.audit.store_scene import BEGIN, id_of, made, some, store_in

COLUMNS = ("subject", "conversation")


@pytest.mark.parametrize("at_once", [2, 32])
def test_a_reader_that_counted_before_counts_as_the_entries_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Against the values of the entries themselves, in Python: some, sealed, more, and then a file's time is over."""
    monkeypatch.setattr(moment, "FILES_AT_ONCE", at_once)
    looked: list[int] = []

    def ids(self: Snapshot, asked: Asked, paths: Sequence[str], column: str) -> pa.ChunkedArray:
        looked.append(len(paths))
        return real(self, asked, paths, column)

    real = Snapshot.ids
    monkeypatch.setattr(Snapshot, "ids", ids)
    entries = some(random.Random(6), 120)
    with store_in(tmp_path) as store, Queries(store.folder) as queries:

        def equal(first: int, past: int) -> None:
            for given in ({}, {"tenant": id_of(1)}):
                there = [
                    one.values
                    for one in entries[first:past]
                    if one.values["kind"] == "alert"
                    and all(one.values.get(n) == v for n, v in given.items())
                ]
                times = [one["time_ns"] for one in there]
                of = [len({one.get(c) for one in there} - {None}) for c in COLUMNS]
                expected = (len(times), min(times), max(times), *of)
                plain = queries._found(query_named("people").asked({"kind": "alert", **given}))
                assert plain.rows == [expected]
                with Queries(store.folder) as fresh:
                    for ask in (queries, fresh):
                        assert ask.run("people", kind="alert", **given) == plain

        store.put(entries[:60])
        equal(0, 60)
        store.seal_to(40, max_rows=10)
        equal(0, 60)
        store.put(entries[60:])
        store.seal_to(90, max_rows=30)
        equal(0, 120)
        gone = store.hot.segments()[0]
        with store.hot.writing() as db:
            db.execute(SQL["core_gone"], (gone.first,))
            db.execute(SQL["drop_few"], (gone.first, gone.past))
        (store.folder.core / gone.core).unlink()
        equal(gone.past, 120)
    assert max(looked) == min(at_once, 6)


@pytest.mark.parametrize("shared", [0, 8, 15])
def test_ids_that_begin_alike_or_end_in_zeros_are_told_apart(shared: int) -> None:
    dice = random.Random(shared)
    each = [b"\1" * shared + dice.randbytes(14 - shared) + b"\0\0" if shared < 14 else b"\1" * 15 + bytes([n])
            for n in range(200)]  # fmt: skip
    old, new = each[:150], each[100:] + each[100:]
    found = [ids_of(pa.chunked_array([pa.array(one, pa.binary())])) for one in (old, new)]
    assert [one.shape[1] for one in found] == [150, 100]
    assert more(*found) == 50
    assert more(together(found), found[1]) == 0
    assert more(NONE, found[1]) == 100
    assert bytes_of(together(found)) == set(each)
    part = pa.array(each, pa.binary()).slice(20, 30)
    assert bytes_of(ids_of(pa.chunked_array([part]))) == set(each[20:50])


def bytes_of(ids: Ids) -> set[bytes]:
    each = [one.tobytes() for one in ids.T]
    assert len(set(each)) == len(each)
    return set(each)


def test_what_is_no_id_is_refused() -> None:
    for one in ([b"\1" * 15], [b"\1" * 15, b"\1" * 17]):
        with pytest.raises(ValueError, match="16 bytes"):
            ids_of(pa.chunked_array([pa.array(one, pa.binary())]))


def test_what_is_too_much_to_keep_is_forgotten_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(different, "MOST_IDS", 3)
    known, none = Different(), frozenset[int]()
    two, four = (np.arange(2 * n, dtype=np.uint64).reshape(2, n) for n in (2, 4))
    for name in "ab":
        known.keep(name, Known(9, two), none)
    assert (known.of("a", none, 9).past, known.of("b", none, 9).past) == (0, 9)
    known.keep("c", Known(9, four), none)  # too much by itself
    assert [known.of(name, none, 9).past for name in "abc"] == [0, 9, 0]
    assert known.of("b", none, 8).past == 0  # of an earlier moment
    known.keep("b", Known(18, four), none)
    assert known.of("b", none, 18) == Known(0, NONE)


def test_of_no_entries_there_are_none(tmp_path: Path) -> None:
    with store_in(tmp_path) as store, Queries(store.folder) as queries:
        assert queries.run("people").rows == [(0, None, None, 0, 0)]
        store.put([made(0)])
        store.seal_to(1)
        assert queries.run("people").rows == [(1, BEGIN, BEGIN, 0, 0)]
        assert queries.run("people", kind="digest").rows == [(0, None, None, 0, 0)]
