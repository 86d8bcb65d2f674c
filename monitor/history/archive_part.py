"""One Parquet file of the archive: a row a request, the codes of each feature as bytes.

Owns the columns and what the file says of itself. Codes stand in two columns a feature, their low and their high bytes,
which compress better apart and read as quickly: a reader gets a feature of a whole row group as two arrays, without a
loop. It knows nothing of what is kept or why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dosimeter.monitor.history.archive_folder import keep, make_day
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk import Bank
from dosimeter.monitor.history.strata import NEAR_CODES, Stratum

VERSION = 1
META = b"dosimeter.archive"
ROW_GROUP_TOKENS = 1 << 20
NAMES = ("tenant", "route", "program")
RUN = np.dtype([("start", "<i8"), ("n", "<i8"), ("scope", "<i8")])
COUNTED = ("requests", "tokens", "kept_requests", "kept_tokens")
Counts = dict[str, dict[str, int]]
"""Stratum -> how many requests and tokens there were, and how many of them are kept."""
FIRED = pa.struct(
    [("rule", pa.string()), ("decision", pa.string()), ("event_id", pa.string()), ("position", pa.int64())]
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A request with the reason why it is kept. uniform: the sample of `rest` would have taken it, whatever it is."""

    request: Request
    stratum: Stratum
    one_in: int
    uniform: bool


@dataclass(frozen=True, slots=True)
class About:
    """What a file says of itself. since_ns, until_ns: first and last token of what is kept; 0 where nothing is."""

    bank: Bank
    one_in: int  # of `rest`
    counts: Counts
    since_ns: int = 0
    until_ns: int = 0

    def as_json(self) -> bytes:
        body = {
            "version": VERSION,
            **self.bank.as_json(),
            "strata": {s.name.lower(): _words(s, self.one_in) for s in Stratum},
            "near_codes": NEAR_CODES,
            "one_in": self.one_in,
            "counts": self.counts,
            "since_ns": self.since_ns,
            "until_ns": self.until_ns,
        }
        return json.dumps(body, sort_keys=True).encode()


class NotAPart(ValueError):
    """A file that this release did not write, or not to its end. path: of the file."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        hint = "move it out of the archive, or read it with the release that wrote it"
        super().__init__(f"{path}: {message}\n  hint: {hint}")


def _words(stratum: Stratum, one_in: int) -> str:
    return {
        Stratum.FLAGGED: "a running rule fired: all kept",
        Stratum.NEAR: f"a rule would fire with thresholds {NEAR_CODES} codes closer: all kept",
        Stratum.REST: f"1 in {one_in} kept",
    }[stratum]


def no_counts() -> Counts:
    return {stratum.name.lower(): dict.fromkeys(COUNTED, 0) for stratum in Stratum}


def add_counts(total: Counts, more: Counts) -> None:
    for stratum, counts in more.items():
        for name, value in counts.items():
            total[stratum][name] += value


def write_part(path: Path, kept: Sequence[Kept], about: About) -> None:
    """All of `kept`, whose bank is that of `about`; there whole or not at all."""
    _write(path, [_table(kept, about.bank)], about)


def merge_parts(path: Path, sources: Sequence[Path]) -> None:
    """One file of those, in their order; all of one bank and one `one_in`. Raises NotAPart."""
    total, found = no_counts(), [read_about(source) for source in sources]
    times: list[int] = []
    for one in found:
        add_counts(total, one.counts)
        times += [time for time in (one.since_ns, one.until_ns) if time]
    since, until = (min(times), max(times)) if times else (0, 0)
    about = About(found[0].bank, found[0].one_in, total, since, until)
    _write(path, [_read(source) for source in sources], about)


def _read(path: Path) -> Any:
    with reading(path):
        return pq.ParquetFile(path).read()


def read_about(path: Path) -> About:
    """Raises NotAPart."""
    with reading(path):
        return about_of(path, pq.read_metadata(path))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Bytes that make no sense are NotAPart; whatever the disk has against it is an OSError as ever."""
    try:
        yield
    except NotAPart:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        # Of bytes that do not decompress pyarrow says OSError too, without a number of the system.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise NotAPart(path, f"no Parquet file: {error}") from None


