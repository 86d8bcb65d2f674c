"""An auditor's own SQL: what the views show, and that nothing but reading them is possible."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from dosimeter.monitor.audit.queries import free_sql
from dosimeter.monitor.audit.queries.free_sql import SqlRefused, SqlStopped, run_sql
from dosimeter.monitor.audit.queries.query import Queries
from tests.monitor.audit.store_scene import BEGIN, DAY, SECOND, Store, id_of, made, store_in


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Sealed: two alerts and a label. Not sealed: an alert, a label, an access and a window of coverage."""
    with store_in(tmp_path_factory.mktemp("history")) as store:
        one = made(0, tenant=id_of(1), rule="one", value_sum=512, value_n=4, threshold_code=128)
        span = f'"from_ns":{BEGIN},"to_ns":{BEGIN + SECOND}'
        more = f'{{{span},"served":9,"scored":8,"unaccounted":0,"unscored":{{"x":1}}}}'
        store.put([
            one,
            made(1, time_ns=BEGIN + DAY, rule="two", tenant=id_of(2)),
            made(2, "label", about=one.id, actor="reviewer:aa", verdict="true", reason="seen"),
            made(3, time_ns=BEGIN + 2 * DAY, rule="one", tenant=id_of(1)),
            made(4, "label", about=one.id, actor="reviewer:bb", verdict="false"),
            made(5, "view", about=one.id, actor="auditor:cc", reason="case 7"),
            made(6, "coverage", more=more),
        ])  # fmt: skip
        store.seal_to(3, max_rows=2)
        yield store


def test_views_show_both_halves_with_ids_as_hex_and_times_in_the_zone(store: Store) -> None:
    answer = run_sql(
        store.folder, "SELECT tenant, time, value_sd FROM alerts ORDER BY idx", zone="Asia/Tokyo"
    )
    at = datetime(2026, 1, 1, 9, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert answer.rows[0] == ("00" * 15 + "01", at, 0.5)
    assert [row[0][-1] for row in answer.rows] == ["1", "2", "1"]
    assert answer.types[1] == "TIMESTAMP WITH TIME ZONE"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT reviewer, verdict, latest, disagreed FROM labels ORDER BY idx",
         [("reviewer:aa", "true", False, False), ("reviewer:bb", "false", True, True)]),
        ("SELECT rule, n FROM rules ORDER BY rule", [("one", 2), ("two", 1)]),
        ("SELECT kind, role, who, reason FROM access", [("view", "auditor", "cc", "case 7")]),
        ("SELECT served, scored, epoch_ns(\"to\") FROM coverage", [(9, 8, BEGIN + SECOND)]),
        ("SELECT count(*) FROM entries", [(7,)]),
        ("WITH a AS (FROM alerts WHERE rule = 'one') SELECT count(*) FROM a JOIN labels l ON l.alert = a.id", [(2,)]),
        ("SELECT count(*) FROM Alerts, range(3)", [(9,)]),
        ("VALUES (1), (2)", [(1,), (2,)]),
    ],
)  # fmt: skip
def test_questions_are_answered(store: Store, text: str, rows: list[tuple[object, ...]]) -> None:
    assert run_sql(store.folder, text).rows == rows


def test_no_more_rows_than_asked_for_and_it_is_said(store: Store) -> None:
    answer = run_sql(store.folder, "SELECT * FROM range(1000000000)", max_rows=3)
    assert (answer.rows, answer.cut) == ([(0,), (1,), (2,)], True)
    assert not run_sql(store.folder, "SELECT 1", max_rows=1).cut


