"""Packed scores: what is sent reads back to the bit, and nothing else is taken for it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.frames import SEGMENTS
from dosimeter.monitor.history.archive_part import Kept
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk import (
    Bank,
    Ended,
    Fired,
    Lost,
    Opened,
    Piece,
    Record,
    Rows,
    Seal,
    encode,
    header,
)
from dosimeter.monitor.history.chunk_reader import SpoolError
from dosimeter.monitor.history.strata import Stratum
from dosimeter.monitor.scores.packed import MOST, pack, unpack

EPOCH, KEY, NOW_NS = 0xAB, 7, 1_764_417_600_000_000_000


def kept(tokens: int = 10, features: int = 64, fired: int = 0, conversation: int = 0) -> Kept:
    columns = tuple((f"feature_{i}", "cd" * 32) for i in range(features))
    bank = Bank(columns, "lab", "ab" * 32)
    opened = Opened(EPOCH, KEY, bank.digest, "p", NOW_NS, "acme", "chat", True, conversation)
    request = Request(opened, bank, NOW_NS, ended=Ended(EPOCH, KEY, True, NOW_NS, tokens))
    prompt = tokens // 3
    segments = np.array([(KEY, 0, prompt, 2), (KEY, prompt, tokens - prompt, 3)], SEGMENTS)
    codes = (np.arange(tokens * features) * 7919 % 65536 - 32768).astype(np.int16)
    request.add(segments, codes.reshape(tokens, features), (NOW_NS + 1, NOW_NS + 2))
    request.fired += [Fired(EPOCH, KEY, "r", "notified", f"{n:032x}", n) for n in range(fired)]
    return Kept(request, Stratum.REST, 20, True)


def values(one: Kept) -> list[bytes]:
    return [packed.value for packed in pack(one, 20, 5, NOW_NS)]


def test_a_record_has_64_tokens_of_64_features_and_a_request_as_many_as_it_takes() -> None:
    packed = list(pack(kept(1000), 20, 5, NOW_NS))
    assert [one.tokens for one in packed] == [64] * 15 + [40]
    assert all(8192 <= len(one.value) < 10_000 for one in packed[1:-1])
    first = unpack(packed[0].value, "x")
    assert first.bank == kept().request.bank
    assert first.piece == Piece(
        EPOCH, KEY, 0, 16, NOW_NS + 1, NOW_NS + 2, "rest", sample=20, uniform=True
    )


def test_all_of_a_request_reads_back_to_the_bit() -> None:
    one = kept(500, fired=3)
    found = [unpack(value, "x") for value in values(one)]
    codes = np.concatenate([piece.rows.codes for piece in found])
    assert (codes == one.request.codes).all()
    spans = np.concatenate([piece.rows.segments for piece in found])
    at = [(start + i, scope) for _, start, n, scope in spans.tolist() for i in range(n)]
    assert at == [(i, 2 if i < 166 else 3) for i in range(500)]
    assert [fired.position for piece in found for fired in piece.fired] == [0, 1, 2]
    assert [piece.ended for piece in found] == [None] * 7 + [one.request.ended]
    assert {piece.opened for piece in found} == {one.request.opened}


def test_the_key_is_a_conversations_number_and_else_the_request() -> None:
    assert next(pack(kept(), 20, 5, NOW_NS)).key == b"00000000000000ab/0000000000000007"
    assert next(pack(kept(conversation=0xC0FFEE), 20, 5, NOW_NS)).key == b"0000000000c0ffee"


def test_however_much_rules_decided_no_record_is_large_for_it() -> None:
    found = [unpack(value, "x") for value in values(kept(10, fired=100))]
    assert [len(piece.fired) for piece in found] == [32, 32, 32, 4]
    assert [len(piece.rows.codes) for piece in found] == [10, 0, 0, 0]


def records(one: Kept) -> list[Record]:
    """Of its only record, by hand."""
    request = one.request
    piece = Piece(EPOCH, KEY, 0, 1, 1, 2, "rest", 20, True)
    rows = Rows(EPOCH, 2, request.segments, request.codes)
    ended = Ended(EPOCH, KEY, True, NOW_NS, 10)
    return [request.bank, request.opened, piece, rows, ended, Seal(10)]


def chunk(of: Sequence[Record], time_ns: int = NOW_NS) -> bytes:
    return header(5, time_ns) + b"".join(map(encode, of))


ONE = kept()
BANK, OPENED, PIECE, ROWS, ENDED, SEAL = RECORDS = records(ONE)
WRONG: dict[str, Sequence[Record]] = {
    "not whole": [BANK, OPENED, PIECE, ROWS, ENDED],
    "0 records Opened": [BANK, PIECE, ROWS, ENDED, SEAL],
    "2 records Piece": [BANK, OPENED, PIECE, PIECE, ROWS, ENDED, SEAL],
    "another kind": [BANK, OPENED, PIECE, ROWS, Lost(EPOCH, (), 1), ENDED, SEAL],
    "of several requests": [BANK, OPENED, replace(PIECE, key=8), ROWS, ENDED, SEAL],
    "of another request": [BANK, replace(OPENED, key=8), replace(PIECE, key=8), ROWS, SEAL],
    "part 1 of 1": [OPENED, replace(PIECE, part=1), ROWS, ENDED, SEAL],
    "a bank stands": [OPENED, PIECE, ROWS, ENDED, SEAL],
    "the digest": [replace(BANK, model="other"), OPENED, PIECE, ROWS, ENDED, SEAL],
    "an end stands": [BANK, OPENED, replace(PIECE, parts=2), ROWS, ENDED, SEAL],
    "stratum `odd`": [BANK, OPENED, replace(PIECE, stratum="odd"), ROWS, ENDED, SEAL],
    "1 in 0": [BANK, OPENED, replace(PIECE, sample=0), ROWS, ENDED, SEAL],
    "1 in 1000001": [BANK, OPENED, replace(PIECE, sample=1_000_001), ROWS, ENDED, SEAL],
    "tokens served": [BANK, OPENED, PIECE, ROWS, replace(ENDED, served=1 << 40), SEAL],
    "a seal of 9": [BANK, OPENED, PIECE, ROWS, ENDED, Seal(9)],
}


def test_what_is_put_together_by_hand_is_what_is_sent() -> None:
    assert unpack(chunk(RECORDS), "x").ended == ENDED


@pytest.mark.parametrize("because", WRONG)
def test_a_hostile_record_is_refused_and_named(because: str) -> None:
    with pytest.raises(SpoolError, match=because) as caught:
        unpack(chunk(WRONG[because]), "scores-0 offset 4")
    assert caught.value.place.startswith("scores-0 offset 4")


def test_columns_that_are_not_those_of_the_bank_are_refused() -> None:
    narrow = kept(10, 3).request
    rows = Rows(EPOCH, 2, narrow.segments, narrow.codes)
    with pytest.raises(SpoolError, match="64 columns and codes of 3"):
        unpack(chunk([BANK, OPENED, PIECE, rows, ENDED, SEAL]), "x")


def test_another_version_is_refused_with_what_to_do() -> None:
    value = bytearray(chunk(RECORDS))
    struct.pack_into("<I", value, 8, 2)
    struct.pack_into("<I", value, 28, zlib.crc32(value[:28]))
    with pytest.raises(SpoolError, match="chunk version 2, this build reads 1\n  hint: upgrade"):
        unpack(bytes(value), "x")


def test_a_time_before_1970_and_a_record_that_no_broker_takes_are_refused() -> None:
    with pytest.raises(SpoolError, match="at -1 ns"):
        unpack(chunk(RECORDS, -1), "x")
    with pytest.raises(SpoolError, match="at most"):
        unpack(bytes(MOST + 1), "x")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_raise_nothing_else(data: bytes) -> None:
    for value in (data, chunk(RECORDS)[:32] + data):
        with pytest.raises(SpoolError):
            unpack(value, "x")


@given(st.integers(0, len(chunk(RECORDS)) - 1), st.integers(1, 255))
def test_a_byte_that_was_changed_anywhere_is_noticed(at: int, by: int) -> None:
    value = bytearray(chunk(RECORDS))
    value[at] ^= by
    with pytest.raises(SpoolError):
        unpack(bytes(value), "x")
