"""What is removed from the ledger leaves no byte behind, changes nothing else, and is counted."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.named_sql import read_sql
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord, Pruned
from dosimeter.rules.canonical import canonical

PERSONAL = ("user", "conversation", "request_id", "traceparent")
FOREVER = 1 << 62


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def planted(number: int) -> bytes:
    """Stands in every personal place of an alert, and nowhere else."""
    return b"<planted %06d>" % number


def record(number: int, *, copies: int = 3) -> LedgerRecord:
    mark = planted(number).decode()
    labels = dict.fromkeys(PERSONAL, mark * copies) | {"tenant": "acme", "route": "/chat"}
    core = {"event_id": f"{number:032x}", "labels": labels, "rule": "r", "summary": mark, "v": 2}
    return LedgerRecord(f"{number:032x}", canonical(core), planted(number) * 9 * copies, True)


def every_byte(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


def scrubbed(ledger: Ledger, *, anew: bool = False) -> None:
    """The thread that checkpoints may be in the way for a moment."""
    if anew:
        ledger._db.execute("VACUUM")
    while not ledger.upkeep.scrub(anew=False):
        pass


def erased_form(core: bytes) -> bytes:
    """By other means than SQLite's."""
    parsed: dict[str, Any] = json.loads(core)
    if "summary" in parsed:
        parsed["summary"] = ""
    for name in PERSONAL:
        parsed.get("labels", {}).pop(name, None)
    return canonical(parsed)


TEXT = st.text(max_size=12)
RECORDS = st.fixed_dictionaries(
    {"v": st.just(2)},
    optional={
        "labels": st.dictionaries(st.sampled_from([*PERSONAL, "tenant", "route"]), TEXT),
        "summary": TEXT,
        "reason": TEXT,
        "time_ns": st.integers(0, 2**63 - 1),
        "also": st.lists(st.dictionaries(TEXT, st.integers(-(2**40), 2**40), max_size=2)),
    },
)


