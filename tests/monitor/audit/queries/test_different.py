"""Users and conversations counted once: exactly, whatever is sealed, comes or goes between two questions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dosimeter.monitor.audit.queries import different, query
from dosimeter.monitor.audit.queries.beside import Snapshot
from dosimeter.monitor.audit.queries.different import NONE, Different, Known, both, ids_of, more
from dosimeter.monitor.audit.queries.named_queries import Asked
from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.audit.store.sealing import SQL
from tests.monitor.audit.store_scene import id_of, made, some, store_in


@pytest.mark.parametrize("at_once", [2, 32])
def test_a_reader_that_counted_before_counts_as_the_entries_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Against the values of the entries themselves, in Python: some, sealed, more, and then a file's time is over."""
    monkeypatch.setattr(query, "FILES_AT_ONCE", at_once)
    looked: list[int] = []

    def ids(self: Snapshot, asked: Asked, paths: Sequence[str], column: str) -> pa.ChunkedArray:
        looked.append(len(paths))
        return real(self, asked, paths, column)

    real = Snapshot.ids
    monkeypatch.setattr(Snapshot, "ids", ids)
    entries = some(random.Random(6), 120)
    with store_in(tmp_path) as store, Queries(store.folder) as queries:

        def equal(first: int, past: int) -> None:
            for column in ("subject", "conversation"):
                for given in ({}, {"tenant": id_of(1)}):
                    there = {
                        one.values.get(column)
                        for one in entries[first:past]
                        if one.values["kind"] == "alert"
                        and all(one.values.get(n) == v for n, v in given.items())
                    } - {None}
                    assert queries.different(column, kind="alert", **given) == len(there)

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
        equal(gone.past, 120)
    assert max(looked) == min(at_once, 5)


@pytest.mark.parametrize("shared", [0, 8, 15])
def test_ids_that_begin_alike_or_end_in_zeros_are_told_apart(shared: int) -> None:
    dice = random.Random(shared)
    each = [b"\1" * shared + dice.randbytes(14 - shared) + b"\0\0" if shared < 14 else b"\1" * 15 + bytes([n])
            for n in range(200)]  # fmt: skip
    old, new = each[:150], each[100:] + each[100:]
    found = [ids_of(pa.chunked_array([pa.array(one, pa.binary())])) for one in (old, new)]
    assert [len(one) for one in found] == [150, 100]
    assert more(*found) == 50
    assert [bytes(one).ljust(16, b"\0") for one in both(*found)] == sorted(each)
    part = pa.array(each, pa.binary()).slice(20, 30)
    assert [bytes(one).ljust(16, b"\0") for one in ids_of(pa.chunked_array([part]))] == sorted(
        each[20:50]
    )


def test_what_is_too_much_to_keep_is_forgotten_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(different, "MOST_IDS", 3)
    known, none = Different(), frozenset[int]()
    for name in "ab":
        known.keep(name, Known(9, np.array([b"1", b"2"], "S16")), none)
    assert (known.of("a", none).past, known.of("b", none).past) == (0, 9)
    known.keep("c", Known(9, np.array([b"1"] * 4, "S16")), none)  # too much by itself
    assert [known.of(name, none).past for name in "abc"] == [0, 9, 0]
    known.keep("b", Known(18, np.array([b"1"] * 4, "S16")), none)
    assert known.of("b", none) == Known(0, NONE)


def test_of_no_entries_there_are_none(tmp_path: Path) -> None:
    with store_in(tmp_path) as store, Queries(store.folder) as queries:
        assert queries.different("subject", kind="alert") == 0
        store.put([made(0)])
        store.seal_to(1)
        assert queries.different("subject", kind="digest") == 0
