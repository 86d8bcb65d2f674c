"""Statements by name, and that every name in the code exists and every statement compiles."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from dosimeter.monitor.history import cursors, ledger, upkeep, verdicts
from dosimeter.monitor.history.ledger import PACKAGE
from dosimeter.monitor.history.named_sql import NamedSql, read_sql

FOLDER = Path(ledger.__file__).parent


def test_a_statement_is_the_text_after_its_mark() -> None:
    sql = NamedSql("-- intro\n-- name: a\nSELECT 1\n\n-- name: b\n-- why\nSELECT 2\n", source="x")
    assert sql["a"] == "SELECT 1"
    assert sql["b"] == "-- why\nSELECT 2"


def test_an_unknown_name_answers_with_the_names_there_are() -> None:
    with pytest.raises(KeyError, match="no statement `c`; it has: a"):
        NamedSql("-- name: a\nSELECT 1", source="x")["c"]


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="defined twice"):
        NamedSql("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", source="x")


LEDGER = ["schema.sql", "schema_2.sql"]
DELIVER = [
    "deliver_schema.sql",
    "verdict_schema.sql",
    "deliver_schema_3.sql",
    "deliver_schema_4.sql",
]


@pytest.mark.parametrize(
    ("schemas", "sql"),
    [
        (LEDGER, ledger.SQL),
        (LEDGER, upkeep.SQL),
        (DELIVER, cursors.SQL),
        (DELIVER, verdicts.SQL),
    ],
)
def test_every_statement_compiles_against_its_schema(schemas: list[str], sql: NamedSql) -> None:
    db = sqlite3.connect(":memory:")
    for schema in schemas:
        db.executescript(read_sql(PACKAGE, schema))
    for name in sql.names():
        named = dict.fromkeys(re.findall(r":(\w+)", sql[name]))
        marks = [None] * sql[name].count("?")
        db.execute("EXPLAIN " + sql[name], marks or named)
    db.close()


def test_no_statement_is_left_that_nothing_runs() -> None:
    code = "".join(path.read_text() for path in FOLDER.glob("*.py"))
    for sql in (ledger.SQL, cursors.SQL, verdicts.SQL):
        assert [name for name in sql.names() if f'"{name}"' not in code] == []