ATTACKS = (
    "COPY alerts TO '{out}'",
    "COPY (SELECT 1) TO '{core}'",
    "ATTACH '{out}' AS x",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 64",
    "SET lock_configuration = false",
    "RESET enable_external_access",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '{out}'",
    "CREATE TABLE x AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "DROP VIEW alerts",
    "INSERT INTO hot SELECT * FROM hot",
    "DELETE FROM hot",
    "UPDATE hot SET rule = 'x'",
    "SELECT * INTO x FROM alerts",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW alerts",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE p AS SELECT 1",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "",
    "   -- nothing",
    "not sql at all",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_parquet('{core}')",
    "SELECT * FROM parquet_metadata('{core}')",
    "SELECT * FROM '{core}'",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')",
    "SELECT (SELECT count(*) FROM read_blob('/etc/passwd'))",
    "WITH x AS (SELECT * FROM read_csv('/etc/passwd')) SELECT * FROM x",
    "WITH x AS (INSERT INTO label SELECT * FROM label RETURNING 1) SELECT * FROM x",
    "WITH x AS (DELETE FROM hot RETURNING 1) SELECT * FROM x",
    "SELECT * FROM alerts WHERE id IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM hot",
    "SELECT * FROM label",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM main.hot",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('hot')",
    "SELECT getenv('HOME')",
    "SELECT * FROM store",
    "FROM folder",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_does_more_than_read_the_views_is_refused(
    store: Store, tmp_path: Path, attack: str
) -> None:
    folder, out = store.folder, tmp_path / "out"  # names of Python's are no tables either
    core = next(folder.core.iterdir())
    before = {path: path.read_bytes() for path in sorted(folder.root.rglob("*")) if path.is_file()}
    with pytest.raises(SqlRefused):
        run_sql(folder, attack.format(out=out, core=core))
    assert not out.exists()
    after = {path: path.read_bytes() for path in before}
    assert after == before  # fmt: skip


@pytest.mark.parametrize(
    "bomb",
    [
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c",
        "SELECT list(repeat('x', 1000000)) FROM range(100000)",
    ],
)
def test_a_question_without_an_end_is_stopped(store: Store, bomb: str) -> None:
    with pytest.raises(SqlStopped, match="stopped"):
        run_sql(store.folder, bomb, seconds=0.2)


def test_text_that_is_too_long_and_a_zone_that_is_none_are_refused(store: Store) -> None:
    with pytest.raises(SqlRefused, match="at most"):
        run_sql(store.folder, "SELECT 1 " + " " * 100_000)
    with pytest.raises(SqlRefused, match=r"(?i)time ?zone"):
        run_sql(store.folder, "SELECT 1", zone="Nowhere/It'; DROP VIEW alerts")


def test_an_answer_larger_than_it_may_be_is_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_sql, "MAX_ANSWER", 1_000_000)
    assert len(run_sql(store.folder, "SELECT repeat('x', 1000) FROM range(1000)").rows) == 1000
    with pytest.raises(SqlStopped, match="stopped by memory"):
        run_sql(store.folder, "SELECT repeat('x', 1001) FROM range(1000)")
    with pytest.raises(SqlStopped, match="stopped by memory"):
        run_sql(store.folder, "SELECT repeat('x', 1000) FROM range(1000000)", max_rows=10**7)


def test_a_question_nested_too_deeply_is_refused_in_words(store: Store) -> None:
    with pytest.raises(SqlRefused, match="nested too deeply"):
        run_sql(store.folder, "SELECT " + "+".join(["1"] * 900))


def test_columns_of_one_name_are_told_apart(store: Store) -> None:
    text = (
        "SELECT a.idx, l.idx, 3 AS idx_2, l.verdict FROM alerts a JOIN labels l ON l.alert = a.id"
    )
    assert run_sql(store.folder, text).columns == ("idx", "idx_3", "idx_2", "verdict")
    assert run_sql(store.folder, "SELECT 1 AS a, 2 AS a, 3 AS a").columns == ("a", "a_2", "a_3")


@pytest.mark.parametrize("name", ["o'brien", "back\\slash", 'dou"ble', "zero\u200bwidth", "張"])
def test_sealed_files_are_read_whatever_their_folder_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with store_in(tmp_path / name) as store:
        one = made(0)
        store.put([one, made(1), made(2, "label", about=one.id, actor="a:1", verdict="true")])
        store.seal_to(2)
        assert run_sql(store.folder, "SELECT count(*) FROM alerts").rows == [(2,)]
        with Queries(store.folder) as queries:
            assert queries.run("count").rows == [(2,)]
            queries.learn()
            assert queries.run("count_by_verdict").rows == [("true", 1)]
