"""The file that carries scores from the line to the archive: a header, then records, each with length and checksum.

It owns the records and their bytes; `chunk_reader` reads them back. It knows nothing of queues, of rules, or of what is
kept.

    header   magic, version, sequence, wall clock, checksum
    record   length u32, checksum u32 of what follows, kind u8, body

Integers are little-endian. ROWS carries numbers as they came; every other body is JSON, PROGRAM the rules' own.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import Codes
from dosimeter.rules.canonical import canonical, digest

VERSION = 1
MAGIC = b"dosimspl"
HEADER = struct.Struct("<8sIQqI")
RECORD = struct.Struct("<IIB")
ROWS = struct.Struct("<QqII")
MAX_RECORD = 64 << 20
MAX_COLUMNS = 4096


class Kind(IntEnum):
    BANK = 1
    PROGRAM = 2
    OPEN = 3
    ROWS = 4
    FIRED = 5
    END = 6
    LOST = 7
    SEAL = 8
    TOTALS = 9
    PIECE = 10


@dataclass(frozen=True)
class Bank:
    """What the codes of a request are scores of. columns: (feature, digest of its pack), in their order."""

    columns: tuple[tuple[str, str], ...]
    model: str
    model_digest: str

    def as_json(self) -> dict[str, Any]:
        columns = [list(pair) for pair in self.columns]
        return {"columns": columns, "model": self.model, "model_digest": self.model_digest}

    @cached_property
    def digest(self) -> str:
        return digest(canonical(self.as_json()))


@dataclass(frozen=True)
class ProgramText:
    """The rules that requests from here on run, in their canonical form."""

    text: bytes

    @cached_property
    def digest(self) -> str:
        return digest(self.text)


@dataclass(frozen=True, slots=True)
class Opened:
    """A request begins, or goes on under another bank. tenant, route: only where a gateway vouches for them.

    conversation: a random number for the one that a gateway names, the same until the sidecar starts again; 0: none.
    """

    epoch: int
    key: int
    bank: str  # digest
    program: str  # digest
    time_ns: int
    tenant: str = ""
    route: str = ""
    whole: bool = True  # False: its first tokens came before
    conversation: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Scored tokens as the rules saw them. segments: SEGMENTS [S]; codes: int16 [T, F]."""

    epoch: int
    time_ns: int
    segments: npt.NDArray[np.void]
    codes: Codes


@dataclass(frozen=True, slots=True)
class Fired:
    """The running rules decided something on this request."""

    epoch: int
    key: int
    rule: str
    decision: str
    event_id: str
    position: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A request is over. served: its tokens by the server's count; None where nobody said."""

    epoch: int
    key: int
    finished: bool
    time_ns: int
    served: int | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """Tokens that found no room: of these requests (none named: of all) what is kept has a hole. rows counts them."""

    epoch: int
    keys: tuple[int, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Seal:
    """The chunk is whole, with so many rows."""

    rows: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What the archive has counted since it began. Only in files of its own."""

    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Which of the pieces of a request this is, and why it is kept. Only in records that are sent (`scores/packed`).

    part, parts       from 0; together they have all of its tokens, in their order
    first_ns, last_ns wall clock of the first and last token of the request
    stratum, uniform  as in the archive; sample: of `rest` one request in so many is kept
    """

    epoch: int
    key: int
    part: int
    parts: int
    first_ns: int
    last_ns: int
    stratum: str
    sample: int
    uniform: bool


Record = Bank | ProgramText | Opened | Rows | Fired | Ended | Lost | Seal | Totals | Piece
KINDS: dict[type, Kind] = {
    Bank: Kind.BANK,
    Opened: Kind.OPEN,
    Fired: Kind.FIRED,
    Ended: Kind.END,
    Lost: Kind.LOST,
    Seal: Kind.SEAL,
    Totals: Kind.TOTALS,
    Piece: Kind.PIECE,
}


def header(sequence: int, time_ns: int) -> bytes:
    """The first bytes of a chunk. sequence: grows by one a chunk; time_ns: wall clock of its beginning."""
    start = HEADER.pack(MAGIC, VERSION, sequence, time_ns, 0)[:-4]
    return start + struct.pack("<I", zlib.crc32(start))


def encode(record: Record) -> bytes:
    """One record with its length and checksum."""
    if isinstance(record, Rows):
        kind = Kind.ROWS
        segments, codes = np.ascontiguousarray(record.segments), np.ascontiguousarray(record.codes)
        head = ROWS.pack(record.epoch, record.time_ns, len(segments), codes.shape[1])
        body = b"".join((head, segments.tobytes(), codes.astype("<i2", copy=False).tobytes()))
    elif isinstance(record, ProgramText):
        kind, body = Kind.PROGRAM, record.text
    else:
        kind, body = KINDS[type(record)], json.dumps(_fields(record)).encode()
    checksum = zlib.crc32(body, zlib.crc32(bytes((kind,))))
    return RECORD.pack(len(body), checksum, kind) + body


def _fields(record: Opened | Fired | Ended | Lost | Seal | Totals | Piece | Bank) -> dict[str, Any]:
    if isinstance(record, Bank):
        return record.as_json()
    return {field.name: getattr(record, field.name) for field in fields(record)}
