"""Copies history's sealed segments into PostgreSQL, and checks that what is there is what was sealed.

Connects as `psql` does (PGHOST, PGDATABASE, PGUSER, PGSERVICE …). It never writes to history, and never opens keys.db
or evidence. Exit code: 0 done, 3 environment, 4 something is not what was sealed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from dosimeter.monitor.audit.store.columns import NAMES, Value
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment, StoreError, StoreStalled
from dosimeter.monitor.audit.store.sealed_file import hash_of

COLUMNS = ("idx", *NAMES)
_FIRST = b"SET client_encoding = 'UTF8'; SET bytea_output = 'hex';\n"
_PSQL = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
_ESCAPED = str.maketrans(
    {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\0": "␀"}
)  # fmt: skip
"""As COPY writes a text; U+0000, which PostgreSQL cannot hold, becomes its picture."""
_STRAY = b"""SELECT count(*) FROM dosimeter.entry AS e WHERE e.idx >= coalesce(
  (SELECT past FROM dosimeter.segment WHERE first <= e.idx ORDER BY first DESC LIMIT 1), 0)"""


def psql(script: bytes) -> bytes:
    """Raises OSError: PostgreSQL is not there, or refuses."""
    done = subprocess.run(_PSQL, input=_FIRST + script, capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"psql: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def cell(value: Value) -> str:
    if isinstance(value, bytes):
        return f"\\\\x{value.hex()}"
    return "\\N" if value is None else str(value).translate(_ESCAPED)


def sealed(folder: HistoryFolder, segment: Segment) -> tuple[bytes, list[int]]:
    """The rows of a segment as COPY writes them, and a time of each day they are of. Raises ValueError, OSError."""
    path = folder.core / segment.core
    if hash_of(path) != segment.sha256:
        raise ValueError(f"{path}: is not the file that was sealed, `{segment.sha256}`")
    table = pq.ParquetFile(path).read(list(COLUMNS))
    cells = [map(cell, table[name].to_pylist()) for name in COLUMNS]
    rows = "".join("\t".join(row) + "\n" for row in zip(*cells, strict=True))
    days = {time_ns // (86_400 * 10**9): time_ns for time_ns in table["time_ns"].to_pylist()}
    return rows.encode(), list(days.values())


def loaded() -> set[tuple[int, int, str]]:
    rows = psql(b"SELECT first, past, core_sha256 FROM dosimeter.segment").decode().split()
    return {(int(a), int(b), sha256) for a, b, sha256 in (row.split("|") for row in rows)}


def load(folder: HistoryFolder, segment: Segment) -> None:
    """In one transaction. Months are made before it: readers would wait for them."""
    rows, days = sealed(folder, segment)
    begin = f"""SELECT dosimeter.make_month(day) FROM unnest(ARRAY{days}::bigint[]) AS day \\g {os.devnull}
BEGIN;
INSERT INTO dosimeter.segment VALUES ({segment.first}, {segment.past}, '{segment.sha256}');
COPY dosimeter.entry ({", ".join(COLUMNS)}) FROM STDIN;
"""
    psql(begin.encode() + rows + b"\\.\nCOMMIT;\n")


def differences(folder: HistoryFolder, segment: Segment) -> list[str]:
    query = f"""COPY (SELECT {", ".join(COLUMNS)} FROM dosimeter.entry
      WHERE idx >= {segment.first} AND idx < {segment.past} ORDER BY idx, time_ns) TO STDOUT;"""
    ours, theirs = sealed(folder, segment)[0].splitlines(), psql(query.encode()).splitlines()
    if theirs == ours:
        return []
    odd = sorted({int(line.split(b"\t", 1)[0]) for line in {*ours} ^ {*theirs}})[:20]
    said = f"{len(theirs)} rows, {len(ours)} sealed; not as sealed: {str(odd)[1:-1]}"
    return [f"segment {segment.first}-{segment.past}: {said}"]


def run(folder: HistoryFolder, check: bool) -> list[str]:
    """What is wrong. Raises ValueError, OSError, StoreError, StoreStalled."""
    with HotStore(folder.hot, read_only=True) as hot:
        segments = {(s.first, s.past, s.sha256): s for s in hot.segments()}
    there = loaded()
    wrong = [f"segment {s[0]}-{s[1]}: not in {folder.hot}" for s in sorted(there - {*segments})]
    for key, segment in [] if wrong and not check else segments.items():
        if check and not segment.gone:
            wrong += differences(folder, segment)
        elif not segment.gone and key not in there:
            load(folder, segment)
    if check and (stray := int(psql(_STRAY))):
        wrong.append(f"{stray} rows belong to no segment that was loaded")
    print(f"{len(segments)} segments in history, {len(loaded())} in PostgreSQL")
    return wrong


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("folder", type=Path, help="history's folder, with hot.db")
    words.add_argument("--check", action="store_true", help="load nothing; compare every row")
    given = words.parse_args()
    try:
        wrong = run(HistoryFolder(given.folder), given.check)
    except (ValueError, OSError, StoreError, StoreStalled) as error:
        print(error, file=sys.stderr)
        return 4 if isinstance(error, ValueError) else 3
    for one in wrong:
        print(f"WRONG: {one}", file=sys.stderr)
    return 4 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
