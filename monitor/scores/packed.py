"""A kept request as records of a topic: each is a chunk of its own, of about 8 KB, in the form of the spool's files.

It owns which records of `history.chunk` stand in one, in which order, and what a stranger's must hold to be taken:

    header, [BANK], OPEN, PIECE, FIRED*, ROWS, [END], SEAL        BANK in the first piece of a request, END in the last

It knows nothing of Kafka, nor of what is kept. docs/alerts.md describes the bytes for whoever reads them elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from dosimeter.monitor.history.assembly import cut
from dosimeter.monitor.history.chunk import (
    Bank,
    Ended,
    Fired,
    Opened,
    Piece,
    Record,
    Rows,
    Seal,
    encode,
    header,
)
from dosimeter.monitor.history.chunk_reader import SpoolError, parse_chunk
from dosimeter.monitor.records import MAX_TOKENS
from dosimeter.monitor.scores.outbox import AccountError, Outbox, Packed

if TYPE_CHECKING:  # it is of the archive's own process, with pyarrow
    from dosimeter.monitor.history.archive_part import Kept

log = logging.getLogger(__name__)

CODE_BYTES = 8192
"""Of codes in one record; beside them stand a few hundred bytes of names, and the bank's in the first of a request."""
FIRED_EACH = 32
"""Decisions in one record: what rules decided on one request, however much, makes no record that a broker refuses."""
MOST = 1 << 20
"""Bytes of a record that is looked at: no broker takes larger ones as it comes."""
MAX_SAMPLE = 10**6
"""One request in so many is the least that can be configured: a weight beyond it is nobody's, and wraps totals."""
R = TypeVar("R")
STRATA = ("flagged", "near", "rest")


@dataclass(frozen=True, slots=True, eq=False)
class Unpacked:
    """What stands in one. bank: in the first piece of a request alone; ended: in the last, where its end is known."""

    time_ns: int  # wall clock of the chunk that its sidecar wrote
    opened: Opened
    piece: Piece
    rows: Rows
    fired: tuple[Fired, ...]
    bank: Bank | None
    ended: Ended | None


def hand_on(outbox: Outbox, sequence: int, time_ns: int, kept: Sequence[Kept], sample: int) -> None:
    """What the archive kept of one of its chunks, into the outbox. Raises OSError.

    An account that makes no sense stops what is sent, and not the archive, which has these scores already.
    """
    tokens = sum(len(one.request.codes) for one in kept)
    packed = (one for each in kept for one in pack(each, sample, sequence, time_ns))
    try:
        outbox.put(sequence, tokens, packed)
    except AccountError as error:
        log.error("%d scores are not sent: %s", tokens, error)


def pack(kept: Kept, sample: int, sequence: int, time_ns: int) -> Iterator[Packed]:
    """sample: of `rest`, one request in so many is kept. sequence, time_ns: of the chunk in which it ended."""
    request = kept.request
    opened = replace(request.opened, whole=request.whole)
    codes, segments, fired = request.codes, request.segments, request.fired
    each = max(1, CODE_BYTES // (2 * codes.shape[1]))
    parts = max(-(-len(codes) // each), -(-len(fired) // FIRED_EACH))
    # A conversation's are in one partition. Its number is ours and random: no client's text is in a key.
    key = (
        f"{opened.conversation:016x}"
        if opened.conversation
        else f"{opened.epoch:016x}/{opened.key:016x}"
    )
    for part in range(parts):
        low, high = min(part * each, len(codes)), min((part + 1) * each, len(codes))
        rows = Rows(opened.epoch, request.last_ns, cut(segments, low, high), codes[low:high])
        piece = Piece(
            epoch=opened.epoch,
            key=opened.key,
            part=part,
            parts=parts,
            first_ns=request.first_ns,
            last_ns=request.last_ns,
            stratum=kept.stratum.name.lower(),
            sample=sample,
            uniform=kept.uniform,
        )
        records: list[Record] = [] if part else [request.bank]
        records += [opened, piece, *fired[part * FIRED_EACH : (part + 1) * FIRED_EACH], rows]
        if part == parts - 1 and request.ended is not None:
            records.append(request.ended)
        records.append(Seal(high - low))
        value = header(sequence, time_ns) + b"".join(encode(record) for record in records)
        yield Packed(key.encode(), value, high - low)


def unpack(value: bytes, place: str) -> Unpacked:
    """Raises SpoolError for whatever `pack` would not have made. place: for the message."""

    def refuse(because: str) -> SpoolError:
        return SpoolError(place, because, "who else writes to this topic?")

    if len(value) > MOST:
        raise refuse(f"{len(value)} bytes, a packed record has at most {MOST}")
    chunk = parse_chunk(value, place)
    if chunk.torn or not chunk.sealed:
        raise refuse(f"not whole: {chunk.torn} bytes at its end are no record")

    def those(kind: type[R], least: int = 0, most: int = 1) -> tuple[R, ...]:
        found = tuple(record for record in chunk.records if isinstance(record, kind))
        if not least <= len(found) <= most:
            raise refuse(f"{len(found)} records {kind.__name__}")
        return found

    (opened,), (piece,), (rows,) = those(Opened, 1), those(Piece, 1), those(Rows, 1)
    (seal,), banks, ended = those(Seal, 1), those(Bank), those(Ended)
    fired = those(Fired, most=FIRED_EACH)
    if len(chunk.records) != 4 + len(fired) + len(banks) + len(ended):
        raise refuse("it holds records of another kind")
    found = Unpacked(
        time_ns=chunk.time_ns,
        opened=opened,
        piece=piece,
        rows=rows,
        fired=fired,
        bank=banks[0] if banks else None,
        ended=ended[0] if ended else None,
    )
    because = _wrong(found, seal)
    if because is not None:
        raise refuse(because)
    return found


def _wrong(of: Unpacked, seal: Seal) -> str | None:
    """Why these do not belong together."""
    who = of.opened.epoch, of.opened.key
    others: list[Piece | Fired | Ended] = [of.piece, *of.fired, *([of.ended] if of.ended else [])]
    if any((one.epoch, one.key) != who for one in others) or of.rows.epoch != who[0]:
        return "its records are of several requests"
    if (of.rows.segments["key"] != of.opened.key).any():
        return "its rows are of another request"
    if not 0 <= of.piece.part < of.piece.parts:
        return f"part {of.piece.part} of {of.piece.parts}"
    if (of.bank is None) != (of.piece.part > 0):
        return "a bank stands in the first piece of a request, and in no other"
    if of.bank is not None and of.bank.digest != of.opened.bank:
        return "the digest of its bank is another"
    if of.bank is not None and len(of.bank.columns) != of.rows.codes.shape[1]:
        return f"{len(of.bank.columns)} columns and codes of {of.rows.codes.shape[1]}"
    if of.ended is not None and of.piece.part != of.piece.parts - 1:
        return "an end stands in the last piece of a request, and in no other"
    if of.ended is not None and (of.ended.served or 0) > MAX_TOKENS:
        return f"{of.ended.served} tokens served"
    if of.piece.stratum not in STRATA or not 0 < of.piece.sample <= MAX_SAMPLE or of.time_ns < 0:
        return f"stratum `{of.piece.stratum[:20]}`, 1 in {of.piece.sample}, at {of.time_ns} ns"
    return None if seal.rows == len(of.rows.codes) else f"a seal of {seal.rows} rows"
