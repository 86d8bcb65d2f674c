"""The two files of a sealed range: their columns, how they are encoded, and what each says about itself.

Owns the Parquet form, so that an auditor can open it with any tool: `core` has the position in the log and the columns
of an entry, `evidence` the ciphertexts of these entries. A file is whole under its final name or not there at all. It
knows nothing of SQLite, nor of when something is sealed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dosimeter.monitor.audit.store.columns import COLUMNS

VERSION = 1
GROUP = 16_384
"""Rows of a row group: what a query skips or reads as a whole."""
_TYPES = {"int": pa.int64(), "text": pa.string(), "id": pa.binary(16), "hash": pa.binary(32)}
CORE = pa.schema(
    [
        pa.field("idx", pa.int64(), nullable=False),
        *(pa.field(c.name, _TYPES[c.kind]) for c in COLUMNS),
    ]
)
EVIDENCE = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("subject", pa.binary(16), nullable=False),
        pa.field("month", pa.int64(), nullable=False),
        pa.field("sealed", pa.binary(), nullable=False),
    ]
)
_RANDOM = frozenset({"id", "subject", "conversation", "evidence"})
"""Columns where hardly a value comes twice: a dictionary would only add to them."""
SOUGHT = ("subject", "conversation")
"""Random ids that people look for: each row group says by a Bloom filter whether it may have one, in 2 bytes a row."""
_RISING = frozenset({"idx", "time_ns", "ingested_ns", "seq"})
_FEW = [n for n in CORE.names if n not in _RANDOM | _RISING]
_ABOUT = "dosimeter"


@contextmanager
def written(path: Path, schema: pa.Schema, about: Mapping[str, Any]) -> Iterator[pq.ParquetWriter]:
    """A writer of the file at `path`, which appears there, durable, when the block ends, and not if it raises.

    about: what the file says about itself, readable with `about_of`.
    """
    named = schema.with_metadata({f"{_ABOUT}.{n}": str(v) for n, v in about.items()})
    draft = path.with_name(path.name + ".tmp")
    try:
        with pq.ParquetWriter(draft, named, **_encoding(schema)) as writer:
            yield writer
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(path)
        synced(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    return {
        "compression": "zstd",
        "use_dictionary": [name for name in schema.names if name in _FEW] or False,
        "bloom_filter_options": {
            n: {"ndv": GROUP, "fpp": 0.01} for n in SOUGHT if n in schema.names
        },
        "column_encoding": {n: "DELTA_BINARY_PACKED" for n in schema.names if n in _RISING},
    }


def core_batch(rows: Sequence[Sequence[Any]], names: Sequence[str] = CORE.names) -> pa.RecordBatch:
    """Rows of `idx` and COLUMNS, or of some of these."""
    return _batch(pa.schema([CORE.field(name) for name in names]), rows)


def evidence_batch(rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows of id, subject, month, ciphertext."""
    return _batch(EVIDENCE, rows)


def _batch(schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def about_of(path: Path) -> dict[str, str]:
    """What a file says about itself."""
    found = pq.read_schema(path).metadata or {}
    pairs = ((name.decode(), value.decode()) for name, value in found.items())
    return {n.removeprefix(f"{_ABOUT}."): v for n, v in pairs if n.startswith(f"{_ABOUT}.")}


def times_of(path: Path) -> tuple[int, int] | None:
    """Of the first and of the last event in a core file, as its own statistics say; None where they do not."""
    with pq.ParquetFile(path) as file:
        at = file.schema_arrow.get_field_index("time_ns")
        groups = [file.metadata.row_group(n).column(at) for n in range(file.num_row_groups)]
        found = [group.statistics for group in groups]
    if not found or any(one is None or not one.has_min_max for one in found):
        return None
    return min(int(one.min) for one in found), max(int(one.max) for one in found)


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def synced(folder: Path) -> None:
    """Makes names in a folder durable: what was made, renamed or removed there."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
