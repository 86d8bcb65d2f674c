"""The tables that are given away for other engines have the columns of an entry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dosimeter.monitor.audit.queries.named_queries import JUDGED
from dosimeter.monitor.audit.store.columns import COLUMNS

FOLDER = Path(__file__).parents[2] / "deploy/history"
NEVER_NULL = {"id", "kind", "time_ns", "ingested_ns"}
POSTGRES = {"int": "bigint", "text": 'text COLLATE "C"', "id": "bytea", "hash": "bytea"}
CLICKHOUSE = {"int": "Int64", "text": "String", "id": "FixedString(16)", "hash": "FixedString(32)"}


def columns(name: str, table: str) -> list[str]:
    """Every line of a table that begins with a column, its blanks as one."""
    text = (FOLDER / name).read_text()
    found = re.search(rf"CREATE TABLE {table} \(\n(.*?)\n\)", text, re.DOTALL)
    assert found is not None
    lines = [" ".join(line.split("--")[0].split()).rstrip(",") for line in found[1].splitlines()]
    return [line for line in lines if re.match(r"[a-z_]+ ", line)]


def test_postgres_has_the_columns_of_an_entry() -> None:
    made = [f"{c.name} {POSTGRES[c.kind]}" + " NOT NULL" * (c.name in NEVER_NULL) for c in COLUMNS]
    assert columns("postgres.sql", "entry") == ["idx bigint NOT NULL CHECK (idx >= 0)", *made]


def test_clickhouse_has_the_columns_of_an_entry() -> None:
    made = [
        f"{c.name} {CLICKHOUSE[c.kind]}" if c.name in NEVER_NULL else f"{c.name} Nullable({CLICKHOUSE[c.kind]})"
        for c in COLUMNS
    ]  # fmt: skip
    assert columns("clickhouse.sql", "dosimeter.entry") == ["idx Int64", *made]


def test_postgres_takes_the_last_verdict_as_the_named_queries_do() -> None:
    text = (FOLDER / "postgres.sql").read_text()
    view = text[text.index("CREATE VIEW judged AS") :].split(";", 1)[0]
    said = [line for line in JUDGED.splitlines() if not line.startswith("--")]
    assert view.split()[4:] == " ".join(said).split()


@pytest.mark.parametrize("word", ["labels", "summary", "evidence", "trusted"])
def test_nothing_personal_is_read_off_the_topic(word: str) -> None:
    text = (FOLDER / "clickhouse.sql").read_text()
    view = text[text.index("CREATE MATERIALIZED VIEW") :]
    assert word not in view
