"""Sealed history in a real PostgreSQL: the same answers, loaded once, and nothing that can be changed unseen."""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dosimeter.monitor.audit.queries.named_queries import QUERIES
from dosimeter.monitor.audit.queries.query import Queries, Rows
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.columns import COLUMNS
from dosimeter.monitor.audit.store.entries import Entry, from_record
from dosimeter.monitor.audit.store.keys import KeyStore
from tests.deploy.postgres_scene import OWNER, ROOT, Database, server
from tests.monitor.audit.audit_scene import SOURCE, alert, event_id
from tests.monitor.audit.queries.test_query import asked
from tests.monitor.audit.store_scene import BEGIN, DAY, Store, made, some, store_in

pytestmark = pytest.mark.parts

FOLDER = Path(__file__).parents[2] / "deploy/history"
BYTES = {c.name for c in COLUMNS if c.kind in ("id", "hash")}
ODD = (
    "a\tb",
    "a\nb\r",
    "\\N",
    "\\.",
    "back\\slash\\",
    "",
    "'); DROP TABLE entry; --",
    "\x01\x08\x0c\x0b",
    "Ä€😀",
    "B",
    "a",
)
NEW = itertools.count()


@pytest.fixture(scope="module")
def running() -> Iterator[Database]:
    """With the tables in the database `tables`, as somebody who is no superuser makes them."""
    with server() as database:
        for text in (
            f"CREATE ROLE {OWNER} LOGIN CREATEROLE",
            f"CREATE DATABASE tables OWNER {OWNER}",
        ):
            database.done(text, ROOT)  # fmt: skip
        tables = Database(database.folder, "tables")
        tables.done((FOLDER / "postgres.sql").read_text())
        users = "CREATE ROLE loads LOGIN IN ROLE dosimeter_loader; CREATE ROLE reads LOGIN IN ROLE dosimeter_reader"
        database.done(users, ROOT)
        yield database


def made_in(running: Database) -> Database:
    name = f"history_{next(NEW)}"
    running.done(f"CREATE DATABASE {name} TEMPLATE tables OWNER {OWNER}", ROOT)
    return Database(running.folder, name)


@pytest.fixture
def empty(running: Database) -> Database:
    return made_in(running)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_in(tmp_path) as store:
        yield store


def _loader() -> Any:
    spec = importlib.util.spec_from_file_location("load_postgres", FOLDER / "load_postgres.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOADER = _loader()


def load(database: Database, store: Store, *args: str) -> tuple[int, str]:
    """As the program does it, without the start of another Python."""
    argv = ["load_postgres.py", str(store.folder.root), *args]
    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, database.environ("loads"), clear=True),
        mock.patch.object(sys, "argv", argv),
        redirect_stdout(said),
        redirect_stderr(said),
    ):
        return LOADER.main(), said.getvalue()


