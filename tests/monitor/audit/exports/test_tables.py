"""Three forms of one table: equal when read back, and harmless wherever they are opened."""

import csv
import html
import io
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.audit.exports import tables

HOSTILE = [
    "=cmd|'/c calc'!A1", "+1+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'quoted", "",
    "\x1b[31mred", "a\u202eb", "<script>alert(1)</script>", "back\\slash", "\\x1b", 'a"b,c\nd', "ü€😀", "\x00",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.sampled_from(HOSTILE)
)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
        st.none() | TEXTS,
        st.none() | st.floats(allow_nan=False),
    ),
    max_size=8,
)
COLUMNS = ("seq", "rule", "share")


def as_csv(rows: list[tuple[tables.Cell, ...]]) -> str:
    file = io.StringIO(newline="")
    tables.write_csv(COLUMNS, rows, file)
    return file.getvalue()


@given(ROWS)
def test_csv_reads_back_as_it_was_written(rows: list[tuple[tables.Cell, ...]]) -> None:
    kinds = tables.kinds_of(COLUMNS, rows)
    found = tables.read_csv(io.StringIO(as_csv(rows), newline=""), kinds)
    assert found == (list(COLUMNS), rows)


@given(ROWS)
def test_json_lines_read_back_as_they_were_written(rows: list[tuple[tables.Cell, ...]]) -> None:
    file = io.StringIO()
    tables.write_jsonl(COLUMNS, rows, file)
    file.seek(0)
    read = [[one[c] for c in COLUMNS] for one in tables.read_jsonl(file)]
    found = [(seq, rule, share if share is None else float(share)) for seq, rule, share in read]
    assert found == rows


def test_what_is_no_number_is_named_in_json_which_has_no_word_for_it() -> None:
    file = io.StringIO()
    tables.write_jsonl(["x"], [(math.nan,), (math.inf,), (-math.inf,), (0.5,)], file)
    said = ['{"x":"NaN"}', '{"x":"Infinity"}', '{"x":"-Infinity"}', '{"x":0.5}']
    assert file.getvalue().splitlines() == said


def test_parquet_reads_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [(n - 3, text, n / 4) for n, text in enumerate(HOSTILE)] + [(None, None, None)]
    kinds = tables.kinds_of(COLUMNS, rows)
    assert kinds == {"seq": "int", "rule": "text", "share": "float"}
    tables.write_parquet(COLUMNS, rows, kinds, tmp_path / "t.parquet")
    found = pq.read_table(tmp_path / "t.parquet")
    assert list(zip(*(found.column(c).to_pylist() for c in COLUMNS), strict=True)) == rows


def test_truths_and_numbers_of_more_than_64_bits_are_written_in_every_form(tmp_path: Path) -> None:
    """`latest` of the view of labels is a truth, and a sum of times a number that large."""
    columns, rows = ("latest", "sum", "n"), [(True, 1, 1), (None, 2**63, None), (False, None, 2)]
    kinds = tables.kinds_of(columns, rows)
    assert kinds == {"latest": "bool", "sum": "text", "n": "int"}
    tables.write_parquet(columns, rows, kinds, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").to_pydict() == {
        "latest": [True, None, False],
        "sum": ["1", str(2**63), None],
        "n": [1, None, 2],
    }
    file = io.StringIO(newline="")
    tables.write_csv(columns, rows, file)
    file.seek(0)
    _, found = tables.read_csv(file, kinds)
    assert found == [(True, "1", 1), (None, str(2**63), None), (False, None, 2)]


def test_a_table_without_rows_has_its_columns_in_every_form(tmp_path: Path) -> None:
    kinds = tables.kinds_of(COLUMNS, [])
    tables.write_parquet(COLUMNS, [], kinds, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").column_names == list(COLUMNS)
    assert as_csv([]) == "seq,rule,share\r\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_of_csv_begins_as_a_formula_or_acts_on_a_terminal(text: str) -> None:
    written = as_csv([(None, text, None)])
    cell = next(csv.reader(io.StringIO(written.split("\r\n", 1)[1], newline="")))[1]
    assert cell
    assert cell[0] not in "=+-@\t\r\n＝＋－＠"
    assert cell.isprintable()


def test_a_negative_number_stays_a_number_in_csv() -> None:
    assert as_csv([(-5, "x", -0.5)]).splitlines()[1] == "-5,x,-0.5"


@pytest.mark.parametrize("text", HOSTILE)
def test_json_is_inert_in_a_page_and_on_a_terminal(text: str) -> None:
    line = tables.json_line({"rule": text})
    assert line.isascii()
    assert line.isprintable()
    assert html.escape(line, quote=False) == line


def test_bytes_are_hex_for_people() -> None:
    assert [tables.people(v) for v in (b"\x01\xff", None, 3, 0.5, "x")] == ["01ff", None, 3, 0.5, "x"]  # fmt: skip


def test_numbers_of_an_entry_are_whole_even_where_none_is_there() -> None:
    assert tables.kinds_of(["idx", "value_sum", "rule", "n"], [(None, None, None, 3)]) == {
        "idx": "int", "value_sum": "int", "rule": "text", "n": "int",
    }  # fmt: skip