def about_of(path: Path, metadata: Any) -> About:
    try:
        body = json.loads((metadata.metadata or {})[META])
        if body["version"] != VERSION:
            raise NotAPart(path, f"archive version {body['version']}, this build reads {VERSION}")
        columns = tuple((str(feature), str(pack)) for feature, pack in body["columns"])
        bank = Bank(columns, str(body["model"]), str(body["model_digest"]))
        counts = {str(s): {n: int(c[n]) for n in COUNTED} for s, c in body["counts"].items()}
        times = int(body["since_ns"]), int(body["until_ns"])
        if set(counts) != set(no_counts()):
            raise ValueError(f"strata {sorted(counts)}")
        return About(bank, int(body["one_in"]), counts, *times)
    except NotAPart:
        raise
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise NotAPart(path, f"says nothing of itself: {type(error).__name__}: {error}") from None


def schema(columns: int) -> Any:
    fields = [
        ("epoch", pa.uint64()),
        ("key", pa.uint64()),
        ("first_ns", pa.int64()),
        ("last_ns", pa.int64()),
        ("tokens", pa.int64()),
        ("served", pa.int64()),
        ("stratum", pa.uint8()),
        ("one_in", pa.int64()),
        ("uniform", pa.bool_()),
        ("whole", pa.bool_()),
        ("finished", pa.bool_()),
        *((name, pa.string()) for name in NAMES),
        ("runs", pa.binary()),
        ("fired", pa.list_(FIRED)),
    ]
    codes = [(f"{half}.{i}", pa.binary()) for i in range(columns) for half in ("low", "high")]
    return pa.schema([*fields, *codes])


def _table(kept: Sequence[Kept], bank: Bank) -> Any:
    requests = [one.request for one in kept]
    lengths = [len(request.codes) for request in requests]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    codes = np.concatenate([np.empty((0, len(bank.columns)), "<i2"), *(r.codes for r in requests)])
    bytes_of = np.ascontiguousarray(codes.T.astype("<i2", copy=False)).view(np.uint8)
    runs = [_runs(request) for request in requests]
    columns: dict[str, Any] = {
        "epoch": [r.epoch for r in requests],
        "key": [r.key for r in requests],
        "first_ns": [r.first_ns for r in requests],
        "last_ns": [r.last_ns for r in requests],
        "tokens": lengths,
        "served": [None if r.ended is None else r.ended.served for r in requests],
        "stratum": [int(one.stratum) for one in kept],
        "one_in": [one.one_in for one in kept],
        "uniform": [one.uniform for one in kept],
        "whole": [r.whole for r in requests],
        "finished": [r.ended is not None and r.ended.finished for r in requests],
        "tenant": [r.opened.tenant for r in requests],
        "route": [r.opened.route for r in requests],
        "program": [r.opened.program for r in requests],
        "runs": runs,
        "fired": [[_fired(f) for f in r.fired] for r in requests],
    }
    found = schema(len(bank.columns))
    for index in range(len(bank.columns)):
        both = bytes_of[index].reshape(-1, 2)
        columns[f"low.{index}"] = _binary(both[:, 0], offsets)
        columns[f"high.{index}"] = _binary(both[:, 1], offsets)
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, found.field(name).type)
        for name, values in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=found)


def _fired(one: Any) -> Mapping[str, Any]:
    return {name: getattr(one, name) for name in ("rule", "decision", "event_id", "position")}


def _runs(request: Request) -> bytes:
    segments = request.segments
    found = np.empty(len(segments), RUN)
    for name in ("start", "n", "scope"):
        found[name] = segments[name]
    return found.tobytes()


def _binary(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Any:
    """One value a request."""
    buffers = [None, pa.py_buffer(offsets.astype("<i4")), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _write(path: Path, tables: Sequence[Any], about: About) -> None:
    """Row groups of about ROW_GROUP_TOKENS, never across more requests than that takes."""
    make_day(path.parent)
    table = pa.concat_tables(tables)
    table = table.replace_schema_metadata({META: about.as_json()})
    part = path.with_name(path.name + ".part")
    with pq.ParquetWriter(
        part,
        table.schema,
        compression="zstd",
        use_dictionary=list(NAMES),
        write_statistics=["last_ns", "first_ns"],
    ) as writer:
        for low, high in _groups(table["tokens"].to_numpy()):
            writer.write_table(table.slice(low, high - low), row_group_size=high - low)
    keep(part, path)


def _groups(tokens: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    group = (np.cumsum(tokens) - 1) // ROW_GROUP_TOKENS
    edges = np.flatnonzero(np.diff(group)) + 1
    bounds = [0, *edges.tolist(), len(tokens)]
    return [(low, high) for low, high in pairwise(bounds) if high > low]