def appended(store: Store) -> None:
    """Alerts with texts of every sort, and labels on some, by the way that a sidecar's records go."""
    with KeyStore(store.folder.keys) as keys:
        appender = Appender(store.hot, keys, now_ns=lambda: BEGIN)
        records = [
            alert(n, reason=text, rule=text or "none", severity=text, epoch=text)
            for n, text in enumerate(ODD * 3)
        ]
        appender.append([from_record(one.core, SOURCE, one.seq).entry for one in records])
        for n, verdict in enumerate(("true", "false", "unsure", "true")):
            said = {"about": records[n // 2].event_id, "verdict": verdict, "actor": f"reviewer:{n}"}
            id_ = event_id(1000 + n)
            appender.append([Entry("label", id_, BEGIN + n, fields=said | {"odd": ODD[n]})])


def literal(value: int | str | bytes) -> str:
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _bound(values: Mapping[str, int | str | bytes], found: re.Match[str]) -> str:
    return literal(values[found[1]])


def same(database: Database, name: str, each: Sequence[Mapping[str, Any]]) -> list[Rows]:
    """A named query in SQLite's words, on PostgreSQL, with these parameters one after the other."""
    script = []
    for given in each:
        text, values = QUERIES[name].asked(given).sqlite()
        text = re.sub(r":([a-z_]\w*)", partial(_bound, values), text)
        script.append(f"SELECT row_to_json(q) FROM (\n{text}\n) AS q;\n\\echo =\n")
    answers = database.done("".join(script), "reads").split("=\n")[:-1]
    return [rows_of(answer) for answer in answers]


def rows_of(answer: str) -> Rows:
    rows = [json.loads(line) for line in answer.splitlines()]
    for row in rows:
        for column in BYTES & row.keys():
            row[column] = row[column] and bytes.fromhex(row[column].removeprefix("\\x"))
    return Rows(tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])


def count(database: Database) -> list[str]:
    ask = "SELECT count(*), min(xmin::text::bigint), max(xmin::text::bigint) FROM entry; SELECT count(*) FROM segment"
    return database.done(ask).split()


def test_the_tables_there_have_the_columns_of_an_entry(empty: Database) -> None:
    ask = "SELECT column_name FROM information_schema.columns WHERE table_name = 'entry' ORDER BY ordinal_position"
    assert empty.done(ask).split() == ["idx", *(c.name for c in COLUMNS)]


def test_every_named_query_finds_the_same_in_both(empty: Database, store: Store) -> None:
    rng = random.Random(6)
    entries = some(rng, 300)
    store.put(entries)
    appended(store)
    store.seal_to(store.hot.size, max_rows=70)
    assert store.hot.size == 300 + 3 * len(ODD) + 4
    assert load(empty, store) == (0, "5 segments in history, 5 in PostgreSQL\n")
    found = 0
    with Queries(store.folder) as ask:
        for name, query in QUERIES.items():
            drawn = [asked(rng, name, entries) for _ in range(12)]
            each = [{p: v for p, v in drawn[0].items() if p in query.required}, *drawn]
            for given, theirs in zip(each, same(empty, name, each), strict=True):
                ours = ask.run(name, **given)
                assert theirs.rows == ours.rows, (name, given)
                assert not ours.rows or theirs.columns == ours.columns
                found += len(ours.rows)
        whole = ask.run("neighbours", first=0, past=10_000)
        assert same(empty, "neighbours", [{"first": 0, "past": 10_000}]) == [whole]
    assert len(whole.rows) == store.hot.size
    assert found > 2_000
    assert load(empty, store, "--check")[0] == 0


def test_loading_again_adds_only_what_was_sealed_since(empty: Database, store: Store) -> None:
    store.put(some(random.Random(1), 60))
    store.seal_to(40, max_rows=20)
    assert load(empty, store) == (0, "2 segments in history, 2 in PostgreSQL\n")
    before = count(empty)
    assert load(empty, store)[0] == 0
    assert count(empty) == before
    assert before[0].split("|")[0] == "40"
    store.seal_to(60, max_rows=20)
    assert load(empty, store, "--check") == (
        4,
        "3 segments in history, 2 in PostgreSQL\nWRONG: segment 40-60: 0 rows, 20 sealed; not as sealed: "
        + ", ".join(map(str, range(40, 60)))
        + "\n",
    )
    assert load(empty, store)[0] == 0
    assert load(empty, store, "--check") == (0, "3 segments in history, 3 in PostgreSQL\n")


def test_entries_lie_in_the_months_of_their_events(empty: Database, store: Store) -> None:
    times = (-(2**63) + 1, 0, BEGIN - 1, BEGIN, BEGIN + 31 * DAY - 1, BEGIN + 31 * DAY, 2**63 - 1)
    store.put([made(n, time_ns=at, id=n.to_bytes(16, "big")) for n, at in enumerate(times)])
    store.seal_to(7)
    assert load(empty, store)[0] == 0
    found = empty.done("SELECT tableoid::regclass FROM entry ORDER BY idx").split()
    here = ["entry_2025_12", "entry_2026_01", "entry_2026_01", "entry_2026_02"]
    assert found == ["entry_elsewhere"] * 2 + here + ["entry_elsewhere"]
    assert load(empty, store, "--check")[0] == 0


def test_what_postgres_cannot_hold_becomes_its_picture(empty: Database, store: Store) -> None:
    store.put([made(0, rule="a\0b")])
    store.seal_to(1)
    assert load(empty, store)[0] == 0
    assert empty.done("SELECT rule FROM entry") == "a␀b\n"
    assert load(empty, store, "--check")[0] == 0


@pytest.fixture(scope="module")
def full(running: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Thirty entries in three segments, for tests that change nothing."""
    database = made_in(running)
    with store_in(tmp_path_factory.mktemp("full")) as store:
        store.put(some(random.Random(2), 30))
        store.seal_to(30, max_rows=10)
        assert load(database, store)[0] == 0
    yield database
    assert database.done("SELECT count(*) FROM entry") == "30\n"


CHANGES = ("UPDATE entry SET severity = 'low'", "DELETE FROM entry", "TRUNCATE entry", "TRUNCATE entry_2026_01",
           "UPDATE segment SET past = past + 1", "DELETE FROM segment", "TRUNCATE segment")  # fmt: skip


def test_who_reads_or_loads_can_change_nothing(full: Database) -> None:
    for user in ("reads", "loads"):
        for text in (*CHANGES, "DROP TABLE entry", "CREATE TABLE other ()"):
            said = full.refused(text, user)
            assert "permission denied" in said or "must be owner" in said, said
    denied = full.refused("INSERT INTO segment VALUES (99, 100, '')", "reads")
    assert "permission denied" in denied
    assert "permission denied" in full.refused("SELECT make_month(0)", "reads")
    assert full.done("SELECT count(*) FROM entry", "reads") == "30\n"


@pytest.mark.parametrize("text", CHANGES)
def test_the_owner_cannot_change_a_row_by_mistake(full: Database, text: str) -> None:
    assert "an entry is never rewritten" in full.refused(text)


FORGED = """
SET session_replication_role = replica; -- without triggers
UPDATE entry SET severity = 'none' WHERE idx = 17;
UPDATE entry SET more = '' WHERE idx = 4;
DELETE FROM entry WHERE idx IN (20, 29);
INSERT INTO entry SELECT (jsonb_populate_record(e, '{"time_ns": 5}')).* FROM entry AS e WHERE idx = 3;
INSERT INTO entry SELECT (jsonb_populate_record(e, '{"idx": 40}')).* FROM entry AS e WHERE idx = 5;
INSERT INTO segment VALUES (30, 31, 'ff');
UPDATE segment SET core_sha256 = 'ff' WHERE first = 10;
"""


def test_what_somebody_with_more_rights_changed_is_found(empty: Database, store: Store) -> None:
    store.put(some(random.Random(2), 30))
    store.seal_to(30, max_rows=10)
    assert load(empty, store)[0] == 0
    empty.done(FORGED, ROOT)
    hot = store.folder.hot
    assert load(empty, store, "--check") == (
        4,
        "3 segments in history, 4 in PostgreSQL\n"
        f"WRONG: segment 10-20: not in {hot}\n"
        f"WRONG: segment 30-31: not in {hot}\n"
        "WRONG: segment 0-10: 11 rows, 10 sealed; not as sealed: 3, 4\n"
        "WRONG: segment 10-20: 10 rows, 10 sealed; not as sealed: 17\n"
        "WRONG: segment 20-30: 8 rows, 10 sealed; not as sealed: 20, 29\n"
        "WRONG: 1 rows belong to no segment that was loaded\n",
    )


def test_a_file_that_is_not_the_sealed_one_is_not_loaded(empty: Database, store: Store) -> None:
    store.put(some(random.Random(3), 20))
    one, two = store.seal_to(20, max_rows=10)
    path = store.folder.core / two.core
    path.write_bytes(path.read_bytes() + b"\0")
    status, said = load(empty, store)
    assert (status, f"{path}: is not the file that was sealed" in said) == (4, True), said
    assert empty.done("SELECT first FROM segment") == f"{one.first}\n"


def test_a_load_that_is_refused_leaves_nothing_behind(empty: Database, store: Store) -> None:
    store.put(some(random.Random(3), 10))
    store.seal_to(10)
    empty.done("REVOKE INSERT ON entry FROM dosimeter_loader")
    status, said = load(empty, store)
    assert (status, "permission denied for table entry" in said) == (3, True), said
    assert count(empty) == ["0||", "0"]
    empty.done("GRANT INSERT ON entry TO dosimeter_loader")
    assert load(empty, store)[0] == 0


def test_a_segment_whose_time_is_over_is_not_asked_for(empty: Database, store: Store) -> None:
    store.put(some(random.Random(2), 30))
    gone = store.seal_to(30, max_rows=10)[0]
    assert load(empty, store)[0] == 0
    (store.folder.core / gone.core).unlink()
    with store.hot.writing() as db:
        db.execute("UPDATE segment SET gone = 1 WHERE first = ?", (gone.first,))
    assert load(empty, store) == (0, "3 segments in history, 3 in PostgreSQL\n")
    assert load(empty, store, "--check")[0] == 0


def test_it_runs_as_a_program_and_says_where_nothing_is(running: Database, tmp_path: Path) -> None:
    program = [sys.executable, str(FOLDER / "load_postgres.py"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, env=running.environ("loads"))
    assert (done.returncode, "no history here" in done.stderr) == (3, True), done.stderr