@pytest.fixture(scope="module")
def one_ledger(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Ledger(tmp_path_factory.mktemp("one") / "ledger.db") as ledger:
        ledger._db.execute("PRAGMA synchronous = OFF")
        yield ledger


@given(core=RECORDS)
def test_erasing_removes_four_labels_and_the_summary_and_keeps_every_other_byte(
    one_ledger: Ledger, core: dict[str, Any]
) -> None:
    event_id = f"{one_ledger.upkeep.last_seq() + 1:032x}"
    stored = canonical(core)
    one_ledger.append([LedgerRecord(event_id, stored, None, True)])
    one_ledger.upkeep.erase([event_id], 7)
    found = one_ledger._db.execute("SELECT core FROM alert WHERE event_id = ?", (event_id,))
    assert found.fetchone()[0] == erased_form(stored)


@pytest.mark.parametrize(
    "change",
    [
        "core = '{}'",
        "erased_ns = 1",
        "erased_ns = 1, core = CAST('{}' AS BLOB)",
        "seq = 9",
        "event_id = 'x'",
        "committed_ns = 0",
        "deliverable = 0",
    ],
)
def test_every_other_rewriting_is_refused_before_and_after_an_erasure(
    path: Path, change: str
) -> None:
    with Ledger(path, now_ns=lambda: 5) as ledger:
        ledger.append([record(1)])
        for _ in range(2):
            with pytest.raises(sqlite3.IntegrityError, match="never rewritten"):
                ledger._db.execute(f"UPDATE alert SET {change}")
            ledger.upkeep.erase([record(1).event_id], 7)
        with LedgerReader(path) as reader:
            (alert,) = reader.alerts_since()
    assert alert.core == erased_form(record(1).core)
    assert alert.labels == {"tenant": "acme", "route": "/chat"}


def test_an_alert_is_deleted_by_pruning_alone(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append([record(1), record(2)])
        with pytest.raises(sqlite3.IntegrityError, match="counted as pruned"):
            ledger._db.execute("DELETE FROM alert WHERE seq = 1")


def test_evidence_that_comes_after_the_erasure_is_not_stored(path: Path) -> None:
    """The rest of it, or the same decision taken again after a crash."""
    first = record(1)
    with Ledger(path) as ledger:
        ledger.append([first])
        ledger.upkeep.erase([first.event_id], 7)
        assert ledger.append(evidence={first.event_id: planted(1)}).orphans == 1
        assert ledger.append([first]).duplicates == 1
        with LedgerReader(path) as reader:
            assert reader.evidence(first.event_id) is None
            assert reader.alerts_since()[0].core == erased_form(first.core)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_byte_of_what_was_erased_is_left(path: Path, seed: int) -> None:
    """Through growing evidence, duplicates, ids out of order and pages that were split and freed."""
    rng = random.Random(seed)
    order = list(range(1, 700))
    rng.shuffle(order)
    with Ledger(path, now_ns=lambda: 5) as ledger:
        ledger._db.execute("PRAGMA synchronous = OFF")
        for start in range(0, len(order), 23):
            group = order[start : start + 23]
            again = rng.sample(order[ledger.upkeep.pruned() : start], 3) if start else []
            late = {f"{n:032x}": planted(n) * rng.randrange(1, 500) for n in group[::2] + again}
            copies = rng.randrange(1, 30)
            ledger.append([record(n, copies=copies) for n in group + again])
            ledger.append(evidence=late)
            if start > 400:
                ledger.upkeep.prune(start - 300, FOREVER)
        kept = order[ledger.upkeep.pruned() :]
        gone = set(rng.sample(kept, len(kept) // 3) + kept[:80])
        ids = [f"{n:032x}" for n in gone]
        seqs = ledger.upkeep.erase(ids, 7)
        assert len(seqs) == len(gone)
        assert ledger.upkeep.near_the_edge(ids, seqs)
        scrubbed(ledger, anew=True)
        left = every_byte(path)
        assert ledger._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [n for n in gone if planted(n) in left] == []
    assert [n for n in order[: len(order) - len(kept)] if planted(n) in left] == []
    assert all(planted(n) in left for n in kept if n not in gone)


def test_only_alerts_next_to_what_was_pruned_need_the_file_written_anew(path: Path) -> None:
    with Ledger(path, now_ns=lambda: 5) as ledger:
        ledger.append([record(n, copies=1) for n in range(1, 400)])
        assert not ledger.upkeep.near_the_edge([], [1, 2, 3])
        ledger.upkeep.prune(20, FOREVER)
        assert ledger.upkeep.near_the_edge([], [21, 390])
        assert not ledger.upkeep.near_the_edge([record(390).event_id], [390])
        assert ledger.upkeep.near_the_edge([record(1).event_id], [])
        ledger.upkeep.prune(120, FOREVER)
        assert not ledger.upkeep.near_the_edge([record(20).event_id], [])
        assert ledger.upkeep.near_the_edge([record(21).event_id], [])


def test_only_what_is_old_and_read_by_all_is_pruned_and_positions_go_on(path: Path) -> None:
    clock = iter([100, 200, 300, 400])
    with Ledger(path, now_ns=lambda: next(clock)) as ledger, LedgerReader(path) as reader:
        for first in (1, 4, 7):
            ledger.append([record(n) for n in range(first, first + 3)])
        assert ledger.upkeep.prune(5, 201) == 5  # the cursor stands at 5
        assert ledger.upkeep.prune(9, 201) == 1  # 7, 8, 9 are not old
        assert ledger.upkeep.prune(9, 201) == 0
        assert reader.pruned() == Pruned(6, 6, 6)
        assert [alert.seq for alert in reader.alerts_since()] == [7, 8, 9]
        assert reader.evidence(record(6).event_id) is None
        assert reader.evidence(record(7).event_id) == record(7).evidence
        assert reader.first_since(0) == 7
        assert reader.first_since(301) == 10
        assert ledger.upkeep.prune(9, FOREVER) == 3
        assert (reader.count(), reader.last_seq(), reader.last_committed_ns()) == (0, 9, None)
        assert reader.first_since(0) == 10
        assert ledger.append([record(10)]).last_seq == 10
        assert [alert.seq for alert in reader.alerts_since()] == [10]


def test_conservation_holds_while_alerts_are_pruned_under_a_cursor(
    tmp_path: Path, path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    """The cursor goes its way in between, shadow alerts are in between, and old ones go behind it."""
    rng = random.Random(6)
    with (
        Ledger(path, now_ns=lambda: 5) as ledger,
        LedgerReader(path) as reader,
        CursorStore(tmp_path / "deliver.db", ledger_id=reader.ledger_id) as store,
    ):
        store.register(["s"])
        made = cursor = 0
        while made < 120:
            size = rng.randrange(1, 12)
            numbers = range(made + 1, made + 1 + size)
            ledger.append([record_of(n, deliverable=n % 3 != 0) for n in numbers])
            made += size
            batch = reader.deliverable_since(cursor, limit=rng.randrange(1, 10))
            if batch:
                dead = [(alert, "no") for alert in batch[:1] if rng.random() < 0.3]
                cursor = batch[-1].seq
                store.settle(
                    "s", cursor=cursor, delivered=len(batch) - len(dead), dead=dead, now_ns=1
                )
            ledger.upkeep.prune(min(cursor, rng.randrange(0, 120)), FOREVER)
            count = store.conservation("s", reader)
            assert count.holds
            assert count.accepted == made - made // 3
        assert reader.pruned().alerts > 20


def test_a_sink_that_is_new_begins_behind_what_was_pruned(
    tmp_path: Path, path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    with (
        Ledger(path, now_ns=lambda: 5) as ledger,
        LedgerReader(path) as reader,
        CursorStore(tmp_path / "deliver.db", ledger_id=reader.ledger_id) as store,
    ):
        ledger.append([record_of(n, deliverable=n != 2) for n in range(1, 11)])
        ledger.upkeep.prune(6, FOREVER)  # five that are deliverable
        store.register(["new"])
        store.skip_pruned("new", reader.pruned())
        store.skip_pruned("new", reader.pruned())
        position, count = store.position("new"), store.conservation("new", reader)
        assert (position.cursor, position.missed) == (6, 5)
        assert (count.accepted, count.queued, count.holds) == (4, 4, True)


def test_a_sink_that_has_not_begun_behind_what_was_pruned_is_owed_nothing_of_it(
    tmp_path: Path, path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    with (
        Ledger(path, now_ns=lambda: 5) as ledger,
        LedgerReader(path) as reader,
        CursorStore(tmp_path / "deliver.db", ledger_id=reader.ledger_id) as store,
    ):
        ledger.append([record_of(n) for n in range(1, 11)])
        ledger.upkeep.prune(6, FOREVER)
        store.register(["new"])
        count = store.conservation("new", reader)
        assert (count.accepted, count.queued, count.holds) == (4, 4, True)


def test_what_is_settled_and_pruned_between_two_looks_does_not_break_conservation(
    tmp_path: Path, path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    """A sink that catches up with old alerts: the line prunes right behind it."""

    class Between(LedgerReader):
        def count_deliverable(self, seq: int = 0) -> tuple[int, int]:
            if seq == 3:
                store.settle("s", cursor=8, delivered=5, dead=[], now_ns=1)
                ledger.upkeep.prune(8, FOREVER)
            return super().count_deliverable(seq)

    with (
        Ledger(path, now_ns=lambda: 5) as ledger,
        Between(path) as reader,
        CursorStore(tmp_path / "deliver.db", ledger_id=reader.ledger_id) as store,
    ):
        ledger.append([record_of(n) for n in range(1, 11)])
        store.settle("s", cursor=3, delivered=3, dead=[], now_ns=1)
        count = store.conservation("s", reader)
        assert (count.accepted, count.delivered, count.queued) == (10, 8, 2)
        assert count.holds


def test_a_file_that_is_written_anew_is_left_as_it_was_for_one_in_a_hurry(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append([record(n) for n in range(1, 400)])
        ledger._db.set_progress_handler(ledger.upkeep.hurry, 100)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            ledger.upkeep.scrub(anew=True)
        ledger._db.set_progress_handler(None, 0)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            ledger.upkeep.scrub(anew=True)
        assert ledger.append([record(400)]).accepted == 1
        with LedgerReader(path) as reader:
            assert reader.count() == 400


def version_1(path: Path, records: list[LedgerRecord], gap: int = 0) -> None:
    """As the release before made it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(read_sql("dosimeter.monitor.history", "schema.sql"))
    db.execute("INSERT INTO meta VALUES ('schema_version', '1')")
    for one in records:
        db.execute(
            "INSERT INTO alert (event_id, core, deliverable, committed_ns) VALUES (?, ?, 1, 5)",
            (one.event_id, one.core),
        )
        db.execute("INSERT INTO evidence VALUES (?, ?)", (one.event_id, one.evidence))
    if gap:
        db.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'alert'", (gap,))
    db.close()


def test_a_ledger_of_version_1_keeps_everything_and_is_contiguous_from_then_on(path: Path) -> None:
    records = [record(n) for n in (3, 1, 2)]
    version_1(path, records, gap=4)
    with LedgerReader(path) as reader:  # before the line has opened it
        assert [alert.core for alert in reader.alerts_since()] == [r.core for r in records]
        assert reader.evidence(records[0].event_id) == records[0].evidence
        assert (reader.pruned(), reader.contiguous_after()) == (Pruned(), None)
        assert reader.count_deliverable(1) == (3, 2)
        assert reader.last_committed_ns() == 5
    with Ledger(path) as ledger, LedgerReader(path) as reader:
        ledger.append([record(4), record(5)])
        assert [alert.seq for alert in reader.alerts_since()] == [1, 2, 3, 8, 9]
        assert reader.contiguous_after() == 7
        assert [reader.evidence(r.event_id) for r in records] == [r.evidence for r in records]
        ledger.upkeep.erase([record(n).event_id for n in (1, 2)], 7)
        scrubbed(ledger)
        assert planted(3) in every_byte(path)
        assert planted(1) not in every_byte(path)
    Ledger(path).close()  # of version 2 already


@pytest.mark.parametrize("seed", range(3))
def test_accepted_alerts_are_numbered_without_a_gap_whatever_comes_twice(
    path: Path, seed: int
) -> None:
    """Twice in a group, in another one, in a group that failed."""
    rng = random.Random(seed)
    accepted = 0
    with Ledger(path) as ledger, LedgerReader(path) as reader:
        ledger._db.execute("PRAGMA synchronous = OFF")
        for _ in range(60):
            numbers = [rng.randrange(300) for _ in range(rng.randrange(1, 30))]
            group = [LedgerRecord(f"{n:032x}", b"{}", b"%d" % n, True) for n in numbers]
            if rng.random() < 0.2:
                broken = [*group, LedgerRecord("f" * 32, b"{", None, True)]
                with pytest.raises(Exception, match="malformed JSON"):
                    ledger.append(broken)
            done = ledger.append(group)
            accepted += done.accepted
            assert done.accepted + done.duplicates == len(group)
        stored = reader.alerts_since(limit=1000)
        assert [alert.seq for alert in stored] == list(range(1, accepted + 1))
        assert {int(a.event_id, 16) for a in stored} == {
            int(reader.evidence(a.event_id) or b"") for a in stored
        }
