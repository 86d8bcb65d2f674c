"""Sealing: what may go into files, and that a crash anywhere leaves every entry in exactly one place."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from dosimeter.monitor.audit.evidence.evidence_files import read_evidence
from dosimeter.monitor.audit.store import sealed_file, sealing
from dosimeter.monitor.audit.store.columns import NAMES, row_of
from dosimeter.monitor.audit.store.entries import leaf_of
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.sealing import DUE_NS, GRACE_NS, Sealer, keep_few
from tests.monitor.audit.store_scene import BEGIN, LATER, SECOND, Made, Store, made, some, store_in


class Killed(BaseException):
    """Nothing after this happens: neither is it caught, nor cleaned up after."""


def rows_of(store: Store) -> dict[int, tuple[Any, ...]]:
    """Every entry of both halves by its position; fails where one is in both."""
    found: dict[int, tuple[Any, ...]] = {}
    for segment in store.hot.segments():
        table = pq.read_table(store.folder.core / segment.core)
        columns = [table[name].to_pylist() for name in ("idx", *NAMES)]
        for idx, *row in zip(*columns, strict=True):
            assert idx not in found
            found[idx] = tuple(row)
    for idx, *row in store.hot.db.execute(f"SELECT idx, {', '.join(NAMES)} FROM entry"):
        assert idx not in found
        found[idx] = tuple(row)
    return found


def expected(entries: list[Made]) -> dict[int, tuple[Any, ...]]:
    return {i: one.stored().row for i, one in enumerate(entries)}


def test_a_sealed_file_tells_whom_it_is_not_about(tmp_path: Path) -> None:
    """By the format's own Bloom filters, so that a case is found without reading ids of everybody."""
    with store_in(tmp_path) as store:
        store.put(some(random.Random(1), 60))
        (one,) = store.seal_to(50)
        found = duckdb.execute(
            "SELECT path_in_schema FROM parquet_metadata(?) WHERE bloom_filter_offset IS NOT NULL",
            [str(store.folder.core / one.core)],
        )
        assert {name for (name,) in found.fetchall()} == {"subject", "conversation"}


def evidence_in(store: Store, id_: bytes) -> bytes | None:
    found = store.hot.evidence(id_) or read_evidence(store.folder, store.hot.segments(), id_)
    return None if found is None else found[2]


def test_both_halves_together_are_what_was_put_in(tmp_path: Path) -> None:
    entries = some(random.Random(1), 60)
    with store_in(tmp_path) as store:
        store.put(entries)
        segments = store.seal_to(50, max_rows=20)
        assert [(s.first, s.past) for s in segments] == [(0, 20), (20, 40), (40, 50)]
        assert rows_of(store) == expected(entries)
        assert store.hot.size == 60
        for one in entries:
            assert evidence_in(store, one.id) == one.evidence


