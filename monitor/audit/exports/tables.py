"""Rows for people and their programs: CSV, JSON Lines and Parquet with equal content, each read back as it was written.

Owns the three forms, and what makes a cell of somebody else's text harmless in each: in a spreadsheet, on a terminal,
in a page. It never learns what the rows are about.

CSV: an empty cell is no value. A text that is empty, or that begins with a character which a spreadsheet takes for a
formula (= + - @, their wide forms, tab, carriage return, line feed) or with an apostrophe, gets an apostrophe in front.
In texts a backslash is doubled, and what a terminal would act on is written as \\x1b or \\u202e. Numbers stay as they
are. To read a text cell back: drop one leading apostrophe, then undo the backslashes.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from dosimeter.monitor.audit.store.columns import COLUMNS

Cell = int | float | str | None
Kind = str
"""`int`, `float`, `bool` or `text`."""
RISKY = "=+-@\t\r\n＝＋－＠'"
_ESCAPES = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_WIDE = 1 << 63
"""A number that 64 bits do not hold, such as a sum of times, is a text in Parquet."""
_HTML = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}
_INTS = frozenset({"idx", *(column.name for column in COLUMNS if column.kind == "int")})


def people(value: object) -> Cell:
    """Bytes as hex; what else a store has stays as it is."""
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, int | float | str):
        return value
    return str(value)


def kinds_of(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> dict[str, Kind]:
    """Of each column: those of an entry as columns.py says, others by their values; without any it is text."""
    found: dict[str, Kind] = {
        name: "int" if name in _INTS else ""
        for name in columns
    }  # fmt: skip
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            before = found[name]
            if isinstance(value, str) or (type(value) is int and not -_WIDE <= value < _WIDE):
                found[name] = "text"
            elif isinstance(value, bool):
                found[name] = before or "bool"
            elif isinstance(value, float) and before != "text":
                found[name] = "float"
            elif isinstance(value, int) and not before:
                found[name] = "int"
    return {name: kind or "text" for name, kind in found.items()}


def harmless(text: str) -> str:
    """A text as it stands in a cell of CSV."""
    if "\\" in text or not text.isprintable():
        text = "".join("\\\\" if c == "\\" else c if c.isprintable() else _escaped(c) for c in text)
    return f"'{text}" if not text or text[0] in RISKY else text


def restored(cell: str) -> str:
    """The text that `harmless` made this cell from."""
    text = cell.removeprefix("'")
    return _ESCAPES.sub(_plain, text) if "\\" in text else text


def _escaped(c: str) -> str:
    code = ord(c)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _plain(found: re.Match[str]) -> str:
    digits = found[1] or found[2] or found[3]
    return chr(int(digits, 16)) if digits else "\\"


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]], file: IO[str]) -> None:
    """`file` is opened with newline=""."""
    writer = csv.writer(file)
    writer.writerow([harmless(name) for name in columns])
    for row in rows:
        writer.writerow([harmless(v) if isinstance(v, str) else v for v in row])


def read_csv(file: IO[str], kinds: Mapping[str, Kind]) -> tuple[list[str], list[tuple[Cell, ...]]]:
    """The columns and rows that were written. kinds: as `kinds_of` gave them."""
    reader = csv.reader(file)
    columns = [restored(name) for name in next(reader)]
    of: dict[str, Callable[[str], Cell]] = {"int": int, "float": float, "bool": "True".__eq__}
    made = [of.get(kinds[name], restored) for name in columns]
    rows: list[tuple[Cell, ...]] = [
        tuple(None if cell == "" else make(cell) for make, cell in zip(made, row, strict=True))
        for row in reader
    ]
    return columns, rows


def write_jsonl(columns: Sequence[str], rows: Iterable[Sequence[Cell]], file: IO[str]) -> None:
    """One object a row, in ASCII; what HTML would act on is escaped too."""
    for one in objects(columns, rows):
        file.write(json_line(one) + "\n")


def objects(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[dict[str, Cell]]:
    """Rows as JSON has them: it knows no NaN and no infinity, whose names are texts, as in protobuf's JSON."""
    for row in rows:
        yield {name: _finite(value) for name, value in zip(columns, row, strict=True)}


def _finite(value: Cell) -> Cell:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def json_line(one: Mapping[str, Any]) -> str:
    """JSON in one line that is harmless in a terminal and within HTML."""
    return json.dumps(one, separators=(",", ":")).translate(_HTML)


def read_jsonl(file: IO[str]) -> list[dict[str, Cell]]:
    return [json.loads(line) for line in file]


def write_parquet(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], kinds: Mapping[str, Kind], path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
    each = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [
        pa.array(map(_text, values) if kinds[n] == "text" else values, types[kinds[n]])
        for n, values in zip(columns, each, strict=True)
    ]
    pq.write_table(pa.table(arrays, names=list(columns)), path, compression="zstd")


def _text(value: Cell) -> str | None:
    return None if value is None else str(value)
