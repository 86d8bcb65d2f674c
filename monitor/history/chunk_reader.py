"""Reading a chunk back, perhaps after a `kill -9`, perhaps written by a stranger.

What is not whole at its end is recognised and left out, counted in bytes; what is whole and makes no sense is an error
with its place, and then nothing of the file is used. It knows nothing of where chunks come from.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.frames import SEGMENTS, Scope
from dosimeter.monitor.history.chunk import (
    HEADER,
    MAGIC,
    MAX_COLUMNS,
    MAX_RECORD,
    RECORD,
    ROWS,
    VERSION,
    Bank,
    Ended,
    Fired,
    Kind,
    Lost,
    Opened,
    Piece,
    ProgramText,
    Record,
    Rows,
    Seal,
    Totals,
)

MAX_NAME = 1024


class SpoolError(ValueError):
    """Bytes that no release of ours wrote, or a later one. place: the file and the byte."""

    def __init__(self, place: str, message: str, hint: str = "look at the file; it is set aside"):
        self.place, self.message, self.hint = place, message, hint
        super().__init__(f"{place}: {message}\n  hint: {hint}")


@dataclass(frozen=True, eq=False)
class Chunk:
    """One file, read whole. torn: bytes at its end that are no record; sealed: its writer ended it."""

    sequence: int
    time_ns: int
    records: tuple[Record, ...]
    torn: int = 0
    sealed: bool = False

    @property
    def rows(self) -> int:
        return sum(len(record.codes) for record in self.records if isinstance(record, Rows))


def read_chunk(path: Path) -> Chunk:
    """Everything that is whole. Raises SpoolError for bytes that are not ours, OSError."""
    return parse_chunk(path.read_bytes(), str(path))


def parse_chunk(data: bytes, place: str) -> Chunk:
    if len(data) < HEADER.size and MAGIC.startswith(data[: len(MAGIC)]):
        return Chunk(-1, 0, (), torn=len(data))  # died as it began
    magic, version, sequence, time_ns, checksum = HEADER.unpack_from(data.ljust(HEADER.size))
    if magic != MAGIC:
        raise SpoolError(f"{place}:0", f"begins with `{magic[:8]!r}`, a chunk with `{MAGIC!r}`")
    if zlib.crc32(data[: HEADER.size - 4]) != checksum:
        raise SpoolError(f"{place}:0", "the checksum of its header is wrong")
    if version != VERSION:
        hint = "upgrade `dosimeter archive` before the sidecar"
        raise SpoolError(f"{place}:8", f"chunk version {version}, this build reads {VERSION}", hint)
    records: list[Record] = []
    at = HEADER.size
    for end, kind, body in _whole(data):
        records.append(_decode(kind, body, f"{place}:{at}"))
        at = end
    last = records[-1] if records else None
    return Chunk(sequence, time_ns, tuple(records), len(data) - at, isinstance(last, Seal))


def _whole(data: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """(end, kind, body) of each record up to the first that is not whole."""
    view, at = memoryview(data), HEADER.size
    while at + RECORD.size <= len(data):
        length, checksum, kind = RECORD.unpack_from(data, at)
        end = at + RECORD.size + length
        if length > MAX_RECORD or end > len(data):
            return
        if zlib.crc32(view[at + RECORD.size - 1 : end]) != checksum:
            return
        yield end, kind, view[at + RECORD.size : end]
        at = end


def _decode(kind: int, body: memoryview, place: str) -> Record:
    if kind == Kind.ROWS:
        return _rows(body, place)
    if kind == Kind.PROGRAM:
        return ProgramText(bytes(body))
    if kind not in READ:
        raise SpoolError(place, f"record kind {kind} is unknown")
    try:
        found = json.loads(bytes(body))
        return READ[Kind(kind)](found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"{Kind(kind).name} record: {type(error).__name__}: {error}"
        raise SpoolError(place, what[:200]) from None


def _rows(body: memoryview, place: str) -> Rows:
    if len(body) < ROWS.size:
        raise SpoolError(place, f"ROWS record of {len(body)} bytes")
    epoch, time_ns, count, columns = ROWS.unpack_from(body)
    rest = len(body) - ROWS.size - count * SEGMENTS.itemsize
    if rest < 0 or not 0 < columns <= MAX_COLUMNS or rest % (2 * columns) or time_ns < 0:
        what = f"ROWS record of {count} segments and {columns} columns at {time_ns} ns"
        raise SpoolError(place, what)
    segments = np.frombuffer(body, SEGMENTS, count, ROWS.size)
    codes = np.frombuffer(body, "<i2", rest // 2, len(body) - rest).reshape(-1, columns)
    ns, starts, tokens = segments["n"], segments["start"], len(codes)
    good = ((ns >= 0) & (ns <= tokens) & (starts >= 0) & (starts < 1 << 32)).all()
    if not good or int(ns.sum()) != tokens or (segments["scope"] > max(Scope)).any():
        raise SpoolError(place, f"segments that do not fit {tokens} rows")
    return Rows(epoch, time_ns, segments, codes)


def _number(one: Mapping[str, Any], name: str, most: int = 1 << 64) -> int:
    found = one[name]
    if type(found) is not int or not 0 <= found < most:
        raise ValueError(f"`{name}` is no number below {most}")
    return found


def _text(found: Any) -> str:
    if type(found) is not str or len(found) > MAX_NAME:
        raise ValueError("a text is missing or too long")
    found.encode()  # a lone surrogate is none
    return found


def _flag(one: Mapping[str, Any], name: str) -> bool:
    found = one[name]
    if type(found) is not bool:
        raise ValueError(f"`{name}` is neither true nor false")
    return found


def _bank(one: Mapping[str, Any]) -> Bank:
    pairs = tuple((_text(feature), _text(pack)) for feature, pack in one["columns"])
    if len(pairs) > MAX_COLUMNS:
        raise ValueError(f"{len(pairs)} columns")
    return Bank(pairs, _text(one["model"]), _text(one["model_digest"]))


def _opened(one: Mapping[str, Any]) -> Opened:
    return Opened(
        epoch=_number(one, "epoch"),
        key=_number(one, "key"),
        bank=_text(one["bank"]),
        program=_text(one["program"]),
        time_ns=_number(one, "time_ns", CLOCK),
        tenant=_text(one["tenant"]),
        route=_text(one["route"]),
        whole=_flag(one, "whole"),
        # A field that came later: chunks that wait on disk during an upgrade have none.
        conversation=_number(one, "conversation") if "conversation" in one else 0,
    )


def _fired(one: Mapping[str, Any]) -> Fired:
    return Fired(
        epoch=_number(one, "epoch"),
        key=_number(one, "key"),
        rule=_text(one["rule"]),
        decision=_text(one["decision"]),
        event_id=_text(one["event_id"]),
        position=_number(one, "position", CLOCK),
    )


def _ended(one: Mapping[str, Any]) -> Ended:
    return Ended(
        epoch=_number(one, "epoch"),
        key=_number(one, "key"),
        finished=_flag(one, "finished"),
        time_ns=_number(one, "time_ns", CLOCK),
        served=None if one["served"] is None else _number(one, "served", CLOCK),
    )


def _lost(one: Mapping[str, Any]) -> Lost:
    keys = tuple(_number({"key": key}, "key") for key in one["keys"])
    return Lost(_number(one, "epoch"), keys, _number(one, "rows", CLOCK))


def _seal(one: Mapping[str, Any]) -> Seal:
    return Seal(_number(one, "rows", CLOCK))


def _totals(one: Mapping[str, Any]) -> Totals:
    counts: Mapping[str, Any] = one["counts"]
    return Totals({_text(name): _number(counts, name, CLOCK) for name in counts})


def _piece(one: Mapping[str, Any]) -> Piece:
    return Piece(
        epoch=_number(one, "epoch"),
        key=_number(one, "key"),
        part=_number(one, "part", CLOCK),
        parts=_number(one, "parts", CLOCK),
        first_ns=_number(one, "first_ns", CLOCK),
        last_ns=_number(one, "last_ns", CLOCK),
        stratum=_text(one["stratum"]),
        sample=_number(one, "sample", CLOCK),
        uniform=_flag(one, "uniform"),
    )


CLOCK = 1 << 63
READ: dict[Kind, Callable[[Mapping[str, Any]], Record]] = {
    Kind.BANK: _bank,
    Kind.OPEN: _opened,
    Kind.FIRED: _fired,
    Kind.END: _ended,
    Kind.LOST: _lost,
    Kind.SEAL: _seal,
    Kind.TOTALS: _totals,
    Kind.PIECE: _piece,
}