def test_what_is_not_signed_not_read_or_young_stays(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put([made(n) for n in range(10)])
        assert store.sealer().seal(0, 10) is None
        assert store.sealer().seal(10, 0) is None
        young = BEGIN + 4 * SECOND + GRACE_NS
        segment = store.sealer(now_ns=young).seal(10, 8)
        assert segment is not None
        assert segment.past == 5  # of 0..4 the last was taken in just so long ago
        segment = store.sealer().seal(10, 8)
        assert segment is not None
        assert (segment.first, segment.past) == (5, 8)


def test_it_is_due_for_many_rows_and_for_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store_in(tmp_path) as store:
        assert not store.sealer().due()
        store.put([made(0), made(1)])
        assert not store.sealer(now_ns=BEGIN + DUE_NS - 1).due()
        assert store.sealer(now_ns=BEGIN + DUE_NS).due()
        monkeypatch.setattr(sealing, "DUE_ROWS", 2)
        assert store.sealer(now_ns=BEGIN).due()


def test_a_segment_knows_its_first_and_last_event_though_clocks_differ(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put([made(n, time_ns=at) for n, at in enumerate((50, 10, 90, 40))])
        (segment,) = store.seal_to(4)
        assert (segment.from_ns, segment.to_ns) == (10, 90)


@pytest.mark.parametrize("step", range(7))
def test_a_crash_between_two_steps_loses_nothing_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Steps: evidence opened, durable, hashed; core opened, durable, hashed; in the transaction."""
    entries = some(random.Random(7), 40)
    with store_in(tmp_path) as store:
        store.put(entries)
        store.seal_to(10)
        sealer = store.sealer()
        count = iter(range(100))

        def dies(real: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if next(count) == step:
                    raise Killed
                return real(*args, **kwargs)

            return call

        monkeypatch.setattr(sealing, "evidence_batch", dies(sealed_file.evidence_batch))
        monkeypatch.setattr(sealing, "core_batch", dies(sealed_file.core_batch))
        monkeypatch.setattr(sealing, "hash_of", dies(sealed_file.hash_of))
        monkeypatch.setattr(sealing, "segment_row", dies(sealing.segment_row))
        monkeypatch.setattr(sealed_file, "synced", dies(lambda folder: None))
        with pytest.raises(Killed):
            sealer.seal(40, 40)
        assert rows_of(store) == expected(entries)
        monkeypatch.undo()
        assert len(store.seal_to(40)) == 1
        assert rows_of(store) == expected(entries)
        for one in entries:
            assert evidence_in(store, one.id) == one.evidence
        named = {s.core for s in store.hot.segments()}
        assert {path.name for path in store.folder.core.iterdir()} == named


def test_files_that_no_segment_names_are_removed_at_the_start(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put([made(n, evidence_body=b"e") for n in range(4)])
        store.seal_to(2)
        left = [store.folder.core / "000000000002-000000000004.parquet"]
        left.append(store.folder.evidence / "000000000002-000000000004.parquet.tmp")
        for path in left:
            path.write_bytes(b"half")
        store.sealer()
        assert not any(path.exists() for path in left)
        assert rows_of(store).keys() == {0, 1, 2, 3}
        assert evidence_in(store, made(0).id) == b"e"


def test_evidence_that_came_anew_while_sealing_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store_in(tmp_path) as store:
        alert = made(0, evidence_body=b"first")
        store.put([alert, made(1)])
        real = Sealer._write

        def slow(self: Sealer, *args: Any) -> Any:
            files = real(self, *args)
            store.put([made(2, "evidence", about=alert.id, evidence_body=b"second")])
            return files

        monkeypatch.setattr(Sealer, "_write", slow)
        assert store.sealer().seal(2, 2) is not None
        assert evidence_in(store, alert.id) == b"second"
        monkeypatch.undo()
        store.seal_to(3)
        assert store.hot.evidence(alert.id) is None
        assert evidence_in(store, alert.id) == b"second"  # of two sealed ones the later


def test_the_entry_of_a_segment_says_what_its_files_are_and_is_always_the_same(
    tmp_path: Path,
) -> None:
    with store_in(tmp_path) as store:
        entries = [made(n, evidence_body=b"e") for n in range(3)]
        store.put(entries)
        (segment,) = store.seal_to(3)
        entry = store.sealer().entry_of(segment)
        core = (store.folder.core / segment.core).read_bytes()
        evidence = (store.folder.evidence / str(segment.evidence)).read_bytes()
        assert entry.fields["core_sha256"] == hashlib.sha256(core).hexdigest() == segment.sha256
        assert entry.fields["evidence_sha256"] == hashlib.sha256(evidence).hexdigest()
        hashes = [hashlib.sha256(b"\0" + one.stored().leaf).digest() for one in entries]
        assert entry.fields["leaves_sha256"] == hashlib.sha256(b"".join(hashes)).hexdigest()
        assert (entry.kind, entry.time_ns) == ("seal", LATER)
        assert row_of(leaf_of(entry, LATER, {}), {})[NAMES.index("kind")] == "seal"
        assert store.sealer(now_ns=LATER + 5).last_entry() == entry


@pytest.mark.parametrize("lost", [True, False])
def test_history_starts_beside_a_last_file_that_is_lost_or_cut(tmp_path: Path, lost: bool) -> None:
    with store_in(tmp_path) as store:
        store.put([made(n) for n in range(2)])
        (segment,) = store.seal_to(2)
        path = store.folder.core / segment.core
        if lost:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-9])
        assert store.sealer().last_entry() is None


def test_nothing_is_sealed_around_a_hole(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put([made(n) for n in range(5)])
        store.hot.db.execute("DELETE FROM entry WHERE idx = 2")
        assert store.sealer().seal(5, 5) is None


def test_a_row_that_is_not_what_its_leaf_says_is_not_sealed(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put([made(n) for n in range(5)])
        store.hot.db.execute("DROP TRIGGER entry_is_immutable")
        store.hot.db.execute("UPDATE entry SET decision = 'silenced' WHERE idx = 3")
        segment = store.sealer().seal(5, 5)
        assert segment is not None
        assert (segment.first, segment.past) == (0, 3)
        assert store.sealer().seal(5, 5) is None


def test_an_entry_of_a_clock_that_ran_ahead_does_not_stop_sealing(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put([made(0), made(1, ingested_ns=LATER + 1), made(2)])
        segment = store.sealer().seal(3, 3)
        assert segment is not None
        assert segment.past == 3


def test_what_an_earlier_release_sealed_stands_beside_its_files_after_the_next_start(
    tmp_path: Path,
) -> None:
    """Version 1 kept labels alone beside the files: the rest is read out of them, once."""
    with store_in(tmp_path) as store:
        store.put(some(random.Random(2), 60))
        store.seal_to(60)
        queries = "SELECT * FROM sealed_few ORDER BY idx"
        before = store.hot.db.execute(queries).fetchall()
        assert {row[2] for row in before} == {"label", "view", "hold", "gap", "coverage", "digest"}
        for statement in (
            "DROP INDEX few_by_kind",
            "DROP INDEX few_by_about",
            "DROP INDEX entry_by_kind",
            "DELETE FROM sealed_few WHERE kind <> 'label'",
            "ALTER TABLE sealed_few RENAME TO sealed_label",
            "ALTER TABLE segment DROP COLUMN few",
            "PRAGMA user_version = 1",
        ):
            store.hot.db.execute(statement)
        path = store.hot.path
    with HotStore(path) as hot:
        assert [segment.few for segment in hot.segments()] == [False]
        keep_few(hot, HistoryFolder(path.parent))
        assert hot.db.execute(queries).fetchall() == before
        assert [segment.few for segment in hot.segments()] == [True]
