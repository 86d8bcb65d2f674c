"""Chunk files: they read back as they were written, are cut where their writer died, and refuse strangers' bytes."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from score_traffic import chunk_bytes, traffic

from dosimeter.detectors.frames import SEGMENTS
from dosimeter.monitor.history.chunk import (
    HEADER,
    RECORD,
    Ended,
    Fired,
    Kind,
    Lost,
    Opened,
    Piece,
    Record,
    Rows,
    Seal,
    Totals,
    encode,
    header,
)
from dosimeter.monitor.history.chunk_reader import SpoolError, parse_chunk

HEAD = header(7, 1)


def same(one: Record, other: Record) -> bool:
    if isinstance(one, Rows) and isinstance(other, Rows):
        return (
            (one.epoch, one.time_ns) == (other.epoch, other.time_ns)
            and one.segments.tolist() == other.segments.tolist()
            and bool((one.codes == other.codes).all())
        )
    return one == other


def framed(kind: int, body: bytes) -> bytes:
    """A record as an outsider would build it from the format's description."""
    return struct.pack("<IIB", len(body), zlib.crc32(bytes([kind]) + body), kind) + body


def test_every_kind_of_record_reads_back_as_it_was_written() -> None:
    records: list[Record] = [
        *traffic(3).records,
        Opened(2**64 - 1, 2**64 - 1, "b", "p", 0, tenant='Zoë "x"\n', whole=False),
        Fired(1, 2, "rule", "shadow", "ab" * 16, 9),
        Ended(1, 2, False, 5, None),
        Lost(1, (), 12),
        Lost(1, (3, 2**63), 0),
        Totals({"tokens": 4}),
        Piece(2**64 - 1, 2, 3, 4, 5, 6, "rest", 20, uniform=True),
        Opened(1, 2, "b", "p", 0, conversation=2**64 - 1),
    ]
    chunk = parse_chunk(chunk_bytes(records, 7), "x")
    assert (chunk.sequence, chunk.torn, chunk.sealed) == (7, 0, True)
    assert all(same(a, b) for a, b in zip(chunk.records[:-1], records, strict=True))
    assert isinstance(chunk.records[-1], Seal)


def test_a_chunk_of_a_release_that_knew_no_conversations_is_read() -> None:
    """On disk while both processes are upgraded: its requests are of none."""
    record = {"epoch": 1, "key": 2, "bank": "b", "program": "p", "time_ns": 3}
    record |= {"tenant": "", "route": "", "whole": True}
    data = HEAD + framed(Kind.OPEN, json.dumps(record).encode())
    assert parse_chunk(data, "x").records == (Opened(1, 2, "b", "p", 3),)


def test_killed_at_any_byte_what_is_whole_before_it_is_read_and_nothing_else() -> None:
    records = traffic(3, most=6).records[:12]
    ends = [HEADER.size]
    for record in records:
        ends.append(ends[-1] + len(encode(record)))
    data = HEAD + b"".join(encode(record) for record in records)
    for length in range(len(data) + 1):
        chunk = parse_chunk(data[:length], "x")
        whole = sum(end <= length for end in ends) - 1
        assert len(chunk.records) == max(0, whole), length
        assert all(same(a, b) for a, b in zip(chunk.records, records, strict=False))
        assert chunk.torn == (length - ends[whole] if whole >= 0 else length)
        assert not chunk.sealed


def test_a_byte_that_changed_ends_what_can_be_believed() -> None:
    records = traffic(3, most=6).records[:6]
    data = bytearray(HEAD + b"".join(encode(record) for record in records))
    first = HEADER.size + len(encode(records[0]))
    data[first + RECORD.size] ^= 1
    chunk = parse_chunk(bytes(data), "x")
    assert (len(chunk.records), chunk.torn) == (1, len(data) - first)


def rows_of(segments: list[tuple[int, int, int, int]], tokens: int, columns: int = 2) -> bytes:
    codes = np.zeros((tokens, columns), np.int16)
    return encode(Rows(1, 1, np.array(segments, SEGMENTS), codes))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PAR1" + bytes(60), "begins with"),
        (HEAD[:4] + b"????" + HEAD[8:], "begins with"),
        (HEAD[:-1] + bytes([HEAD[-1] ^ 1]), "checksum of its header"),
        (HEAD + framed(99, b""), "record kind 99 is unknown"),
        (HEAD + framed(Kind.OPEN, b"\xff"), "OPEN record"),
        (HEAD + framed(Kind.OPEN, b"{}"), "OPEN record"),
        (HEAD + framed(Kind.OPEN, b"[" * 100_000), "OPEN record"),
        (HEAD + framed(Kind.END, b'{"epoch": -1}'), "END record"),
        (HEAD + framed(Kind.LOST, b'{"epoch": 1, "keys": 3, "rows": 0}'), "LOST record"),
        (HEAD + framed(Kind.SEAL, b'{"rows": true}'), "SEAL record"),
        (HEAD + framed(Kind.BANK, b'{"columns": [["a"]]}'), "BANK record"),
        (HEAD + framed(Kind.ROWS, b"short"), "ROWS record of 5 bytes"),
        (HEAD + framed(Kind.ROWS, struct.pack("<QqII", 1, 1, 2**31, 1)), "ROWS record"),
        (HEAD + framed(Kind.ROWS, struct.pack("<QqII", 1, 1, 0, 0)), "0 columns"),
        (HEAD + framed(Kind.ROWS, struct.pack("<QqII", 1, -1, 0, 1)), "at -1 ns"),
        (HEAD + rows_of([(1, 0, 3, 3)], 2), "do not fit"),
        (HEAD + rows_of([(1, 0, -1, 3), (1, 0, 3, 3)], 2), "do not fit"),
        (HEAD + rows_of([(1, 0, 2, 77)], 2), "do not fit"),
    ],
)
def test_bytes_that_make_no_sense_are_refused_with_their_place(data: bytes, message: str) -> None:
    with pytest.raises(SpoolError, match=message) as caught:
        parse_chunk(data, "spool/x")
    assert caught.value.place.startswith("spool/x:")
    assert "hint: " in str(caught.value)


def test_a_chunk_of_a_later_release_is_named_as_such() -> None:
    head = struct.pack("<8sIQq", b"dosimspl", 2, 0, 0)
    with pytest.raises(SpoolError, match="chunk version 2, this build reads 1"):
        parse_chunk(head + struct.pack("<I", zlib.crc32(head)), "x")


@given(st.binary(max_size=200), st.sampled_from([b"", HEAD]), st.integers(0, 9))
def test_no_bytes_at_all_do_anything_but_read_or_be_refused(
    body: bytes, head: bytes, kind: int
) -> None:
    for data in (head + body, head + framed(kind, body)):
        with contextlib.suppress(SpoolError):
            parse_chunk(data, "x")
